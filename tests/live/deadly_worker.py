"""A capture worker that kills itself, with -9, at one moment of its first capture.

    python -m tests.live.deadly_worker STAGE CONFIG.ini

The kernel ends it as it would any other; what is particular is only that the
moment is exact. ``STAGES`` are the moments.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from linkpeek.capture import pipeline, profile
from linkpeek.capture.pipeline import Pipeline
from linkpeek.capture.process import Chromium
from linkpeek.cli import main
from linkpeek.engine import Engine
from linkpeek.services.captures import CaptureService
from linkpeek.storage.files import FileStorage


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str) -> None:
    """Die instead of calling something."""
    setattr(owner, name, die)


def after(owner: Any, name: str) -> None:
    """Die when something has been done."""
    done: Callable[..., Any] = getattr(owner, name)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        done(*args, **kwargs)
        die()

    setattr(owner, name, deadly)


STAGES: dict[str, Callable[[], None]] = {
    "making a folder": lambda: before(profile, "_lock"),
    "starting the browser": lambda: before(Chromium, "_greet"),
    "claimed": lambda: before(Engine, "capture"),
    "navigating": lambda: before(Pipeline, "_judge_navigation"),
    "taking the picture": lambda: before(pipeline, "expose"),
    "captured": lambda: before(CaptureService, "finish"),
    "half stored": lambda: before(FileStorage, "_move"),
    "stored, not recorded": lambda: after(FileStorage, "put"),
    "recorded": lambda: after(CaptureService, "finish"),
    "failing": lambda: before(CaptureService, "fail"),
    "failed": lambda: after(CaptureService, "fail"),
}


if __name__ == "__main__":
    STAGES[sys.argv[1]]()
    sys.argv[1:] = ["worker", sys.argv[2]]
    main()
