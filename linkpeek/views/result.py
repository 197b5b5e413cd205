"""What the page at ``/`` says about one snapshot: its words, notes and snippet.

Titles and addresses come from pages that may be hostile: what could turn the
text around or break out of its line is taken out, and lengths are bounded.
Escaping is the template's work, except in the ``<img>`` snippet made here.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from markupsafe import Markup

from linkpeek.geometry import MAX_PAGE_HEIGHT, Size, Viewport
from linkpeek.views.advice import advice_for
from linkpeek.views.form import Problem

_LONGEST = 160
#: Controls, line breaks, and what changes the direction of text (Unicode UAX #9).
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+"
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One step on the way to a picture."""

    state: str
    label: str


STAGES = (
    Stage("queued", "Waiting in the queue"),
    Stage("capturing", "Opening the page"),
    Stage("ready", "The picture is ready"),
)


@dataclass(frozen=True, slots=True)
class Result:
    """A snapshot as the page shows it; ``dict`` of it is what scripts get."""

    state: str
    uri: str
    viewport: str
    size: str
    title: str
    address: str
    href: str
    path: str
    image_path: str
    image_url: str
    width: int
    height: int
    elapsed: int
    age: int
    captured_at: datetime | None
    notes: tuple[str, ...]
    keeping: str
    error: Problem | None

    @property
    def pending(self) -> bool:
        """Whether the picture is still to come."""
        return self.state in ("queued", "capturing")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The steps of a capture."""
        return STAGES

    @property
    def page_title(self) -> str:
        """The title of our own page."""
        return {"ready": self.title, "failed": "No picture"}.get(self.state, "Taking the picture")

    @property
    def tall(self) -> bool:
        """Whether the picture is shown in a window of its own that scrolls."""
        return self.height > 1.5 * self.width

    @property
    def alt(self) -> str:
        """What stands for the picture where it cannot be seen."""
        return f"Screenshot of {self.title}"

    @property
    def tag(self) -> str:
        """The ``<img>`` snippet; it is text, to be escaped once more where it is shown."""
        tag = Markup('<img src="{}" width="{}" height="{}" alt="{}" loading="lazy">')
        return str(tag.format(self.image_url, self.width, self.height, self.alt))

    @property
    def age_text(self) -> str:
        """The picture's age in words."""
        return age_in_words(self.age)

    @property
    def captured_iso(self) -> str:
        """When the picture was taken, for machines."""
        return self.captured_at.astimezone(UTC).isoformat(timespec="seconds") if self.captured_at else ""

    @property
    def captured_text(self) -> str:
        """When the picture was taken, for people."""
        return f"{self.captured_at.astimezone(UTC):%d %B %Y, %H:%M:%S} UTC" if self.captured_at else ""

    def as_json(self) -> dict[str, Any]:
        """Give what a script that follows a capture has to know."""
        told: dict[str, Any] = {
            "state": self.state,
            "uri": self.uri,
            "path": self.path,
            "elapsed": self.elapsed,
        }
        if self.state == "ready":
            told |= {
                "image_url": self.image_url,
                "width": self.width,
                "height": self.height,
                "title": self.title,
                "captured_at": self.captured_iso,
                "notes": list(self.notes),
            }
        if self.error:
            told |= {"error": self.error.code, "message": self.error.message, "advice": self.error.advice}
        return told


def plain(text: str, longest: int = _LONGEST) -> str:
    """Give a stranger's text on one line, without what turns text around, and not too long."""
    text = " ".join(_UNSEEN.sub(" ", text).split())
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def age_in_words(seconds: int) -> str:
    """Say how long ago something was."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def link_to(uri: str) -> str:
    """Give an address that may be linked to; empty for anything that is not a web page's."""
    return uri if uri.startswith(("http://", "https://")) else ""


def notes_on(
    status: int | None, *, truncated: bool, blank: bool, uri: str, final_uri: str
) -> tuple[str, ...]:
    """Say what a person should know about a picture before using it."""
    notes = []
    if final_uri != uri:
        notes.append(f"{plain(uri, 80)} led here.")
    if status is not None and status >= 400:
        notes.append(f"The page answered with an error, {status}{_phrase(status)}; this is how it looks.")
    if truncated:
        notes.append(f"The page goes on: a picture ends at {MAX_PAGE_HEIGHT:,} pixels of height.")
    if blank:
        notes.append(
            "The page stayed blank, even the second time. It may need a visitor to log in or to click."
        )
    return tuple(notes)


def _phrase(status: int) -> str:
    try:
        return f" ({HTTPStatus(status).phrase})"
    except ValueError:
        return ""


def problem_of(code: str, message: str, field: str = "") -> Problem:
    """Give the plain words for an error; ours where we have them, else the error's own."""
    advice = advice_for(code)
    return Problem(code, message or advice.meaning, advice.remedy, field)


def pixels(size: Size, viewport: Viewport, width: int | None, height: int | None) -> tuple[int, int]:
    """Give the shown picture's width and height, from the master's where the size is ``original``."""
    if size.is_original and width and height:
        return width, height
    return size.pixels(viewport)


def keeping(retention_days: int) -> str:
    """Say for how long a picture's URL works."""
    if retention_days == 0:
        return "The picture stays at this URL."
    days = f"{retention_days} days" if retention_days > 1 else "a day"
    return f"The picture stays at this URL for up to {days}."
