"""All parts of the benchmarks, each in a process of its own; results, plots and the document's tables.

    python -m benchmarks [--quick] [--only servers,scale] [--into FOLDER]

A whole run writes docs/performance.json, docs/images/performance-*.svg and the
tables of docs/performance.md; a quick one writes the first two into build/bench/.
What other parts have left in the file before stays in it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import Result, machine, plots, report
from benchmarks.service import CHECKOUT

#: In the order in which they run; the longest first.
PARTS = ("servers", "captures", "legacy", "stack", "scale", "latency")


def main() -> int:
    """Run what the command line says; 1 when a part failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything: three minutes")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, with commas between; of {PARTS}")
    parser.add_argument("--into", type=Path, help="folder of the results; docs, or build/bench when quick")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    folder = options.into or CHECKOUT / ("build/bench" if options.quick else "docs")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    path = folder / report.RESULTS
    results: Result = json.loads(path.read_text()) if path.exists() else {"parts": {}}
    results["machine"] = machine.describe()
    failed = []
    for name in chosen:
        print(f"\n==> {name}", flush=True)
        found = _run(name, options.quick)
        if found is None:
            failed.append(name)
            continue
        results["parts"][name] = found
        path.write_text(json.dumps(results, indent=1) + "\n")
    plots.write(results, folder / "images")
    report.fill(folder)
    print(f"\n==> {path}; failed: {', '.join(failed) or 'none'}")
    return bool(failed)


def _run(name: str, quick: bool) -> Result | None:
    """Run a part; give its results and what they are to be judged by."""
    command = ["python", "-m", f"benchmarks.{name}", *(["--quick"] if quick else [])]
    found: Result = {
        "command": " ".join(command),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "quick": quick,
        "load_before": machine.load(),
    }
    since = time.monotonic()
    with tempfile.NamedTemporaryFile("r", prefix="bench-", suffix=".json") as file:
        done = subprocess.run(
            [sys.executable, *command[1:], "--json", file.name], check=False, cwd=CHECKOUT, timeout=3600
        )
        if done.returncode:
            return None
        found["took_seconds"] = round(time.monotonic() - since)
        found["result"] = json.load(file)
    return found


if __name__ == "__main__":
    sys.exit(main())
