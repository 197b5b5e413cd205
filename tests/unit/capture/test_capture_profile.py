import errno
import fcntl
import os
import shutil
import threading
from pathlib import Path

import pytest

from linkpeek.capture.profile import PREFIX, TRIES, Profile, remove_stale
from linkpeek.errors import Unavailable


def test_profile_is_private_and_removed_with_all_in_it(tmp_path: Path) -> None:
    profile = Profile(tmp_path)
    (profile.path / "Default" / "deep").mkdir(parents=True)
    (profile.path / "Default" / "deep" / "file").write_text("x")
    assert profile.path.stat().st_mode & 0o777 == 0o700

    profile.remove()
    profile.remove()

    assert list(tmp_path.iterdir()) == []


def test_only_what_nobody_holds_is_stale(tmp_path: Path) -> None:
    held = Profile(tmp_path)
    (tmp_path / f"{PREFIX}dead" / "Default").mkdir(parents=True)
    (tmp_path / "someone-elses").mkdir()

    assert remove_stale(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == {held.path.name, "someone-elses"}
    held.remove()


def test_links_are_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    base = tmp_path / "base"
    base.mkdir()
    (base / f"{PREFIX}link").symlink_to(precious)

    assert remove_stale(base) == 0
    assert (precious / "file").exists()


def test_lock_is_not_inherited(tmp_path: Path) -> None:
    profile = Profile(tmp_path)

    assert profile._lock is not None
    assert not os.get_inheritable(profile._lock)
    profile.remove()


def test_what_a_sweep_takes_before_it_is_held_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker starts just then: it sees a folder that nobody holds yet."""
    flock, taken = fcntl.flock, []

    def late(fd: int, how: int) -> None:
        if not taken:
            taken.append(True)
            assert remove_stale(tmp_path) == 1
        flock(fd, how)

    monkeypatch.setattr("linkpeek.capture.profile.fcntl.flock", late)
    profile = Profile(tmp_path)

    assert list(tmp_path.iterdir()) == [profile.path]
    assert remove_stale(tmp_path) == 0
    profile.remove()


def test_what_another_sweep_holds_is_its_to_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{PREFIX}dead" / "Default").mkdir(parents=True)
    rmtree, counts = shutil.rmtree, []

    def slow(path: Path, ignore_errors: bool) -> None:
        if not counts:
            counts.append(remove_stale(tmp_path))
        rmtree(path, ignore_errors=ignore_errors)

    monkeypatch.setattr("linkpeek.capture.profile.shutil.rmtree", slow)

    assert remove_stale(tmp_path) == 1
    assert counts == [0]


def test_what_appears_while_it_is_removed_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = Profile(tmp_path)
    rmtree, writes = shutil.rmtree, []

    def racing(path: Path, ignore_errors: bool) -> None:
        rmtree(path, ignore_errors=ignore_errors)
        if len(writes) < 3:
            writes.append(True)
            (path / "Default").mkdir(parents=True)

    monkeypatch.setattr("linkpeek.capture.profile.shutil.rmtree", racing)
    profile.remove()

    assert list(tmp_path.iterdir()) == []


def test_many_owners_and_sweeps_at_once(tmp_path: Path) -> None:
    """Nobody loses a folder that is held, and nothing is left."""
    lost: list[Path] = []

    def own() -> None:
        for _ in range(100):
            profile = Profile(tmp_path)
            (profile.path / "file").write_text("x")
            if not (profile.path / "file").exists():
                lost.append(profile.path)
            profile.remove()

    def sweep() -> None:
        while any(owner.is_alive() for owner in owners):
            remove_stale(tmp_path)

    owners = [threading.Thread(target=own) for _ in range(3)]
    sweeper = threading.Thread(target=sweep)
    for thread in (*owners, sweeper):
        thread.start()
    for thread in (*owners, sweeper):
        thread.join()

    assert lost == []
    assert list(tmp_path.iterdir()) == []


def test_no_room_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no folder"):
        Profile(tmp_path / "missing")
    assert remove_stale(tmp_path / "missing") == 0


def test_a_disk_without_locks_is_not_littered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(fd: int, how: int) -> None:
        asked.append(fd)
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("linkpeek.capture.profile.fcntl.flock", refuse)

    with pytest.raises(Unavailable, match="locked"):
        Profile(tmp_path)
    assert len(asked) == TRIES
    assert list(tmp_path.iterdir()) == []
