"""Peer: shot-scraper's ``multi`` command, one process of it for each page at once.

Each process gets its share of the pages in one file, as the tool is meant to be
used, and keeps one browser and one context for all of them. Its start is not
counted: its time runs from its first picture to its last, for the pages between.
Arguments: the command, and a folder for pictures.
"""

import asyncio
import json
import sys
import time
from itertools import pairwise
from pathlib import Path

from benchmarks.peers_rounds import say

WIDTH, HEIGHT = 1024, 768


async def main(command: str, folder: Path) -> None:
    """Answer rounds until standard input ends."""
    say({})
    while line := await asyncio.to_thread(sys.stdin.readline):
        wanted = json.loads(line)
        uris, at_once = wanted["uris"], wanted["at_once"]
        since = time.perf_counter()
        shares = [uris[number::at_once] for number in range(at_once)]
        steps = await asyncio.gather(
            *(_multi(command, folder, number, share) for number, share in enumerate(shares))
        )
        whole = time.perf_counter() - since
        rate = sum(len(each) / sum(each) for each in steps)
        latencies = [step for each in steps for step in each]
        say({"seconds": len(uris) / rate, "whole": whole, "latencies": latencies, "bytes": _bytes(folder)})


async def _multi(command: str, folder: Path, number: int, uris: list[str]) -> list[float]:
    """Have one process take pages; give the seconds that each but the first took."""
    shots = [
        {"url": uri, "output": f"{folder}/{number}-{place}.png", "width": WIDTH, "height": HEIGHT}
        for place, uri in enumerate(uris)
    ]
    listed = folder / f"{number}.yml"
    listed.write_text(json.dumps(shots))  # JSON is YAML
    words = (command, "multi", str(listed), "--fail")
    process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    times, said = [], []
    async for line in process.stderr:
        said.append(line.decode())
        if line.startswith(b"Screenshot of"):
            times.append(time.perf_counter())
    if await process.wait() or len(times) != len(uris):
        raise RuntimeError("shot-scraper: " + "".join(said)[-800:])
    return [after - before for before, after in pairwise(times)]


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.png"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
