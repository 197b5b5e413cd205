"""Starts a process that dies with us, with pipes where Chromium looks for them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from linkpeek.capture import shim
from linkpeek.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Spawned:
    """A started process and our ends of its pipes (file descriptors, the owner's to close)."""

    process: "subprocess.Popen[bytes]"
    commands: int
    answers: int
    errors: int


def spawn(
    command: Sequence[str],
    *,
    limits: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    group: Path | None = None,
) -> Spawned:
    """Start a command, by way of ``shim``, as the leader of a session and a process group.

    Its life is tied to the calling thread's.

    :param limits: ``NAME=value``, see ``cage``.
    :param folder: its working directory.
    :param group: folder of the control group that it enters before it begins, if it may.
    :raises Unavailable: it cannot be started.
    """
    (commands_out, commands), (answers, answers_in), (errors, errors_in) = _pipes(3)
    pipes = (str(commands_out), str(answers_in))
    become = [python(), "-I", "-S", shim.__file__, str(os.getpid()), *pipes, str(group or ""), *limits]
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell, and every word is ours
            [*become, "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors_in,
            cwd=folder,
            env=environment,
            pass_fds=(commands_out, answers_in),
            start_new_session=True,
        )
    except OSError as exc:
        for fd in (commands, answers, errors):
            os.close(fd)
        raise Unavailable(f"The browser does not start: {exc}") from exc
    finally:
        for fd in (commands_out, answers_in, errors_in):
            os.close(fd)
    return Spawned(process, commands, answers, errors)


def _pipes(amount: int) -> list[tuple[int, int]]:
    """Make pipes, all or none of them."""
    pipes: list[tuple[int, int]] = []
    try:
        for _ in range(amount):
            pipes.append(os.pipe())
    except OSError as exc:
        for fd in (end for pipe in pipes for end in pipe):
            os.close(fd)
        raise Unavailable(f"The browser does not start: {exc}") from exc
    return pipes


def python() -> str:
    """Give a Python interpreter that this user may run; ``shim`` needs nothing but Python.

    ``sys.executable`` is uWSGI's own program inside uWSGI.
    """
    name = f"python{sys.version_info.major}"
    candidates = [sys.executable or "", os.path.join(sys.exec_prefix, "bin", name)]
    for path in candidates:
        if "python" in os.path.basename(path) and os.access(path, os.X_OK):
            return path
    return shutil.which(name) or candidates[-1]
