"""The tables of docs/performance.md, made from docs/performance.json.

    python -m benchmarks.report

In the document, a table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``.
"""

import json
import re
from pathlib import Path

from benchmarks import Result, captures, latency, legacy, scale, servers, stack
from benchmarks.service import CHECKOUT
from benchmarks.text import grid

DOCUMENT, RESULTS = "performance.md", "performance.json"
#: Stands where a table should be that these results have no figures for.
MISSING = "Not measured yet."
_PLACE = re.compile(r"(<!-- table: ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_PARTS = {
    "servers": servers,
    "captures": captures,
    "legacy": legacy,
    "stack": stack,
    "scale": scale,
    "latency": latency,
}


def tables(results: Result) -> dict[str, str]:
    """Lay out everything that was measured, by the names that the document uses."""
    found = {"machine": _machine(results["machine"]), "runs": _runs(results["parts"])}
    for name, module in _PARTS.items():
        if name in results["parts"]:
            found |= module.tables(results["parts"][name]["result"])
    return found


def _machine(described: Result) -> str:
    return grid(["what", "which"], described.items())


def _runs(parts: Result) -> str:
    rows = [
        [f"`{one['command']}`", one["date"], f"{one['took_seconds']} s", one["load_before"]]
        for one in parts.values()
    ]
    return grid(["command", "begun", "took", "load before"], rows)


def filled(text: str, results: Result) -> str:
    """Give the document with the tables of these results."""
    there = tables(results)
    return _PLACE.sub(lambda match: f"{match[1]}\n{there.get(match[2], MISSING)}\n\n{match[3]}", text)


def fill(folder: Path) -> None:
    """Write the tables of a folder's results into its document, where there is one."""
    document = folder / DOCUMENT
    if document.exists():
        results = json.loads((folder / RESULTS).read_text("utf-8"))
        document.write_text(filled(document.read_text("utf-8"), results), "utf-8")


if __name__ == "__main__":
    fill(CHECKOUT / "docs")
