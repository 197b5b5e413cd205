"""Whether the web application can be made from an ini file: tried before anything relies on it.

uWSGI's workers load the application each for itself, so that they can be
replaced one by one, by new code, while the others serve. An application that
cannot be made would have them fail for ever. So uWSGI's master imports this
module first (``shared-import``), in a program of its own it is made for a
trial, and where that fails nothing is started:

    python -m linkpeek.preflight CONFIG.ini      exit code 0: it can be made
"""

import logging
import os
import subprocess
import sys
import time

log = logging.getLogger(__name__)

#: Seconds before a failed start ends: Upstart starts again at once, and gives up
#: for good after ten ends within five seconds (init(5), "respawn limit").
PACE = 5


def problem(path: str) -> str | None:
    """Make the application and forget it; give what is wrong, or None when nothing is."""
    from configparser import InterpolationError

    from linkpeek.errors import LinkPeekError
    from linkpeek.settings import ini_problem

    try:
        _make(path)
    except LinkPeekError as exc:
        return exc.message
    except InterpolationError as exc:
        return f"{path} cannot be read: {ini_problem(exc)}"
    except Exception as exc:
        log.exception("the application cannot be made")
        return f"{type(exc).__name__}: {exc}"
    return None


def require_startable(path: str) -> None:
    """Try it in another process: this one must not import what its children shall import anew.

    :raises SystemExit: with uWSGI's own exit code for this, after ``PACE`` seconds.
    """
    python = f"{sys.exec_prefix}/bin/python{sys.version_info.major}"
    # What uWSGI found the packages by, such as --virtualenv.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [python, "-m", "linkpeek.preflight", path]
    if subprocess.run(command, env=environment, check=False).returncode:  # noqa: S603 - our own program
        time.sleep(PACE)
        sys.exit(22)


def pace_failing_worker() -> None:
    """Let some time pass where a uWSGI worker could not load the application: it is tried again at once."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and uwsgi.worker_id() > 0:
        time.sleep(PACE)


def _make(path: str) -> None:
    from paste.deploy import loadapp

    loadapp(f"config:{os.path.abspath(path)}")


def main(arguments: list[str]) -> int:
    """Run as a program; give its exit code."""
    if len(arguments) != 1:
        print("usage: python -m linkpeek.preflight CONFIG.ini", file=sys.stderr)
        return 2
    wrong = problem(arguments[0])
    if wrong is not None:
        print(f"LinkPeek cannot start: {wrong}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
