"""Captures per second, latency and memory: the engine beside raw Chromium and other tools, in one run.

All take the same pages with the same Chromium on two cores, by turns, and wait for
the load event; LinkPeek then also lets the page come to rest. Raw Chromium, which
does the least that makes an isolated picture, is the limit. See ``peers_*`` for
what each does.

    python -m benchmarks.captures [--quick] [--json FILE] [--only "shot-scraper multi"]
"""

import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import Result, command, pages
from benchmarks.machine import load
from benchmarks.peers import LINKPEEK, RAW, Peer, Round, others, own, running, versions
from benchmarks.text import grid, percent, short, times, whole
from linkpeek.capture import find_executable

#: Captures at once, pages a round, and rounds; the quick way's behind.
AT_ONCE, QUICK_AT_ONCE = (1, 2, 4, 8), (1, 4)
PAGES, QUICK_PAGES = 24, 8
ROUNDS, QUICK_ROUNDS = 3, 1
#: Captures at once that memory is measured with, and without.
MOST, LEAST = 8, 1


@dataclass
class Results:
    """What one peer's rounds came to, by the number of captures at once."""

    rates: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    latencies: dict[int, list[tuple[str, float]]] = field(default_factory=lambda: defaultdict(list))
    cpu: list[float] = field(default_factory=list)
    memory: dict[int, float] = field(default_factory=dict)

    def add(self, at_once: int, uris: Sequence[str], done: Round) -> None:
        """Take a round in."""
        self.rates[at_once].append(done.pages / done.seconds)
        # shot-scraper says nothing of the first page of a process, and mixes their order.
        named = uris if len(done.latencies) == len(uris) else ["?"] * len(done.latencies)
        self.latencies[at_once] += zip(map(pages.kind, named), done.latencies, strict=True)
        self.cpu.append(done.cpu / done.pages)

    def figures(self) -> Result:
        """Give medians: captures a second, latency in ms, processor time a capture in ms, MB."""
        by_kind: dict[str, list[float]] = defaultdict(list)
        for kind, seconds in self.latencies[1]:
            by_kind[kind].append(seconds)
        rates = {str(count): round(statistics.median(found), 2) for count, found in self.rates.items()}
        figures: Result = {
            "per_second": rates,
            "best": max(rates.values()),
            "p50_ms": {
                str(count): _p50(value for _, value in found) for count, found in self.latencies.items()
            },
            "p50_ms_by_kind": {kind: _p50(found) for kind, found in sorted(by_kind.items())},
            "cpu_ms": round(1000 * statistics.median(self.cpu)),
        }
        if self.memory:
            few, many = self.memory[LEAST], self.memory[MOST]
            figures |= {"peak_mb": round(many), "mb_a_capture": round((many - few) / (MOST - LEAST), 1)}
        return figures


def _p50(seconds: Any) -> float:
    return round(1000 * statistics.median(seconds), 1)


def run(quick: bool = False, only: Sequence[str] = ()) -> Result:
    """Measure.

    :param quick: only the engine and raw Chromium, less often, and no memory.
    :param only: names of other tools that are measured too; none means all, or with ``quick`` none.
    :returns: ``peers`` by name, ``missing`` ones and why, and what they were measured with.
    """
    executable = find_executable(None)
    amount, rounds = (QUICK_PAGES, QUICK_ROUNDS) if quick else (PAGES, ROUNDS)
    counts = QUICK_AT_ONCE if quick else AT_ONCE
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        site, installed = Path(name, "site"), Path(name, "peers")
        site.mkdir()
        installed.mkdir()
        peers, missing = own(executable, few=quick), {}
        if only or not quick:
            more, missing = others(executable, installed)
            peers += [peer for peer in more if not only or peer.name in only]
        with pages.serve(site) as address:
            uris = [f"{address}/{path}" for path in pages.choose(amount)]
            results = _measure(peers, uris, counts, rounds, with_memory=not quick)
        return {
            "pages": pages.kinds(uris),
            "rounds": rounds,
            "browser": str(executable),
            "load": load(),
            "versions": versions(installed),
            "missing": missing,
            "peers": {peer_name: found.figures() for peer_name, found in results.items()},
        }


def _measure(
    peers: Sequence[Peer], uris: Sequence[str], counts: Sequence[int], rounds: int, *, with_memory: bool
) -> dict[str, Results]:
    """Let the peers take turns, each second round in reverse."""
    results = {peer.name: Results() for peer in peers}
    with running(peers):
        for peer in peers:
            peer.take(uris[:8], 2)  # warm up
        for number in range(rounds):
            order = peers if number % 2 == 0 else peers[::-1]
            for at_once in counts:
                for peer in order:
                    results[peer.name].add(at_once, uris, peer.take(uris, at_once))
            sys.stderr.write(f"round {number + 1} of {rounds}\n")
        if with_memory:
            for peer in peers:
                results[peer.name].memory = {n: peer.memory(uris, n) for n in (LEAST, MOST)}
    return results


def tables(result: Result) -> dict[str, str]:
    """Lay the figures out: rates, latencies, and what a capture costs."""
    rows = result["peers"].items()
    raw = result["peers"][RAW]
    own_best = result["peers"][LINKPEEK]["best"]
    counts = [f"{n} at once" for n in raw["per_second"]]
    rates = grid(
        ["captures a second", *counts, "best", "of raw", "LinkPeek is"],
        [
            [
                name,
                *map(short, found["per_second"].values()),
                short(found["best"]),
                percent(found["best"] / raw["best"]),
                f"{times(own_best / found['best'])} x",
            ]
            for name, found in rows
        ],
    )
    latencies = grid(
        ["latency, p50 in ms", *counts, "of raw at 1", *(f"{kind} at 1" for kind in result["pages"])],
        [
            [
                name,
                *map(whole, found["p50_ms"].values()),
                times(found["p50_ms"]["1"] / raw["p50_ms"]["1"]),
                *(_whole_or_none(found["p50_ms_by_kind"].get(kind)) for kind in result["pages"]),
            ]
            for name, found in rows
        ],
    )
    costs = grid(
        ["cost", "processor ms a capture", f"peak MB at {MOST} at once", "MB for each more at once"],
        [
            [
                name,
                whole(found["cpu_ms"]),
                _whole_or_none(found.get("peak_mb")),
                _whole_or_none(found.get("mb_a_capture")),
            ]
            for name, found in rows
        ],
    )
    found = {"captures rate": rates, "captures latency": latencies, "captures cost": costs}
    missing = [f"Not measured: {name} ({why})." for name, why in result["missing"].items()]
    return found | ({"captures missing": "\n".join(missing)} if missing else {})


def _whole_or_none(value: float | None) -> str:
    return "" if value is None else whole(value)


if __name__ == "__main__":
    command(__doc__, run, tables, only=True)
