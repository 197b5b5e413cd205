import os
from pathlib import Path

from linkpeek.capture.profile import PREFIX, Profile, remove_stale


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
