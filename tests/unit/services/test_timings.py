import sqlalchemy as sa

from linkpeek.db import make_engine, make_sessions
from linkpeek.services.timings import note_answer
from tests.factories import make_capture
from tests.unit.services.conftest import Bench


def ready(bench: Bench) -> None:
    bench.ask()
    captures = bench.captures()
    claim = captures.claim()
    captures.finish(claim, make_capture(claim.request))


def test_only_the_first_answer_is_noted_beside_what_the_worker_took(bench: Bench) -> None:
    ready(bench)
    before = dict(bench.row().timings)
    note_answer(bench.sessions, 1, encode=0.25, answer=0.5)
    note_answer(bench.sessions, 1, encode=9, answer=9)
    assert bench.row().timings == {**before, "encode": 0.25, "answer": 0.5}


def test_a_snapshot_that_is_gone_has_no_figures(bench: Bench) -> None:
    ready(bench)
    note_answer(bench.sessions, 2, encode=0.25, answer=0.5)
    assert "answer" not in bench.row().timings


def test_a_busy_database_costs_the_figure_and_no_answer(tmp_path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/empty")
    note_answer(make_sessions(engine), 1, encode=0.25, answer=0.5)
    assert sa.inspect(engine).get_table_names() == []
