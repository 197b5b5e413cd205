import os
from pathlib import Path

import pytest

from linkpeek.capture import cage
from linkpeek.capture.cage import MB, Cage


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like our control group."""
    monkeypatch.setattr(cage, "_own_group", lambda: tmp_path)
    return tmp_path


def test_limits_hold_without_a_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cage, "_own_group", lambda: None)
    built = Cage.build()
    limits = dict(limit.split("=") for limit in built.limits)

    assert built.path is None
    assert limits["CORE"] == "0"
    assert 1024 * MB <= int(limits["DATA"]) <= 4096 * MB
    built.inspect(os.getpid())
    built.kill()
    built.remove()


@pytest.mark.parametrize(("memory", "data"), [(1, 1024), (4096, 2048), (65536, 4096)])
def test_memory_follows_the_machines(monkeypatch: pytest.MonkeyPatch, memory: int, data: int) -> None:
    monkeypatch.setattr(cage, "_memory", lambda: memory * MB)

    assert f"DATA={data * MB}" in Cage(None).limits


def test_group_is_made_beside_our_own_and_removed(group: Path) -> None:
    built = Cage.build()
    assert built.path is not None
    assert built.path.parent == group

    built.remove()

    assert list(group.iterdir()) == []


def test_controllers_that_are_there_are_used(group: Path) -> None:
    built = Cage.build()
    assert built.path is not None
    (built.path / "cgroup.kill").write_text("")
    built.kill()

    assert (built.path / "cgroup.kill").read_text() == "1"
    assert not (built.path / "memory.max").exists(), "no controller, no limit"


@pytest.mark.parametrize(("inside", "warnings"), [("12\n123\n", 0), ("12\n1234\n", 1), ("", 1)])
def test_a_browser_that_is_not_in_its_group_is_told_of(
    group: Path, caplog: pytest.LogCaptureFixture, inside: str, warnings: int
) -> None:
    built = Cage.build()
    assert built.path is not None
    (built.path / "cgroup.procs").write_text(inside)
    built.inspect(123)

    assert len(caplog.records) == warnings


def test_groups_of_dead_workers_are_removed(group: Path) -> None:
    dead, living = group / "linkpeek-browser-4194999-1", group / f"linkpeek-browser-{os.getpid()}-1"
    dead.mkdir()
    living.mkdir()
    built = Cage.build()

    assert not dead.exists()
    assert living.exists()
    built.remove()


def test_tells_whether_anything_lives_in_it(group: Path) -> None:
    built = Cage.build()
    assert built.path is not None
    assert not built.is_populated, "nobody can tell"
    for populated in (True, False):
        (built.path / "cgroup.events").write_text(f"populated {populated:d}\nfrozen 0\n")
        assert built.is_populated is populated

    assert not Cage(None).is_populated


def test_other_mounts_may_have_any_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    group, mounts = tmp_path / "cgroup", tmp_path / "mountinfo"
    group.write_text("0::/system.slice/linkpeek.service\n")
    mounts.write_bytes(
        b"40 25 8:17 / /media/M\xfcnchen rw - vfat /dev/sdb1 rw\n"
        b"31 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
    )
    files = {"/proc/self/cgroup": group, "/proc/self/mountinfo": mounts}
    monkeypatch.setattr(cage, "Path", lambda first, *more: Path(files.get(first, first), *more))

    assert cage._own_group() == Path("/sys/fs/cgroup/system.slice/linkpeek.service")
