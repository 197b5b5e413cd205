"""How fast LinkPeek is, measured beside what it could be and what else there is.

``python -m benchmarks`` runs everything, ``make bench`` does so from a checkout.
Each part is also a program of its own: ``python -m benchmarks.NAME [--quick]
[--json FILE]`` prints its tables and writes its results. docs/performance.md
says what came out.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: A part's results: whatever JSON can hold.
Result = dict[str, Any]


def command(
    doc: str | None,
    run: Callable[..., Result],
    tables: Callable[[Result], dict[str, str]],
    only: bool = False,
) -> None:
    """Be the program of one part: read the command line, run, print, write.

    :param run: takes ``quick`` and, where ``only`` says so, a list of names.
    :param tables: lays out what ``run`` gave, by name.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--json", type=Path, help="file for the results")
    if only:
        parser.add_argument("--only", default="", help="names, with commas between them")
    options = parser.parse_args()
    words = {"only": [word for word in options.only.split(",") if word]} if only else {}
    result = run(quick=options.quick, **words)
    for text in tables(result).values():
        print(f"\n{text}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(result))
