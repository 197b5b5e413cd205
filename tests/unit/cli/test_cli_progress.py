"""How far a long command is, on a terminal and in a log."""

import os
import signal
import subprocess
import sys

import pytest

from linkpeek.cli import progress
from linkpeek.cli.progress import Progress


class Watch:
    """A clock set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr(progress.time, "monotonic", watch)
    return watch


def test_a_log_gets_a_line_now_and_then(watch: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    tell = Progress("backup", quiet=False)
    for done in range(100):
        watch.now += 0.5
        tell(done, 100)
    assert capsys.readouterr().err.splitlines() == [
        f"backup: {done} of 100 snapshots" for done in (19, 39, 59, 79, 99)
    ]
    tell.end("all is done")
    assert capsys.readouterr().err == "backup: all is done\n"


def test_a_terminal_gets_one_line_that_goes_away(
    watch: Watch, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    tell = Progress("restore", quiet=False)
    for done in range(3):
        watch.now += 0.25
        tell(done, 3)
    tell.end("is restored")
    text = capsys.readouterr().err
    assert text.count("\r") == 4
    assert text.count("\n") == 1
    assert text.endswith("\r\x1b[Krestore: is restored\n")


def test_quiet_is_quiet(watch: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    tell = Progress("backup", quiet=True)
    watch.now += 1000
    tell(1, 2)
    tell.note("removed")
    tell.end("done")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_everything_be_tidied_up(number: signal.Signals) -> None:
    program = (
        "from linkpeek.cli.progress import end_on_signals\n"
        "import signal\n"
        "end_on_signals()\n"
        "try:\n"
        "    print(flush=True)\n"
        "    while True: signal.pause()\n"
        "finally: print('tidied')\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, number)
        assert process.stdout.read() == "tidied\n"
    assert process.returncode == 128 + number
