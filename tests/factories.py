"""What tests make: a service in a folder of its own, captures, and a worker without a browser."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from linkpeek.capture.model import Capture, CaptureRequest
from linkpeek.db import transaction
from linkpeek.errors import LinkPeekError
from linkpeek.geometry import MAX_PAGE_HEIGHT, Extent
from linkpeek.initialise import initialise
from linkpeek.resources import Resources
from linkpeek.services.captures import CaptureService
from linkpeek.services.keys import KeyService
from linkpeek.settings import Settings

APIKEY, SECRET = "old-client", "sesame"


def make_settings(folder: Path, *, database_url: str = "", **overrides: Any) -> Settings:
    """Make settings for a service under a folder; ``wait="1"`` means ``linkpeek.wait = 1``."""
    raw = {"linkpeek.data_dir": str(folder), "sqlalchemy.url": database_url}
    raw |= {f"linkpeek.{name}": str(value) for name, value in overrides.items()}
    return Settings.from_ini(raw, {"here": str(folder)})


def make_service(folder: Path, **overrides: Any) -> Resources:
    """Make an initialised service with one API key."""
    resources = Resources(make_settings(folder, **overrides))
    initialise(resources)
    with transaction(resources.sessions) as session:
        KeyService(session, resources.box).add("an old client", APIKEY, SECRET)
    return resources


def make_png(width: int, height: int, color: str = "teal") -> bytes:
    """Make a PNG of one colour."""
    buffer = BytesIO()
    Image.new("RGB", (width, height), color).save(buffer, "PNG")
    return buffer.getvalue()


def make_capture(request: CaptureRequest, **overrides: Any) -> Capture:
    """Make what a browser might have captured for a request."""
    width, height = request.viewport.width, request.viewport.height
    if request.extent is Extent.FULL:
        height = min(MAX_PAGE_HEIGHT, height * 3)
    values: dict[str, Any] = {
        "image": make_png(width, height),
        "width": width,
        "height": height,
        "final_uri": request.uri,
        "status": 200,
        "title": "A page",
        "truncated": False,
        "blank": False,
        "browser_version": "Double/1",
        "timings": {"navigation": 0.2, "screenshot": 0.1},
    }
    return Capture(**(values | overrides))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def step(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class PaperWorker:
    """A worker that works on the real queue and storage, with a function for a browser."""

    def __init__(self, resources: Resources, capture: Callable[[CaptureRequest], Capture] = make_capture):
        self.requests: list[CaptureRequest] = []
        self._capture = capture
        self._captures = CaptureService(
            resources.sessions, resources.storage, "paper", resources.settings.capture_timeout
        )

    def work(self) -> int:
        """Capture all that is queued and give how many that were."""
        count = 0
        while (claim := self._captures.claim()) is not None:
            self.requests.append(claim.request)
            try:
                self._captures.finish(claim, self._capture(claim.request))
            except LinkPeekError as error:
                self._captures.fail(claim, error)
            count += 1
        return count
