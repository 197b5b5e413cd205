"""Taking the picture: nothing moves, the right part of the page, a second try where the first hangs."""

import asyncio
import base64
import re
from dataclasses import dataclass
from typing import Any

from linkpeek.capture import scripts
from linkpeek.capture.cdp import CommandTimeout
from linkpeek.capture.failures import failure
from linkpeek.capture.page import Page
from linkpeek.capture.picture import is_blank, may_be_blank
from linkpeek.geometry import MAX_PAGE_HEIGHT, Extent, Viewport

#: Characters of a title.
MAX_TITLE = 300

#: Share of the time that is left which the first try may take.
FIRST_TRY = 0.6

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\s]+")


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture (PNG), and what the page was when it was taken; see ``model.Capture``.

    :ivar lacks: see ``Watch``.
    """

    image: bytes
    truncated: bool
    title: str
    uri: str
    status: int | None
    lacks: bool

    async def is_blank(self) -> bool:
        """Look at the picture beside the loop, and only where its size leaves the question open."""
        return may_be_blank(self.image) and await asyncio.to_thread(is_blank, self.image)


async def expose(page: Page, viewport: Viewport, extent: Extent) -> Shot:
    """Take a page's picture.

    :raises CaptureError: ``page-timeout`` where it does not let itself be drawn, ``page-crashed``.
    """
    world = await page.world(page.deadline.patience())
    if world is not None:
        await page.evaluate(scripts.FREEZE, page.deadline.patience(), world)
    area, truncated = await _area(page, viewport) if extent is Extent.FULL else ({}, False)
    image = await _image(page, {"optimizeForSpeed": extent is Extent.VIEWPORT, **area})
    return Shot(image, truncated, await _title(page), page.watch.uri, page.watch.status, page.watch.lacks)


async def _title(page: Page) -> str:
    """Ask the browser, which knows the title even of a page that does not answer any more."""
    history = await page.ask("Page.getNavigationHistory", page.deadline.patience())
    return clean(history["entries"][history["currentIndex"]]["title"]) if history else ""


async def _area(page: Page, viewport: Viewport) -> tuple[dict[str, Any], bool]:
    """Give the whole page as parameters, and whether that leaves out its end.

    The window stays as it is, so that what is as high as the window stays so too.
    """
    metrics = await page.ask("Page.getLayoutMetrics", page.deadline.patience())
    content = round(metrics["cssContentSize"]["height"]) if metrics else 0
    height = min(max(content, viewport.height), MAX_PAGE_HEIGHT)
    clip = {"x": 0, "y": 0, "width": viewport.width, "height": height, "scale": 1}
    return {"captureBeyondViewport": True, "clip": clip}, content > MAX_PAGE_HEIGHT


async def _image(page: Page, wanted: dict[str, Any]) -> bytes:
    """Take the picture; where the page does not let itself be drawn, stop it and try once more."""
    try:
        return await _screenshot(page, page.deadline.left() * FIRST_TRY, wanted)
    except CommandTimeout:
        await page.hold()
    try:
        return await _screenshot(page, page.deadline.left(), {"optimizeForSpeed": True})
    except CommandTimeout:
        raise failure("page-timeout") from None


async def _screenshot(page: Page, limit: float, wanted: dict[str, Any]) -> bytes:
    result = await page.command("Page.captureScreenshot", limit, format="png", **wanted)
    return base64.b64decode(result["data"])


def clean(title: str) -> str:
    """Give a title as one bounded line: no control or direction characters, nothing UTF-8 cannot say."""
    text = _CONTROL.sub(" ", title.encode("utf-8", "replace").decode()).strip()
    return text if len(text) <= MAX_TITLE else text[: MAX_TITLE - 1].rstrip() + "…"
