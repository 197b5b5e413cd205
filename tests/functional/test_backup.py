"""``linkpeek backup`` and ``linkpeek restore``, as an operator runs them."""

import io
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from linkpeek.backup import BadBackup, back_up, restore
from linkpeek.cli import main
from linkpeek.cli.config import load_settings
from linkpeek.db import transaction, utcnow
from linkpeek.initialise import initialise
from linkpeek.models import Snapshot, State
from linkpeek.resources import Resources
from linkpeek.services.keys import KeyService
from linkpeek.services.renditions import master_path
from linkpeek.storage import image_path
from tests.contracts.storage import noise
from tests.factories import APIKEY, SECRET, PaperWorker, make_png
from tests.postgres import postgres_server

TOKENS = [f"{number:02x}" * 16 for number in (7, 3, 200)]
INI = "[app:main]\nuse = egg:linkpeek\nlinkpeek.ttl = 77\n"


@pytest.fixture
def made() -> Iterator[list[Resources]]:
    made: list[Resources] = []
    yield made
    for resources in made:
        resources.engine.dispose()


def opened(ini: Path, made: list[Resources]) -> Resources:
    resources = Resources(load_settings(str(ini)))
    made.append(resources)
    return resources


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    """The ini file of a service with a key, three pictures and a capture under way."""
    ini = tmp_path / "service/production.ini"
    ini.parent.mkdir()
    ini.write_text(INI)
    resources = Resources(load_settings(str(ini)))
    initialise(resources)
    fill(resources)
    resources.engine.dispose()
    return ini


def fill(resources: Resources) -> None:
    with transaction(resources.sessions) as session:
        KeyService(session, resources.box).add("an old client", APIKEY, SECRET)
        for token in TOKENS:
            session.add(snapshot(token, State.READY))
        session.add(snapshot("aa" * 16, State.CAPTURING, lease_owner="w", lease_until=utcnow(), attempts=2))
    for token in TOKENS:
        for name in ("master", "336", "100x50"):
            resources.storage.put(image_path(token, name, "png"), make_png(8, 8, f"#{token[:6]}"))


def snapshot(token: str, state: State, **more: object) -> Snapshot:
    now = utcnow()
    values = {
        "token": token,
        "key": token,
        "uri": "http://example.com/",
        "viewport_width": 1024,
        "viewport_height": 768,
        "extent": "viewport",
        "requester": "key:1",
        "state": state,
        "requested_at": now,
        "not_before": now,
        "finished_at": now if state == State.READY else None,
    }
    return Snapshot(**(values | more))


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


@pytest.fixture
def backup(ini: Path, tmp_path: Path) -> Path:
    assert run("backup", ini, "-o", tmp_path / "b.tar").exit_code == 0
    return tmp_path / "b.tar"


def tree(folder: Path) -> dict[str, bytes | None]:
    """Give all that is in a folder, but for what a database leaves open and its times."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def log_of_a_killed_process(file: Path) -> bytes:
    """Give what a process that makes the table ``stranger`` leaves in a database's write-ahead log."""
    killed = sqlite3.connect(file)
    killed.execute("CREATE TABLE stranger (x)")
    log = file.with_name(f"{file.name}-wal").read_bytes()
    killed.close()
    return log


def assert_whole(service: Resources) -> None:
    with transaction(service.sessions) as session:
        keys = KeyService(session, service.box)
        assert [key.apikey for key in keys.list()] == [APIKEY]
        assert service.box.decrypt(keys.list()[0].encrypted_secret) == SECRET
        rows = {row.token: row for row in session.query(Snapshot)}
        assert sorted(rows) == sorted([*TOKENS, "aa" * 16])
    for token in TOKENS:
        for name in ("master", "336", "100x50"):
            assert service.storage.get(image_path(token, name, "png")) == make_png(8, 8, f"#{token[:6]}")


