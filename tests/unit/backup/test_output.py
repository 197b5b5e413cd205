"""A backup's file: whole or not there, and the oldest go."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from linkpeek.backup.output import dated_name, prune, whole_file

ABANDONING = """
import os, sys
from pathlib import Path
from linkpeek.backup.output import whole_file
with whole_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), 9)
"""


def test_appears_when_it_is_whole_for_its_owner_only(tmp_path: Path) -> None:
    target = tmp_path / "b.tar"
    with whole_file(target) as file:
        file.write(b"data")
        assert not target.exists()
    assert target.read_bytes() == b"data"
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "b.tar"
    target.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), whole_file(target) as file:
        file.write(b"half" * (1 // 0))
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ABANDONING, str(tmp_path / "b.tar")], check=False)
    assert done.returncode == -9
    assert len(list(tmp_path.iterdir())) == 1

    with whole_file(tmp_path / "one.tar") as one:
        with whole_file(tmp_path / "two.tar") as two:
            two.write(b"2")
        one.write(b"1")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.tar", "two.tar"]


def test_only_the_newest_backups_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    days = [tmp_path / dated_name(datetime(2026, 3, day, tzinfo=UTC)) for day in (9, 10, 2, 1)]
    others = [tmp_path / name for name in ("linkpeek-old.tar", "notes.txt", ".linkpeek-20260301T000000Z.tar")]
    for path in days + others:
        path.touch()

    assert prune(tmp_path, 2, made=days[1]) == [days[3], days[2]]

    assert sorted(tmp_path.iterdir()) == sorted(days[:2] + others)
    assert prune(tmp_path, 2, made=days[1]) == []


def test_the_backup_of_today_is_kept_though_the_clock_was_ahead(tmp_path: Path) -> None:
    today, ahead = (tmp_path / dated_name(datetime(year, 3, 1, tzinfo=UTC)) for year in (2026, 2030))
    for path in (today, ahead):
        path.touch()

    assert prune(tmp_path, 1, made=today) == [ahead]
