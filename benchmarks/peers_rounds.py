"""What a peer's program does: take its pages whenever it is told to, and say how long that took.

Standard input has one JSON object a line: ``uris`` and ``at_once``. Standard output
first says ``{}``: ready; then for each line ``seconds``, ``latencies`` (in the order
of the addresses) and ``bytes`` (of all pictures).
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

#: Takes the picture of an address and gives the number of its bytes.
Take = Callable[[str], Awaitable[int]]


async def answer_rounds(take: Take, settle: Callable[[], Awaitable[None]] | None = None) -> None:
    """Answer rounds until standard input ends.

    :param settle: what belongs to a round's time but not to any page's: cleaning up.
    """
    say({})
    while line := await asyncio.to_thread(sys.stdin.readline):
        wanted = json.loads(line)
        since = time.perf_counter()
        answer = await _round(take, wanted["uris"], wanted["at_once"])
        if settle is not None:
            await settle()
        say({"seconds": time.perf_counter() - since, **answer})


async def _round(take: Take, uris: list[str], at_once: int) -> dict[str, object]:
    waiting = list(enumerate(uris))[::-1]
    latencies = [0.0] * len(uris)
    sizes = [0] * len(uris)

    async def work() -> None:
        while waiting:
            place, uri = waiting.pop()
            since = time.perf_counter()
            sizes[place] = await take(uri)
            latencies[place] = time.perf_counter() - since

    await asyncio.gather(*(work() for _ in range(at_once)))
    return {"latencies": latencies, "bytes": sum(sizes)}


def say(answer: object) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