class TestBackup:
    def test_one_private_file(self, backup: Path) -> None:
        assert backup.stat().st_mode & 0o777 == 0o600
        assert sorted(path.name for path in backup.parent.iterdir()) == ["b.tar", "service"]

    def test_a_folder_of_the_newest(self, ini: Path, tmp_path: Path) -> None:
        folder = tmp_path / "backups"
        folder.mkdir()
        for day in (1, 2, 3):
            (folder / f"linkpeek-2020010{day}T000000Z.tar").touch()
        result = run("backup", ini, "-o", folder, "--keep", 2)
        assert result.exit_code == 0
        names = sorted(path.name for path in folder.iterdir())
        assert names[0] == "linkpeek-20200103T000000Z.tar"
        assert len(names) == 2
        assert "removed" in result.stderr

    def test_keep_without_a_folder_is_no_use(self, ini: Path, tmp_path: Path) -> None:
        assert run("backup", ini, "-o", tmp_path / "b.tar", "--keep", 2).exit_code == 2

    def test_never_in_the_place_of_what_is_no_file(self, ini: Path, tmp_path: Path) -> None:
        """Root could replace /dev/null."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        assert run("backup", ini, "-o", pipe).exit_code == 2
        assert pipe.is_fifo()

    def test_a_link_to_the_backup_stays_one(self, ini: Path, backup: Path, tmp_path: Path) -> None:
        (tmp_path / "last.tar").symlink_to(backup)
        before = backup.stat().st_ino
        assert run("backup", ini, "-o", tmp_path / "last.tar").exit_code == 0
        assert (tmp_path / "last.tar").readlink() == backup
        assert backup.stat().st_ino != before

    def test_to_standard_output_with_progress_beside_it(self, ini: Path, tmp_path: Path) -> None:
        done = linkpeek("backup", ini, "-o", "-", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0
        assert b"9 images" in done.stderr
        (tmp_path / "b.tar").write_bytes(done.stdout)
        assert run("restore", ini, tmp_path / "b.tar", "--check").exit_code == 0

    def test_quiet(self, ini: Path, tmp_path: Path) -> None:
        result = run("backup", ini, "-o", tmp_path / "b.tar", "--quiet")
        assert (result.stdout, result.stderr) == ("", "")

    def test_damaged_images_are_told_of_and_left_out(self, ini: Path, tmp_path: Path) -> None:
        (ini.parent / "var/snapshots" / image_path(TOKENS[0], "336", "png")).write_bytes(b"torn")
        result = run("backup", ini, "-o", tmp_path / "b.tar")
        assert result.exit_code == 0
        assert "8 images" in result.stderr
        assert "1 images were damaged" in result.stderr

    def test_a_service_that_is_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "empty.ini").write_text(INI)
        result = run("backup", tmp_path / "empty.ini", "-o", tmp_path / "b.tar")
        assert result.exit_code == 1
        assert "linkpeek init" in result.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["empty.ini"]

    def test_a_full_disk_leaves_the_backup_before(
        self, ini: Path, backup: Path, made: list[Resources]
    ) -> None:
        opened(ini, made).storage.put(image_path(TOKENS[0], "large", "png"), noise(300))
        before = tree(backup.parent)
        done = linkpeek("backup", ini, "-o", backup, stderr=subprocess.PIPE, file_size=60_000)
        assert done.returncode == 1
        assert b"The backup could not be written: the disk is full. [disk-full]" in done.stderr
        assert tree(backup.parent) == before

    @pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
    def test_interrupted_it_leaves_the_backup_before(self, ini: Path, backup: Path, end: int) -> None:
        before = backup.read_bytes()
        with stopped_at("linkpeek.backup.make.ArchiveWriter.close", "backup", ini, "-o", backup) as process:
            process.send_signal(end)
            assert process.wait(20) != 0
        assert backup.read_bytes() == before
        parts = list(backup.parent.glob(".linkpeek-*"))
        assert len(parts) == (end == signal.SIGKILL)
        assert run("backup", ini, "-o", backup).exit_code == 0
        assert not list(backup.parent.glob(".linkpeek-*"))

    def test_a_reader_that_goes_away(self, ini: Path) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        done = linkpeek("backup", ini, "-o", "-", stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        assert done.returncode == 1
        assert b"Error: The backup could not be written: Broken pipe" in done.stderr
        assert b"Traceback" not in done.stderr


class TestRestore:
    def test_onto_an_empty_machine(self, backup: Path, tmp_path: Path, made: list[Resources]) -> None:
        ini = tmp_path / "new/machine/production.ini"
        result = run("restore", ini, backup)
        assert result.exit_code == 0, result.stderr
        assert ini.read_text() == INI
        assert (ini.parent / "var/secret").stat().st_mode & 0o777 == 0o600
        assert not list(ini.parent.glob("var/.*")) + list(ini.parent.glob(".*"))
        service = opened(ini, made)
        service.require_ready()
        assert_whole(service)

    def test_beside_the_log_of_a_database_that_was_moved_away(
        self, ini: Path, backup: Path, made: list[Resources]
    ) -> None:
        file = ini.parent / "var/linkpeek.sqlite"
        log = log_of_a_killed_process(file)
        file.unlink()
        (ini.parent / "var/secret").unlink()
        file.with_name(f"{file.name}-wal").write_bytes(log)
        assert run("restore", ini, backup, "--force").exit_code == 0
        service = opened(ini, made)
        assert not sa.inspect(service.engine).has_table("stranger")
        assert_whole(service)

    @pytest.mark.parametrize("damage", [b"no database at all", 100, 47])
    def test_by_force_over_a_damaged_database_that_was_killed(
        self, ini: Path, backup: Path, made: list[Resources], damage: bytes | int
    ) -> None:
        """All of it, its first page, or only the number of its format."""
        file = ini.parent / "var/linkpeek.sqlite"
        log = log_of_a_killed_process(file)
        data = file.read_bytes()
        if isinstance(damage, int):
            size = 1 if damage < 100 else 3000
            damage = data[:damage] + b"\xff" * size + data[damage + size :]
            log = b""  # it holds the first page, and would repair it
        file.write_bytes(damage)
        file.with_name(f"{file.name}-wal").write_bytes(log)
        assert "[service-exists]" in run("restore", ini, backup).stderr
        result = run("restore", ini, backup, "--force")
        assert result.exit_code == 0, result.stderr
        service = opened(ini, made)
        assert not sa.inspect(service.engine).has_table("stranger")
        assert_whole(service)
        assert len(list(file.parent.glob("linkpeek.sqlite.replaced-*"))) == 1

    def test_from_standard_input(self, backup: Path, tmp_path: Path, made: list[Resources]) -> None:
        ini = tmp_path / "new.ini"
        assert run("restore", ini, "-", stdin=backup.read_bytes()).exit_code == 0
        assert_whole(opened(ini, made))

    def test_what_was_under_way_is_queued_again(
        self, backup: Path, tmp_path: Path, made: list[Resources]
    ) -> None:
        run("restore", tmp_path / "new.ini", backup)
        service = opened(tmp_path / "new.ini", made)
        worker = PaperWorker(service)
        assert worker.work() == 1
        assert service.storage.exists(master_path("aa" * 16))

    def test_after_a_provisioning_that_initialised_the_service(
        self, backup: Path, tmp_path: Path, made: list[Resources]
    ) -> None:
        ini = tmp_path / "fresh/production.ini"
        ini.parent.mkdir()
        ini.write_text(INI.replace("77", "88"))
        assert run("init", ini).exit_code == 0
        result = run("restore", ini, backup)
        assert result.exit_code == 0, result.stderr
        assert "differs" in result.stderr
        assert "88" in ini.read_text()
        assert_whole(opened(ini, made))
        assert not list(ini.parent.rglob("*replaced*"))

    def test_never_over_a_service_by_itself(self, ini: Path, backup: Path) -> None:
        before = tree(ini.parent)
        result = run("restore", ini, backup)
        assert result.exit_code == 1
        assert "[service-exists]" in result.stderr
        assert tree(ini.parent) == before

    def test_never_over_a_secret_by_itself(self, backup: Path, tmp_path: Path) -> None:
        (tmp_path / "var").mkdir()
        (tmp_path / "var/secret").write_text("of a database that is elsewhere, perhaps\n")
        result = run("restore", tmp_path / "new.ini", backup)
        assert result.exit_code == 1
        assert "[service-exists]" in result.stderr
        assert [path.name for path in (tmp_path / "var").iterdir()] == ["secret"]
        assert not (tmp_path / "new.ini").exists()

    def test_by_force_and_the_old_is_kept(
        self, ini: Path, backup: Path, tmp_path: Path, made: list[Resources]
    ) -> None:
        other = tmp_path / "other.ini"
        other.write_text(INI)
        run("init", other)
        run("key", "add", other, "--name", "x", "--apikey", "other-key")
        secret = (tmp_path / "var/secret").read_bytes()
        result = run("restore", other, backup, "--force")
        assert result.exit_code == 0, result.stderr
        service = opened(other, made)
        assert_whole(service)
        service.close()
        (old_secret,) = (tmp_path / "var").glob("secret.replaced-*")
        assert old_secret.read_bytes() == secret
        (old_database,) = (tmp_path / "var").glob("linkpeek.sqlite.replaced-*")
        shutil.copy(old_database, tmp_path / "var/linkpeek.sqlite")
        assert "other-key" in run("key", "list", other).stdout

    def test_never_under_a_running_service(self, ini: Path, backup: Path, made: list[Resources]) -> None:
        service = opened(ini, made)
        with service.engine.connect() as connection:
            connection.exec_driver_sql("SELECT * FROM api_key").all()
            result = run("restore", ini, backup, "--force")
        assert result.exit_code == 1
        assert "[service-running]" in result.stderr
        assert_whole(service)

    @pytest.mark.parametrize("existing", [True, False])
    def test_a_cut_or_altered_backup_changes_nothing(
        self, backup: Path, tmp_path: Path, existing: bool
    ) -> None:
        place = tmp_path / "place"
        ini = place / "production.ini"
        if existing:
            place.mkdir()
            ini.write_text(INI)
            run("init", ini)
        before = tree(place)
        good, chance = backup.read_bytes(), random.Random(3)
        bad = [good[: chance.randrange(len(good))] for _ in range(15)]
        bad += [_flipped(good, chance.randrange(len(good) * 8)) for _ in range(40)]
        bad += [b"", good + b"x", os.urandom(4000), b"\x1f\x8b" + good]
        for data in bad:
            backup.write_bytes(data)
            result = run("restore", ini, backup)
            assert result.exit_code == 1
            assert result.stderr.startswith("Error: "), result.stderr
            assert tree(place) == before
            assert place.exists() == existing

    def test_a_newer_backup_is_refused(self, ini: Path, tmp_path: Path, made: list[Resources]) -> None:
        service = opened(ini, made)
        out = io.BytesIO()
        back_up(service, out)
        for old, new in ((b'"format": 1', b'"format": 2'), (b'"schema": "000', b'"schema": "zzz')):
            assert old in out.getvalue()
            with pytest.raises(BadBackup) as refused:
                restore(tmp_path / "n.ini", io.BytesIO(out.getvalue().replace(old, new, 1)), load_settings)
            assert refused.value.code == "backup-newer"

    @pytest.mark.parametrize("file_size", [1000, 30_000, 80_000])
    def test_a_full_disk_changes_nothing(
        self, ini: Path, tmp_path: Path, made: list[Resources], file_size: int
    ) -> None:
        """At the rows, at the new database, at an image."""
        opened(ini, made).storage.put(image_path(TOKENS[0], "large", "png"), noise(300))
        run("backup", ini, "-o", tmp_path / "b.tar")
        before = tree(tmp_path)
        done = linkpeek(
            "restore", tmp_path / "new/x.ini", tmp_path / "b.tar", stderr=subprocess.PIPE, file_size=file_size
        )
        assert done.returncode == 1
        assert b"[disk-" in done.stderr
        assert tree(tmp_path) == before

    @pytest.mark.parametrize(
        "at",
        [
            "linkpeek.backup.restore.move_into_place",
            "linkpeek.backup.place.place_images",
            "linkpeek.backup.place._place_ini",
            "linkpeek.backup.place._place_secret",
            "linkpeek.backup.place.make_broker_folders",
            "linkpeek.backup.database.place_file",
        ],
    )
    @pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
    def test_interrupted_it_can_be_done_again(
        self, backup: Path, tmp_path: Path, made: list[Resources], at: str, end: int
    ) -> None:
        ini = tmp_path / "new/production.ini"
        with stopped_at(at, "restore", ini, backup) as process:
            process.send_signal(end)
            assert process.wait(20) != 0
        assert not (tmp_path / "new/var/linkpeek.sqlite").exists()
        if end == signal.SIGTERM:
            assert not (tmp_path / "new").exists()
        assert run("restore", ini, backup).exit_code == 0
        assert_whole(opened(ini, made))
        assert not (tmp_path / "new/var/.restore").exists()

    def test_a_failure_at_the_last_step_gives_the_old_secret_back(
        self, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ini = tmp_path / "old/production.ini"
        ini.parent.mkdir()
        ini.write_text(INI)
        run("init", ini)
        run("key", "add", ini, "--name", "x")
        before = tree(ini.parent)

        def full(source: Path, target: Path) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("linkpeek.backup.database.place_file", full)
        result = run("restore", ini, backup, "--force")
        assert "[disk-full]" in result.stderr
        after = {
            name: data
            for name, data in tree(ini.parent).items()
            if "snapshots/" not in name and "linkpeek.sqlite" not in name
        }
        assert after.items() <= before.items()
        assert run("key", "list", ini).stdout.count("enabled") == 1

    def test_a_snapshot_whose_picture_is_not_in_the_backup_is_left_out(
        self, ini: Path, tmp_path: Path, made: list[Resources]
    ) -> None:
        (ini.parent / "var/snapshots" / master_path(TOKENS[0])).unlink()
        run("backup", ini, "-o", tmp_path / "b.tar")
        result = run("restore", tmp_path / "new.ini", tmp_path / "b.tar")
        assert "1 snapshots had no picture" in result.stderr
        with transaction(opened(tmp_path / "new.ini", made).sessions) as session:
            assert session.query(Snapshot).filter_by(state=State.READY).count() == 2

    def test_keys_of_another_secret_are_told_of(self, ini: Path, tmp_path: Path) -> None:
        (ini.parent / "var/secret").write_text("x" * 43)
        run("backup", ini, "-o", tmp_path / "b.tar")
        assert APIKEY in run("restore", tmp_path / "new.ini", tmp_path / "b.tar").stderr

    def test_a_look_changes_nothing(self, ini: Path, backup: Path) -> None:
        before = tree(ini.parent)
        result = run("restore", ini, backup, "--check")
        assert "9 images is good and unaltered" in result.stderr
        assert tree(ini.parent) == before
        backup.write_bytes(backup.read_bytes()[:-1])
        assert run("restore", ini, backup, "--check").exit_code == 1

    def test_a_file_that_is_not_there(self, ini: Path) -> None:
        result = run("restore", ini, "nothing.tar")
        assert result.exit_code == 1
        assert "cannot be read" in result.stderr

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_root_gives_everything_to_the_owner_of_the_data(self, backup: Path, tmp_path: Path) -> None:
        ini, data = tmp_path / "new.ini", tmp_path / "var"
        data.mkdir()
        os.chown(data, 61347, 61348)
        assert run("restore", ini, backup).exit_code == 0
        owners = {(path.stat().st_uid, path.stat().st_gid) for path in (ini, *data.rglob("*"))}
        assert owners == {(61347, 61348)}
        assert [path for path in data.glob("linkpeek.sqlite*") if path.stat().st_mode & 0o007] == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_root_gives_a_database_elsewhere_to_the_owner_of_the_data(
        self, backup: Path, tmp_path: Path
    ) -> None:
        ini, data, elsewhere = tmp_path / "new.ini", tmp_path / "var", tmp_path / "db"
        ini.write_text(f"{INI}sqlalchemy.url = sqlite:///{elsewhere}/deep/linkpeek.sqlite\n")
        data.mkdir()
        os.chown(data, 61347, 61348)
        assert run("restore", ini, backup).exit_code == 0
        owners = {path.stat().st_uid for path in (elsewhere, *elsewhere.rglob("*"))}
        assert (owners, ini.stat().st_uid) == ({61347}, 0)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_root_gives_nothing_away_behind_another_user_s_link(self, backup: Path, tmp_path: Path) -> None:
        ini, data, precious = tmp_path / "new.ini", tmp_path / "var", tmp_path / "precious"
        data.mkdir()
        (precious / "folder").mkdir(parents=True)
        (precious / "file").touch()
        (data / "snapshots").symlink_to(precious)
        for path in (data, data / "snapshots"):
            os.chown(path, 61347, 61348, follow_symlinks=False)
        run("restore", ini, backup, "--force")
        owners = {path.stat().st_uid for path in (precious, precious / "folder", precious / "file")}
        assert owners == {0}

    def test_from_sqlite_to_postgresql_and_back(
        self, ini: Path, backup: Path, tmp_path: Path, made: list[Resources]
    ) -> None:
        with postgres_server() as url:
            moved = tmp_path / "pg/production.ini"
            moved.parent.mkdir()
            moved.write_text(f"{INI}sqlalchemy.url = {url}\n")
            assert run("restore", moved, backup).exit_code == 0
            service = opened(moved, made)
            assert_whole(service)
            assert run("restore", moved, backup).exit_code == 1
            service.workers.beat("w", 1, None)
            assert "[service-running]" in run("restore", moved, backup, "--force").stderr
            service.workers.leave("w")
            assert run("restore", moved, backup, "--force").exit_code == 0
            assert run("backup", moved, "-o", tmp_path / "pg.tar").exit_code == 0
            service.engine.dispose()
            back = tmp_path / "back/production.ini"
            back.parent.mkdir()
            back.write_text(INI)
            assert run("restore", back, tmp_path / "pg.tar").exit_code == 0
            assert_whole(opened(back, made))

    def test_an_image_folder_elsewhere(self, backup: Path, tmp_path: Path, made: list[Resources]) -> None:
        with_other_device = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
        folder = with_other_device / f"linkpeek-test-{os.getpid()}"
        ini = tmp_path / "new.ini"
        ini.write_text(f"{INI}linkpeek.storage_url = file:{folder}\n")
        try:
            assert run("restore", ini, backup).exit_code == 0
            assert_whole(opened(ini, made))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _flipped(data: bytes, bit: int) -> bytes:
    altered = bytearray(data)
    altered[bit // 8] ^= 1 << bit % 8
    return bytes(altered)


def linkpeek(
    *arguments: object, file_size: int | None = None, **how: object
) -> "subprocess.CompletedProcess[bytes]":
    """Run the command in a process of its own, which may write files of so many bytes only."""

    def limit() -> None:
        if file_size:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    command = [sys.executable, "-m", "linkpeek", *map(str, arguments)]
    return subprocess.run(command, preexec_fn=limit, timeout=60, check=False, **how)  # type: ignore[call-overload]


STOPPING = """
import sys, time
from unittest import mock
from linkpeek.cli import main
def wait(*args, **kwargs):
    print("there", flush=True)
    time.sleep(60)
with mock.patch(sys.argv[1], wait):
    main(sys.argv[2:])
"""


class stopped_at:
    """Run a command in a process that waits where it comes to a function."""

    def __init__(self, function: str, *arguments: object) -> None:
        command = [sys.executable, "-c", STOPPING, function, *map(str, arguments)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def __enter__(self) -> "subprocess.Popen[bytes]":
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"there\n"
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
