import os
from datetime import timedelta

import pytest
import sqlalchemy as sa

from linkpeek.db import transaction
from linkpeek.errors import Unavailable
from linkpeek.models import Snapshot, State
from linkpeek.services.captures import MAX_ATTEMPTS
from linkpeek.services.renditions import PLACEHOLDER_TOKEN, master_path
from linkpeek.services.sweep import STRAY_AFTER
from linkpeek.storage import image_path, snapshot_folder
from tests.factories import make_capture, make_png
from tests.unit.services.conftest import Bench

DAY = 86400


def ready(bench: Bench, name: str = "page") -> Snapshot:
    bench.ask(name)
    captures = bench.captures()
    claim = captures.claim()
    captures.finish(claim, make_capture(claim.request))
    return bench.rows()[-1]


def has_picture(bench: Bench, row: Snapshot) -> bool:
    return bench.storage.exists(master_path(row.token))


def age_folder(bench: Bench, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the storage think that it is later: when an entry changed cannot be set."""
    monkeypatch.setattr(
        "linkpeek.storage.files.time.time", lambda: os.stat(bench.storage.root).st_ctime + 2 * STRAY_AFTER
    )


class TestRetention:
    def test_what_is_too_old_goes_with_its_picture(self, bench: Bench) -> None:
        old = ready(bench, "old")
        bench.clock.step(20 * DAY)
        young = ready(bench, "young")
        bench.clock.step(10 * DAY + 1)
        swept = bench.sweeper(retention_days=30).sweep()
        assert (swept.expired, swept.freed_bytes) == (1, old.stored_bytes)
        assert [row.id for row in bench.rows()] == [young.id]
        assert not has_picture(bench, old)
        assert has_picture(bench, young)

    def test_failures_go_too(self, bench: Bench) -> None:
        ready(bench)
        bench.change(state=State.FAILED)
        bench.clock.step(31 * DAY)
        assert bench.sweeper().sweep().expired == 1
        assert bench.rows() == []

    def test_what_is_under_way_stays(self, bench: Bench) -> None:
        bench.ask("queued")
        bench.ask("capturing")
        bench.workers().beat("w1", 1, None)
        bench.captures("w1").claim()
        bench.change(requested_at=bench.clock.now - timedelta(days=99))
        assert bench.sweeper().sweep().expired == 0
        assert len(bench.rows()) == 2

    def test_zero_days_mean_no_end(self, bench: Bench) -> None:
        row = ready(bench)
        bench.clock.step(9999 * DAY)
        assert bench.sweeper(retention_days=0).sweep().expired == 0
        assert has_picture(bench, row)

    def test_what_is_too_old_is_found_through_an_index(self, bench: Bench) -> None:
        asked: list[tuple[str, object]] = []

        def note(connection: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
            asked.append((statement, parameters))

        sa.event.listen(bench.resources.engine, "before_cursor_execute", note)
        bench.sweeper(retention_days=30, max_bytes=1).sweep()
        sa.event.remove(bench.resources.engine, "before_cursor_execute", note)
        selects = [one for one in asked if one[0].startswith("SELECT") and "finished_at <" in one[0]]
        assert len(selects) == 2
        for statement, parameters in selects:
            plan = bench.plan(statement, parameters)
            assert "ix_snapshot_state_finished_at" in plan
            assert "TEMP B-TREE" not in plan

    def test_more_than_one_batch(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("linkpeek.services.sweep.BATCH", 2)
        for number in range(5):
            ready(bench, f"{number}")
        bench.clock.step(31 * DAY)
        assert bench.sweeper().sweep().expired == 5
        assert bench.rows() == []


class TestSpace:
    def test_the_oldest_go_until_it_is_enough(self, bench: Bench) -> None:
        rows = []
        for number in range(4):
            rows.append(ready(bench, f"{number}"))
            bench.clock.step(1)
        each = rows[0].stored_bytes
        swept = bench.sweeper(max_bytes=2 * each).sweep()
        assert (swept.evicted, swept.freed_bytes) == (2, 2 * each)
        assert [row.id for row in bench.rows()] == [3, 4]
        assert [has_picture(bench, row) for row in rows] == [False, False, True, True]

    def test_enough_space_is_no_reason(self, bench: Bench) -> None:
        row = ready(bench)
        assert bench.sweeper(max_bytes=row.stored_bytes).sweep().evicted == 0
        assert bench.sweeper(max_bytes=0).sweep().evicted == 0

    def test_what_is_nobody_s_makes_room_first(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """As after a restore: the pictures taken since the backup have no rows."""
        rows = [ready(bench, f"{number}") for number in range(2)]
        for token in ("ab" * 16, "cd" * 16):
            bench.storage.put(master_path(token), bench.storage.get(master_path(rows[0].token)))
        age_folder(bench, "ab" * 16, monkeypatch)
        swept = bench.sweeper(max_bytes=3 * rows[0].stored_bytes).sweep()
        assert (swept.strays, swept.evicted) == (2, 0)
        assert all(has_picture(bench, row) for row in rows)

    def test_strays_that_cannot_be_deleted_keep_nothing_from_making_room(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row = ready(bench)

        def fail(age: float) -> int:
            raise Unavailable("It cannot be deleted.", code="storage-unavailable")

        monkeypatch.setattr(bench.storage, "sweep_temporary", fail)
        with pytest.raises(Unavailable):
            bench.sweeper(max_bytes=1).sweep()
        assert not has_picture(bench, row)

    def test_it_ends_although_what_is_too_much_is_not_ours(self, bench: Bench) -> None:
        ready(bench)
        (bench.storage.root / "other.bin").write_bytes(b"x" * 10_000)
        swept = bench.sweeper(max_bytes=1000).sweep()
        assert swept.evicted == 1
        assert bench.rows() == []

    def test_two_at_a_time_delete_no_more_than_one(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        each = min(ready(bench, f"{number}").stored_bytes for number in range(4))
        first, second = (bench.sweeper(max_bytes=2 * each) for _ in range(2))
        real = bench.storage.delete

        def delete(folder: str) -> int:
            monkeypatch.setattr(bench.storage, "delete", real)
            assert second.sweep().evicted == 2
            return real(folder)

        monkeypatch.setattr(bench.storage, "delete", delete)
        assert first.sweep().freed_bytes == 0
        assert [row.id for row in bench.rows()] == [3, 4]

    def test_what_is_under_way_stays(self, bench: Bench) -> None:
        ready(bench)
        bench.ask("more")
        bench.sweeper(max_bytes=1).sweep()
        assert [row.state for row in bench.rows()] == [State.QUEUED]


class TestWhatCannotBeDeleted:
    @pytest.fixture
    def stuck(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
        """The oldest of three snapshots: its folder is another user's."""
        oldest = ready(bench, "stuck")
        for name in ("a", "b"):
            bench.clock.step(1)
            ready(bench, name)
        real = bench.storage.delete

        def delete(folder: str) -> int:
            if folder == snapshot_folder(oldest.token):
                raise Unavailable("The image storage is not available.", code="storage-unavailable")
            return real(folder)

        monkeypatch.setattr(bench.storage, "delete", delete)
        return oldest

    def test_it_does_not_keep_what_is_too_old(
        self, bench: Bench, stuck: Snapshot, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.clock.step(31 * DAY)
        assert bench.sweeper().sweep().expired == 2
        assert [row.id for row in bench.rows()] == [stuck.id]
        assert stuck.token in caplog.text

    def test_it_does_not_keep_what_is_too_much(self, bench: Bench, stuck: Snapshot) -> None:
        assert bench.sweeper(max_bytes=1).sweep().evicted == 2
        assert [row.id for row in bench.rows()] == [stuck.id]

    def test_it_does_not_keep_what_nobody_knows(
        self, bench: Bench, stuck: Snapshot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with transaction(bench.resources.sessions) as session:
            session.execute(sa.delete(Snapshot))
        age_folder(bench, stuck.token, monkeypatch)
        assert bench.sweeper().sweep().strays == 2
        assert list(bench.storage.tokens(0)) == [stuck.token]

    def test_a_storage_that_does_not_work_ends_the_sweep(
        self, bench: Bench, stuck: Snapshot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def check() -> None:
            raise Unavailable("The image storage is not available.", code="storage-unavailable")

        monkeypatch.setattr(bench.storage, "check", check)
        with pytest.raises(Unavailable):
            bench.sweeper(max_bytes=1).sweep()
        assert len(bench.rows()) == 3

    def test_too_many_of_them_end_the_sweep(
        self, bench: Bench, stuck: Snapshot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("linkpeek.services.sweep.MOST_STUCK", 0)
        with pytest.raises(Unavailable):
            bench.sweeper(max_bytes=1).sweep()


class TestStrays:
    def test_pictures_that_nobody_knows_go(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("linkpeek.services.sweep.BATCH", 2)
        known = ready(bench)
        strays = [f"{number:032x}" for number in range(1, 6)]
        for token in (*strays, PLACEHOLDER_TOKEN):
            bench.storage.put(image_path(token, "336", "png"), make_png(1, 1))
        assert bench.sweeper().sweep().strays == 0
        age_folder(bench, known.token, monkeypatch)
        assert bench.sweeper().sweep().strays == 5
        assert has_picture(bench, known)
        assert sorted(bench.storage.tokens(0)) == sorted([PLACEHOLDER_TOKEN, known.token])

    def test_placeholders_do_not_pile_up(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("linkpeek.services.sweep.MOST_PLACEHOLDERS", 2)
        placeholders = [image_path(PLACEHOLDER_TOKEN, f"{width}x16", "png") for width in range(16, 19)]
        for path in placeholders[:2]:
            bench.storage.put(path, make_png(1, 1))
        bench.sweeper().sweep()
        assert all(map(bench.storage.exists, placeholders[:2]))
        bench.storage.put(placeholders[2], make_png(1, 1))
        bench.sweeper().sweep()
        assert not any(map(bench.storage.exists, placeholders))

    def test_the_picture_of_a_capture_that_is_not_recorded_yet_stays(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.ask()
        bench.workers().beat("w1", 1, None)
        claim = bench.captures("w1").claim()
        bench.storage.put(master_path(claim.token), make_png(1, 1))
        age_folder(bench, claim.token, monkeypatch)
        assert bench.sweeper().sweep().strays == 0
        assert bench.storage.exists(master_path(claim.token))

    def test_the_picture_of_a_capture_that_failed_after_all_goes(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its worker died between storing and recording, for the last time."""
        bench.ask()
        for _ in range(MAX_ATTEMPTS):
            claim = bench.captures("w1").claim()
            bench.storage.put(master_path(claim.token), make_png(1, 1))
            bench.workers().bury_dead()
        [row] = bench.rows()
        assert (row.state, has_picture(bench, row)) == (State.FAILED, True)
        age_folder(bench, row.token, monkeypatch)
        assert bench.sweeper().sweep().strays == 1
        assert not has_picture(bench, row)
        assert len(bench.rows()) == 1

    def test_asks_the_database_once_a_batch(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(40):
            bench.storage.put(image_path(f"{number:032x}", "1", "png"), make_png(1, 1))
        age_folder(bench, "", monkeypatch)
        statements: list[str] = []
        sa.event.listen(
            bench.resources.engine, "before_cursor_execute", lambda *args: statements.append(args[2])
        )
        assert bench.sweeper().sweep().strays == 39
        assert len(statements) < 20


class TestOtherChores:
    def test_takes_back_what_is_lost_and_tells_what_is_due(self, bench: Bench) -> None:
        bench.ask()
        bench.captures("dead").claim()
        assert bench.sweeper().due() == 0
        assert bench.sweeper().sweep().taken_back == 1
        assert bench.sweeper().due() == 1
        bench.change(not_before=bench.clock.now + timedelta(seconds=1))
        assert bench.sweeper().due() == 0

    def test_a_row_whose_picture_is_gone_can_be_swept(self, bench: Bench) -> None:
        row = ready(bench)
        bench.storage.delete(snapshot_folder(row.token))
        bench.clock.step(31 * DAY)
        swept = bench.sweeper().sweep()
        assert (swept.expired, swept.freed_bytes) == (1, 0)
