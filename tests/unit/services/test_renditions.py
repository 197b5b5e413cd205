import threading
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from linkpeek.errors import NotFound, Unavailable
from linkpeek.geometry import Size
from linkpeek.models import Snapshot
from linkpeek.services import renditions as module
from linkpeek.services.renditions import PLACEHOLDER_TOKEN, RenditionService, master_path
from linkpeek.storage import is_image_path
from linkpeek.storage.files import FileStorage
from tests.factories import make_png

TOKEN = "ab" * 16


@pytest.fixture
def storage(tmp_path: Path) -> FileStorage:
    return FileStorage(tmp_path)


@pytest.fixture
def renditions(storage: FileStorage) -> RenditionService:
    return RenditionService(storage)


@pytest.fixture
def snapshot(storage: FileStorage) -> Snapshot:
    storage.put(master_path(TOKEN), make_png(640, 480))
    return Snapshot(token=TOKEN, viewport_width=640, viewport_height=480, width=640, height=480)


def picture(storage: FileStorage, path: str) -> Image.Image:
    return Image.open(BytesIO(storage.get(path)))


@pytest.mark.parametrize(
    ("size", "image_format", "kind", "pixels"),
    [
        (Size(320, None), "png", "PNG", (320, 240)),
        (Size(100, 50), "webp", "WEBP", (100, 50)),
        (Size(None, None), "png", "PNG", (640, 480)),
        (Size(None, None), "webp", "WEBP", (640, 480)),
    ],
)
def test_has_the_size_and_the_format(
    renditions: RenditionService,
    storage: FileStorage,
    snapshot: Snapshot,
    size: Size,
    image_format: str,
    kind: str,
    pixels: tuple[int, int],
) -> None:
    path = renditions.path(snapshot, size, image_format)
    assert is_image_path(path)
    assert (picture(storage, path).format, picture(storage, path).size) == (kind, pixels)


def test_is_made_once(
    renditions: RenditionService, storage: FileStorage, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = renditions.path(snapshot, Size(100, None), "png")

    def put(path: str, data: bytes) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(storage, "put", put)
    assert renditions.path(snapshot, Size(100, None), "png") == path


def test_the_whole_picture_is_the_master(renditions: RenditionService, snapshot: Snapshot) -> None:
    assert renditions.path(snapshot, Size(None, None), "png") == master_path(TOKEN)


@pytest.mark.parametrize("size", [Size(100, None), Size(None, None)])
@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_a_lost_master_is_told(
    renditions: RenditionService, storage: FileStorage, snapshot: Snapshot, size: Size, image_format: str
) -> None:
    storage.delete(f"ab/ab/{TOKEN}")
    with pytest.raises(NotFound):
        renditions.path(snapshot, size, image_format)


def test_a_damaged_master_is_told_and_makes_no_picture(
    renditions: RenditionService, storage: FileStorage, snapshot: Snapshot
) -> None:
    (storage.root / master_path(TOKEN)).write_bytes(make_png(640, 480)[:-20])
    with pytest.raises(NotFound) as caught:
        renditions.path(snapshot, Size(100, None), "png")
    assert caught.value.code == "image-damaged"
    assert list((storage.root / "ab/ab" / TOKEN).iterdir()) == [storage.root / master_path(TOKEN)]


def test_a_placeholder_has_the_size_and_no_snapshots_folder(
    renditions: RenditionService, storage: FileStorage
) -> None:
    path = renditions.placeholder_path(200, 100)
    assert PLACEHOLDER_TOKEN in path
    assert picture(storage, path).size == (200, 100)
    assert renditions.placeholder_path(200, 100) == path


def test_only_a_few_are_made_at_a_time(
    renditions: RenditionService, storage: FileStorage, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the moment their master is read."""
    busy, go, get = threading.Semaphore(0), threading.Event(), storage.get

    def waiting(path: str) -> bytes:
        busy.release()
        go.wait(30)
        return get(path)

    monkeypatch.setattr(storage, "get", waiting)
    threads = [
        threading.Thread(target=renditions.path, args=(snapshot, Size(width, None), "png"))
        for width in range(16, 16 + module.AT_ONCE)
    ]
    for thread in threads:
        thread.start()
    assert all(busy.acquire(timeout=30) for _ in threads)

    monkeypatch.setattr(module, "PATIENCE", 0.05)
    with pytest.raises(Unavailable) as caught:
        renditions.path(snapshot, Size(100, None), "png")
    assert caught.value.code == "overloaded"
    assert renditions.placeholder_path(200, 100)
    assert not busy.acquire(blocking=False), "its master was not read"

    go.set()
    for thread in threads:
        thread.join(60)
    assert picture(storage, renditions.path(snapshot, Size(100, None), "png")).width == 100
