"""Becomes the browser, after tying its life to its parent's, ranking and limiting it.

Run as a program by ``process``, never imported by it. A child must say itself that
it wants to die with its parent, between fork and exec, and Python code between
the two (``preexec_fn``) may deadlock where there are threads; so this short
program is started, and replaces itself by the browser.

Arguments: the parent's pid, the file descriptor to read commands from, the one
to write answers to, the folder of the control group to enter or nothing, limits as
``name=value`` (``RLIMIT_`` left out), ``--`` and the command. Exit code 125: could
not be set up.

PR_SET_PDEATHSIG fires when the *thread* that forked ends, not the process
(prctl(2)): the browser must be started from a thread that lives as long as it should.
"""

import ctypes
import fcntl
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
COMMANDS_FD, ANSWERS_FD = 3, 4


def main(arguments: list[str]) -> None:
    """Set up this process as the arguments say and become the command."""
    split = arguments.index("--")
    parent, commands, answers = map(int, arguments[:3])
    _die_with(parent)
    if arguments[3]:
        _enter(arguments[3])
    _wait_for_turns()
    for limit in arguments[4:split]:
        name, _, value = limit.partition("=")
        _limit(getattr(resource, f"RLIMIT_{name}"), int(value))
    _place_pipes(commands, answers)
    command = arguments[split + 1 :]
    os.execv(command[0], command)  # noqa: S606 - to become it is what this is for


def _die_with(parent: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(125)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(125)


def _enter(group: str) -> None:
    """Enter a control group, so that all that the browser ever starts is in it (cgroups(7))."""
    try:
        procs = os.open(os.path.join(group, "cgroup.procs"), os.O_WRONLY)
        os.write(procs, str(os.getpid()).encode())
        os.close(procs)
    except OSError:  # whoever made the group sees it (``cage``)
        return


def _wait_for_turns() -> None:
    """Have the browser not interrupt what runs when it wakes up (SCHED_BATCH, sched(7)).

    Its processes wake each other all the time, and with as many pages as cores most of what they
    interrupt is their own work, and the guard's, which all of them wait for. The browser's share of
    the processor stays the same. See docs/performance.md.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:  # where a sandbox forbids it, it works as well, only slower
        return


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def _place_pipes(commands: int, answers: int) -> None:
    """Move the pipes to where Chromium looks for them; either may be in the other's place."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in (commands, answers)]
    for fd in {commands, answers} - {COMMANDS_FD, ANSWERS_FD}:
        os.close(fd)
    os.dup2(high[0], COMMANDS_FD)
    os.dup2(high[1], ANSWERS_FD)


if __name__ == "__main__":
    main(sys.argv[1:])
