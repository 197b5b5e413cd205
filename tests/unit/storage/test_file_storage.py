"""FileStorage: the contract, and what only files have: modes, temporary files, faults of disks."""

import errno
import multiprocessing
import os
import resource
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from contracts.storage import OTHER, PATH, TOKEN, StorageContract, image, noise

from linkpeek.errors import ConfigurationError, NotFound, Unavailable
from linkpeek.storage import Storage, image_path, snapshot_folder, storage_from_url
from linkpeek.storage import files as files_module
from linkpeek.storage.files import RESERVE, FileStorage

MASTER = image_path(TOKEN, "master", "png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "var" / "snapshots"


@pytest.fixture
def storage(root: Path) -> FileStorage:
    return FileStorage(root)


def everything(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


class TestContract(StorageContract):
    @pytest.fixture
    def storage(self, root: Path) -> Storage:
        return FileStorage(root)

    @pytest.fixture
    def corrupt(self, root: Path) -> Callable[[str, bytes], None]:
        return lambda path, data: (root / path).write_bytes(data) and None


class TestLayout:
    def test_the_file_lies_where_its_path_says(self, storage: FileStorage, root: Path) -> None:
        storage.put(PATH, image())

        assert (root / PATH).read_bytes() == image()
        assert everything(root) == [PATH]

    @pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
    def test_another_user_can_read_and_nobody_else_write(self, root: Path, umask: int) -> None:
        root.parent.mkdir(parents=True)
        before = os.umask(umask)
        try:
            FileStorage(root).put(PATH, image())
        finally:
            os.umask(before)

        modes = {
            path: stat.S_IMODE((root / path).stat().st_mode) for path in ("", "3f", "3f/9a", PATH, ".tmp")
        }
        assert modes == {"": 0o755, "3f": 0o755, "3f/9a": 0o755, PATH: 0o644, ".tmp": 0o700}

    def test_deleting_leaves_no_empty_folders(self, storage: FileStorage, root: Path) -> None:
        storage.put(PATH, image())
        storage.put(image_path(OTHER, "336", "png"), image())

        storage.delete(snapshot_folder(TOKEN))
        assert not (root / "3f/9a").exists()
        assert (root / "3f/9b").is_dir()

        storage.delete(snapshot_folder(OTHER))
        assert [path.name for path in root.iterdir()] == [".tmp"]

    def test_making_one_touches_nothing(self, storage: FileStorage, root: Path) -> None:
        assert storage.usage() == 0
        assert storage.sweep_temporary(0) == 0
        assert not root.exists()


class TestOrder:
    def test_an_image_appears_only_after_it_is_on_disk(
        self, storage: FileStorage, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The order of fsync and rename is what a power cut would find out."""
        done: list[str] = []
        fsync, rename = os.fsync, os.rename

        def recorded_fsync(handle: int) -> None:
            done.append(f"fsync {os.readlink(f'/proc/self/fd/{handle}')}")
            fsync(handle)

        def recorded_rename(source: Path, target: Path) -> None:
            assert source.read_bytes() == image()
            done.append(f"rename to {target}")
            rename(source, target)

        storage.put(image_path(OTHER, "336", "png"), image())
        monkeypatch.setattr(os, "fsync", recorded_fsync)
        monkeypatch.setattr(os, "rename", recorded_rename)

        storage.put(PATH, image())

        assert done[0].startswith(f"fsync {root}/.tmp/")
        assert done[1:] == [
            f"rename to {root}/{PATH}",
            f"fsync {root}/{snapshot_folder(TOKEN)}",
            f"fsync {root}/3f/9a",
            f"fsync {root}/3f",
            f"fsync {root}",
        ]


class TestTemporaryFiles:
    def killed_writer(self, root: Path) -> None:
        """Have a process die between writing and renaming, as by kill -9."""
        code = """
            import os, sys
            from pathlib import Path
            from linkpeek.storage.files import FileStorage
            FileStorage._move = lambda *_: os.kill(os.getpid(), 9)
            FileStorage(Path(sys.argv[1])).put(sys.argv[2], sys.stdin.buffer.read())
        """
        run = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), root, PATH], input=image(), check=False
        )
        assert run.returncode == -9

    def test_a_killed_writer_leaves_no_image_and_the_sweep_cleans_up(
        self, storage: FileStorage, root: Path
    ) -> None:
        self.killed_writer(root)

        assert not storage.exists(PATH)
        assert len(everything(root)) == 1
        assert storage.sweep_temporary(older_than=3600) == 0
        assert storage.sweep_temporary(older_than=0) == 1
        assert everything(root) == []

    def test_a_picture_that_arrives_while_its_folder_is_deleted_goes_with_it(
        self, storage: FileStorage, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage.put(PATH, image())
        remove_folder = os.rmdir

        def late_arrival(path: str, *, dir_fd: int | None = None) -> None:
            monkeypatch.setattr(os, "rmdir", remove_folder)
            (doomed,) = (root / ".tmp").iterdir()
            (doomed / "late.png").write_bytes(image())
            remove_folder(path, dir_fd=dir_fd)

        monkeypatch.setattr(os, "rmdir", late_arrival)

        assert storage.delete(snapshot_folder(TOKEN)) == len(image())
        assert everything(root) == []

    def test_a_killed_deletion_is_finished_by_the_sweep(self, storage: FileStorage, root: Path) -> None:
        storage.put(PATH, image())
        os.rename(root / snapshot_folder(TOKEN), root / ".tmp" / f"{TOKEN}-0123")

        assert not storage.exists(PATH)
        assert storage.sweep_temporary(older_than=0) == 1
        assert list((root / ".tmp").iterdir()) == []

    def test_a_probe_that_was_left_is_swept(self, storage: FileStorage, root: Path) -> None:
        storage.check()
        (root / ".probe-left").write_bytes(b"x")

        assert storage.sweep_temporary(older_than=0) == 1
        assert everything(root) == []

    def test_listing_passes_over_what_is_not_ours(
        self, storage: FileStorage, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage.put(PATH, image())
        before, real = storage.usage(), os.scandir
        (root / "lost+found").mkdir()

        def scandir(folder: str) -> object:
            if Path(folder).name == "lost+found":  # root's alone, where the storage is a disk of its own
                raise PermissionError
            return real(folder)

        monkeypatch.setattr(os, "scandir", scandir)
        assert storage.usage() == before
        (root / "3f/notes.txt").write_text("x")
        (root / "3f/9a/short").mkdir()

        assert list(storage.tokens(older_than=0)) == [TOKEN]


class TestFaults:
    def test_a_write_that_does_not_fit_leaves_nothing(self, root: Path) -> None:
        context = multiprocessing.get_context("fork")
        process = context.Process(target=_write_more_than_fits, args=(root,))
        process.start()
        process.join(60)
        assert process.exitcode == 0

    def test_the_last_of_the_room_is_left_to_others(
        self, storage: FileStorage, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage.put(PATH, image())
        real = os.statvfs(root)
        room = (RESERVE + len(image()) - 1) // real.f_frsize
        nearly_full = os.statvfs_result((*real[:4], room, *real[5:]))
        monkeypatch.setattr(os, "statvfs", lambda path: nearly_full)
        for question in (storage.check, lambda: storage.put(PATH, image())):
            with pytest.raises(Unavailable) as caught:
                question()
            assert caught.value.code == "storage-full"
        assert storage.get(PATH) == image()

    @pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
    @pytest.mark.parametrize(
        ("number", "code"),
        [
            (errno.ENOSPC, "storage-full"),
            (errno.EDQUOT, "storage-full"),
            (errno.EIO, "storage-unavailable"),
            (errno.EROFS, "storage-unavailable"),
            (errno.EACCES, "storage-unavailable"),
        ],
        ids=lambda value: value if isinstance(value, str) else errno.errorcode[value],
    )
    def test_every_step_of_a_write_may_fail(
        self,
        storage: FileStorage,
        root: Path,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
        number: int,
        code: str,
    ) -> None:
        storage.check()

        def fail(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(Unavailable) as caught:
                storage.put(PATH, image())

        assert caught.value.code == code
        assert everything(root) == []
        storage.put(PATH, image())
        assert storage.get(PATH) == image()

    def test_a_read_only_folder_is_unavailable_for_writing_only(self) -> None:
        """As the user nobody when run by root, for whom there are no read-only folders."""
        with tempfile.TemporaryDirectory() as folder:
            context = multiprocessing.get_context("fork")
            process = context.Process(target=_use_read_only_folder, args=(Path(folder),))
            process.start()
            process.join(60)
            assert process.exitcode == 0

    def test_a_file_where_the_folder_should_be(self, tmp_path: Path) -> None:
        (tmp_path / "snapshots").write_text("not a folder")
        storage = FileStorage(tmp_path / "snapshots")

        for question in (storage.check, lambda: storage.put(PATH, image())):
            with pytest.raises(Unavailable) as caught:
                question()
            assert caught.value.code == "storage-unavailable"
        assert not storage.exists(PATH)

    def test_a_folder_where_the_image_should_be(self, storage: FileStorage, root: Path) -> None:
        (root / PATH).mkdir(parents=True)

        with pytest.raises(NotFound) as caught:
            storage.get(PATH)

        assert caught.value.code == "image-damaged"

    def test_a_folder_that_was_taken_away_is_made_again(self, storage: FileStorage, root: Path) -> None:
        storage.put(PATH, image())
        os.rename(root, root.with_name("gone"))

        with pytest.raises(NotFound):
            storage.get(PATH)
        storage.put(PATH, image())

        assert storage.get(PATH) == image()

    def test_a_check_that_hangs_is_given_up(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files_module, "CHECK_SECONDS", 0.2)
        storage = FileStorage(root)
        hang = threading.Event()
        monkeypatch.setattr(storage, "_write", lambda data: hang.wait(30))
        start = time.monotonic()

        with pytest.raises(Unavailable) as caught:
            storage.check()

        hang.set()
        assert caught.value.code == "storage-unavailable"
        assert time.monotonic() - start < 10

    def test_a_check_notices_bytes_that_change(
        self, storage: FileStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Path, "read_bytes", lambda self: b"other")

        with pytest.raises(Unavailable, match="other bytes"):
            storage.check()


def _write_more_than_fits(root: Path) -> None:
    """Have the kernel cut off every file of this process at 4 KiB, in the middle of a write.

    In a process of its own: the file that pytest's own output may go to is longer.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    storage = FileStorage(root)
    storage.put(MASTER, image())

    with pytest.raises(Unavailable) as caught:
        storage.put(PATH, noise(100))

    assert caught.value.code == "storage-full"
    assert everything(root) == [MASTER]
    assert storage.get(MASTER) == image()


def _use_read_only_folder(folder: Path) -> None:
    nobody = 65534
    storage = FileStorage(folder / "snapshots")
    folder.chmod(0o755)
    storage.put(PATH, image())
    for place in ["snapshots", "snapshots/.tmp", "snapshots/3f/9a"]:
        (folder / place).chmod(0o555)
    if os.getuid() == 0:
        os.setresuid(nobody, nobody, nobody)
    assert storage.get(PATH) == image()
    for write in (lambda: storage.put(MASTER, image()), lambda: storage.delete(snapshot_folder(TOKEN))):
        _assert_unavailable(write)
    _assert_unavailable(storage.check)
    assert storage.get(PATH) == image()
    if os.getuid() != nobody:
        for place in ["snapshots", "snapshots/.tmp", "snapshots/3f/9a"]:
            (folder / place).chmod(0o755)


def _assert_unavailable(action: Callable[[], object]) -> None:
    with pytest.raises(Unavailable) as caught:
        action()
    assert caught.value.code == "storage-unavailable"


class TestManyProcesses:
    def test_processes_that_write_and_delete_do_not_disturb_each_other(self, root: Path) -> None:
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=_churn, args=(root, number)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)

        assert [worker.exitcode for worker in workers] == [0] * 4
        storage = FileStorage(root)
        storage.delete(snapshot_folder(TOKEN))
        assert everything(root) == []


def _churn(root: Path, number: int) -> None:
    storage = FileStorage(root)
    for turn in range(60):
        if number % 2:
            storage.delete(snapshot_folder(TOKEN))
        else:
            storage.put(image_path(TOKEN, str(turn), "png"), image())


class TestUrl:
    @pytest.mark.parametrize(
        ("url", "root"),
        [
            ("file:/srv/linkpeek/snapshots", "/srv/linkpeek/snapshots"),
            ("file:///srv/linkpeek/snapshots", "/srv/linkpeek/snapshots"),
            ("file:/srv/a b%20c#d?e", "/srv/a b%20c#d?e"),
        ],
    )
    def test_names_a_folder(self, url: str, root: str) -> None:
        storage = storage_from_url(url)

        assert isinstance(storage, FileStorage)
        assert storage.root == Path(root)

    @pytest.mark.parametrize(
        "url", ["file:", "file:var", "file:./var", "file:/a\0b", "ftp:/x", "", "/srv", "file"]
    )
    def test_refuses_others(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="storage_url"):
            storage_from_url(url)
