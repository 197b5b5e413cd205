"""Load and what it costs: wrk asks, and /proc says what the asked processes used."""

import json
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.machine import cores

#: Seconds after which a request counts as an error.
TIMEOUT = 10
#: Asks for the paths of a file in turn, in any order, and says what came of it.
_SCRIPT = """
local paths, at = {}, 0
function init(args)
  for line in io.lines(args[1]) do paths[#paths + 1] = line end
  wrk.headers["Accept"] = "*/*"
  wrk.headers["Host"] = args[2]
end
function request()
  at = at % #paths + 1
  return wrk.format("GET", paths[at])
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests":%d,"seconds":%.3f,"p50_ms":%.3f,"p99_ms":%.3f,"errors":%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""

Figures = dict[str, float]


def wrk(
    address: str, paths: Sequence[str], connections: int, seconds: int, host: str = "localhost"
) -> Figures:
    """Ask a server for as much as it gives.

    :param address: of the server, such as ``http://127.0.0.1:5200``.
    :param paths: with queries; they are asked for in turn.
    :returns: requests, seconds, rate (1/s), p50_ms, p99_ms, errors (also answers from 400 on).
    """
    shuffled = random.Random(1).sample(list(paths), len(paths))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        script, listed = Path(folder, "load.lua"), Path(folder, "paths")
        script.write_text(_SCRIPT)
        listed.write_text("\n".join(shuffled) + "\n")
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={TIMEOUT}s", "--latency"]
        command += [f"--script={script}", address, "--", str(listed), host]
        done = subprocess.run(pinned(command, cores(3)), capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    result: Figures = json.loads(line.removeprefix("RESULT "))
    result["rate"] = round(result["requests"] / result["seconds"], 1)
    return result


def together(runs: Sequence[Figures]) -> Figures:
    """Give several runs of the same as one: the mean of each figure, the sum of the errors."""
    merged = {name: round(sum(run[name] for run in runs) / len(runs), 3) for name in runs[0]}
    return {**merged, "errors": sum(run["errors"] for run in runs)}


def pinned(command: Sequence[str], on: set[int]) -> list[str]:
    """Give a command that runs on these cores only."""
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(on))), *command]


@contextmanager
def background(address: str, paths: Sequence[str], connections: int, seconds: int) -> Iterator[None]:
    """Have other requests going on beside what the block does."""
    thread = threading.Thread(target=wrk, args=(address, paths, connections, seconds), daemon=True)
    thread.start()
    yield
    thread.join()


@dataclass(frozen=True)
class Usage:
    """What processes used: seconds of processor time, that of children that ended included, and MB (PSS)."""

    cpu: float
    memory: float


def usage(processes: Sequence[psutil.Process]) -> Usage:
    """Measure processes.

    PSS counts a page that n processes share as 1/n for each (proc_pid_smaps(5)), so that a
    sum of it is what they really hold.
    """
    memory = 0.0
    for process in processes:
        with suppress(psutil.Error):
            memory += process.memory_full_info().pss / 1e6
    return Usage(cpu(processes), round(memory, 1))


def cpu(processes: Sequence[psutil.Process]) -> float:
    """Give the processor time of processes in seconds, that of children that ended included."""
    spent = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            spent += times.user + times.system + times.children_user + times.children_system
    return spent


def family(pid: int) -> list[psutil.Process]:
    """List a process and everything that descends from it."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def is_idle(pid: int) -> bool:
    """Tell, after half a second, whether a family of processes has come to rest meanwhile."""
    before = cpu(family(pid))
    time.sleep(0.5)
    return cpu(family(pid)) - before < 0.05


def stop(process: "subprocess.Popen[bytes]", seconds: float = 20) -> None:
    """End a process, and whatever of its family outlives it."""
    everyone = family(process.pid)
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for one in everyone:
        with suppress(psutil.Error):
            one.kill()
