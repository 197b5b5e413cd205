"""What every storage must do: a backend's tests inherit this and give a fresh ``storage``."""

import io
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from linkpeek.errors import NotFound
from linkpeek.storage import Storage, image_path, snapshot_folder

TOKEN = "3f9a0123456789abcdef0123456789ab"
OTHER = "3f9b" + TOKEN[4:]
PATH = image_path(TOKEN, "336", "png")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

WRONG_PATHS = [
    "",
    "/",
    "..",
    PATH.upper(),
    "/" + PATH,
    PATH + "/",
    PATH + "\0",
    PATH + "\n",
    PATH + ".tmp",
    "../" + PATH,
    PATH.replace("3f/9a/", "3f/9b/"),
    PATH.replace("3f/9a/", "3f//9a/"),
    PATH.replace("/336", "/../336"),
    PATH.replace("336", ".336"),
    PATH.replace("336", "3_6"),
    PATH.replace("336", "\u0663\u0663\u0666"),
    PATH.replace("336", "a" * 33),
    PATH.replace("png", "html"),
    PATH.replace("png", "svg"),
    PATH.replace("png", ""),
    snapshot_folder(TOKEN),
    "3f/9a",
    "..\\..\\etc",
    "a" * 5000,
]


def image(colour: str = "navy", image_format: str = "PNG", side: int = 8) -> bytes:
    """Make a small image."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, image_format)
    return buffer.getvalue()


def noise(side: int) -> bytes:
    """Make an image that no encoder can make small."""
    buffer = io.BytesIO()
    Image.effect_noise((side, side), 100).save(buffer, "PNG")
    return buffer.getvalue()


def large_png(megabytes: int) -> Iterator[bytes]:
    """Give a PNG in parts; it is whole as a container goes, and nowhere in memory."""
    yield PNG_SIGNATURE
    for kind, data in (b"IHDR", bytes(13)), *[(b"IDAT", bytes(2**20))] * megabytes, (b"IEND", b""):
        yield len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


class StorageContract:
    """The behaviour that the service relies on."""

    @pytest.fixture
    def storage(self) -> Storage:
        raise NotImplementedError("each backend gives its own")

    @pytest.fixture
    def corrupt(self) -> Callable[[str, bytes], None]:
        """Give a way to put any bytes under a path behind the storage's back."""
        raise NotImplementedError("each backend gives its own")

    @pytest.mark.parametrize(("ending", "image_format"), [("png", "PNG"), ("webp", "WEBP")])
    def test_gives_back_the_very_bytes(self, storage: Storage, ending: str, image_format: str) -> None:
        path, data = image_path(TOKEN, "master", ending), image(image_format=image_format)

        storage.put(path, data)

        assert storage.exists(path)
        assert storage.get(path) == data

    def test_keeps_a_large_image(self, storage: Storage) -> None:
        data = noise(2500)
        assert len(data) > 4_000_000

        storage.put(PATH, data)

        assert storage.get(PATH) == data

    @pytest.mark.parametrize("side", [8, 2500])
    def test_opens_an_image_as_a_file(self, storage: Storage, side: int) -> None:
        data = noise(side)
        storage.put(PATH, data)

        with storage.open(PATH) as file:
            storage.put(PATH, image("red"))
            storage.delete(snapshot_folder(TOKEN))
            assert file.tell() == 0
            assert file.read() == data
            assert file.seek(0, io.SEEK_END) == len(data)

    def test_the_same_path_may_be_written_again(self, storage: Storage) -> None:
        storage.put(PATH, image("red"))
        storage.put(PATH, image("blue"))

        assert storage.get(PATH) == image("blue")

    def test_what_is_not_there_is_not_found(self, storage: Storage) -> None:
        assert not storage.exists(PATH)
        with pytest.raises(NotFound) as caught:
            storage.get(PATH)
        assert caught.value.code == "not-found"

        storage.put(image_path(TOKEN, "master", "png"), image())

        assert not storage.exists(PATH)

    @pytest.mark.parametrize("path", WRONG_PATHS, ids=ascii)
    def test_a_path_of_another_shape_names_nothing(self, storage: Storage, path: str) -> None:
        storage.put(PATH, image())

        assert not storage.exists(path)
        for read in (storage.get, storage.open):
            with pytest.raises(NotFound):
                read(path)
        with pytest.raises(ValueError, match="path"):
            storage.put(path, image())

    @pytest.mark.parametrize("folder", [*WRONG_PATHS[:5], PATH, "3f/9a", "3f/9a/", "3f", "*"], ids=ascii)
    def test_only_a_whole_snapshot_can_be_deleted(self, storage: Storage, folder: str) -> None:
        storage.put(PATH, image())

        with pytest.raises(ValueError, match="folder"):
            storage.delete(folder)

        assert storage.exists(PATH)

    @pytest.mark.parametrize(
        "data",
        [b"", b"<html>", PNG_SIGNATURE, image()[:-1], image() + b"\0", image(image_format="WEBP")],
        ids=["empty", "html", "signature", "torn", "longer", "other"],
    )
    def test_takes_nothing_but_whole_images(self, storage: Storage, data: bytes) -> None:
        with pytest.raises(ValueError, match="whole image"):
            storage.put(PATH, data)

        assert not storage.exists(PATH)

    @pytest.mark.parametrize(
        "data",
        [b"", b"garbage", image()[:40], image() + b"more", image()[:50] + b"?" + image()[51:]],
        ids=["empty", "garbage", "torn", "longer", "flipped"],
    )
    def test_never_gives_a_damaged_image(
        self, storage: Storage, corrupt: Callable[[str, bytes], None], data: bytes
    ) -> None:
        storage.put(PATH, image())
        corrupt(PATH, data)

        for read in (storage.get, storage.open):
            with pytest.raises(NotFound) as caught:
                read(PATH)
            assert caught.value.code == "image-damaged"

    def test_a_damaged_image_is_mended_by_putting_it_again(
        self, storage: Storage, corrupt: Callable[[str, bytes], None]
    ) -> None:
        storage.put(PATH, image())
        corrupt(PATH, b"garbage")

        storage.put(PATH, image())

        assert storage.get(PATH) == image()

    def test_deletes_a_snapshot_and_no_other(self, storage: Storage) -> None:
        paths = [image_path(TOKEN, name, "png") for name in ("master", "336", "200x400")]
        for path in paths:
            storage.put(path, image())
        neighbours = [image_path(OTHER, "336", "png"), image_path(TOKEN[:-1] + "f", "336", "png")]
        for path in neighbours:
            storage.put(path, image())

        assert storage.delete(snapshot_folder(TOKEN)) == 3 * len(image())

        assert not any(map(storage.exists, paths))
        assert all(map(storage.exists, neighbours))
        assert storage.delete(snapshot_folder(TOKEN)) == 0

    def test_counts_what_it_keeps(self, storage: Storage) -> None:
        assert storage.usage() == 0
        larger = noise(100)

        storage.put(PATH, image())
        storage.put(image_path(OTHER, "master", "png"), larger)
        assert storage.usage() == len(image()) + len(larger)

        storage.delete(snapshot_folder(OTHER))
        assert storage.usage() == len(image())

    def test_lists_each_snapshot_once(self, storage: Storage) -> None:
        assert list(storage.tokens(0)) == []
        for token in (TOKEN, OTHER):
            for name in ("master", "336"):
                storage.put(image_path(token, name, "png"), image())

        assert sorted(storage.tokens(older_than=-60)) == sorted([TOKEN, OTHER])
        assert list(storage.tokens(older_than=3600)) == []

    def test_lists_the_images_of_one_snapshot(self, storage: Storage) -> None:
        assert storage.images(snapshot_folder(TOKEN)) == []
        paths = [image_path(TOKEN, name, "png") for name in ("master", "336", "200x400")]
        for path in [*paths, image_path(OTHER, "336", "png"), image_path(TOKEN[:-1] + "f", "336", "png")]:
            storage.put(path, image())

        assert storage.images(snapshot_folder(TOKEN)) == sorted(paths)

    @pytest.mark.parametrize("folder", ["", "..", "3f/9a", PATH, snapshot_folder(TOKEN) + "/"])
    def test_lists_nothing_but_a_whole_snapshot(self, storage: Storage, folder: str) -> None:
        with pytest.raises(ValueError, match="not a snapshot's folder"):
            storage.images(folder)

    def test_a_check_leaves_nothing(self, storage: Storage) -> None:
        storage.check()

        assert storage.usage() == 0
        assert storage.sweep_temporary(older_than=-60) == 0

    def test_readers_see_one_whole_image_while_it_is_written_again(self, storage: Storage) -> None:
        images = [noise(150), noise(220)]
        storage.put(PATH, images[0])
        done = threading.Event()

        def read() -> int:
            count = 0
            while not done.is_set():
                assert storage.get(PATH) in images
                count += 1
            return count

        with ThreadPoolExecutor() as pool:
            readers = [pool.submit(read) for _ in range(3)]
            try:
                for number in range(20):
                    storage.put(PATH, images[number % 2])
            finally:
                done.set()
            assert all(reader.result() > 0 for reader in readers)

    def test_putting_and_deleting_at_once_do_not_fail(self, storage: Storage) -> None:
        def put() -> None:
            for number in range(15):
                storage.put(image_path(TOKEN, str(number), "png"), image())

        def delete() -> None:
            for _ in range(15):
                storage.delete(snapshot_folder(TOKEN))

        with ThreadPoolExecutor() as pool:
            for task in [pool.submit(work) for work in (put, delete, put, delete)]:
                task.result()

        storage.delete(snapshot_folder(TOKEN))
        assert storage.usage() == 0
