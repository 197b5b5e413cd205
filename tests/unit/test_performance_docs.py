"""docs/performance.md: its tables are the ones of the results, and its plots are there."""

import json
import re
from pathlib import Path

from benchmarks import report

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / report.DOCUMENT).read_text()
RESULTS = json.loads((DOCS / report.RESULTS).read_text())


def test_the_tables_are_the_ones_of_the_results() -> None:
    assert report.filled(TEXT, RESULTS) == TEXT, "run: python -m benchmarks.report"


def test_everything_that_was_measured_is_told() -> None:
    told = re.findall(r"<!-- table: ([a-z ]+) -->", TEXT)
    assert sorted(told) == sorted(set(told))
    assert set(report.tables(RESULTS)) - set(told) <= {"servers missing", "captures missing"}


def test_a_figure_that_was_changed_by_hand_is_noticed() -> None:
    changed = re.sub(r"(?<=/s \()\d", "9", TEXT, count=1)
    assert changed != TEXT
    assert report.filled(changed, RESULTS) == TEXT
