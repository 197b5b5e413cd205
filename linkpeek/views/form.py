"""The form of the page at ``/``: what can be chosen in it, and what was.

The form writes viewport and size as API v1 does, so whatever the API takes works
here too; ``custom`` stands for the numbers in the fields beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from linkpeek.errors import ParameterError
from linkpeek.geometry import NAMED_VIEWPORTS, Size, Viewport, parse_size, parse_viewport

CUSTOM = "custom"
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the choices offered, in the form's words."""

    value: str
    label: str
    hint: str


def _viewport_choice(name: str) -> Choice:
    viewport = NAMED_VIEWPORTS[name]
    return Choice(name, name.capitalize(), f"{viewport.width} {TIMES} {viewport.height}")


VIEWPORTS = (*map(_viewport_choice, NAMED_VIEWPORTS), Choice(CUSTOM, "Custom", "your own"))
SIZES = (
    Choice("336", "Small", "336 wide"),
    Choice("640", "Medium", "640 wide"),
    Choice("1024", "Large", "1024 wide"),
    Choice("original", "Whole page", "full size"),
    Choice(CUSTOM, "Custom", "your own"),
)


@dataclass(frozen=True, slots=True)
class Form:
    """What the fields hold, as text."""

    uri: str = ""
    viewport: str = "desktop"
    viewport_width: str = "1280"
    viewport_height: str = "960"
    size: str = "640"
    size_width: str = "800"
    size_height: str = ""
    fresh: str = ""

    @property
    def viewports(self) -> tuple[Choice, ...]:
        """The windows on offer."""
        return VIEWPORTS

    @property
    def sizes(self) -> tuple[Choice, ...]:
        """The pictures on offer."""
        return SIZES

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> "Form":
        """Read what was sent; a field that was not sent, or left empty, keeps its default.

        The heights may be left empty: the API then gives them their proportion.
        """
        form = cls()
        sent = {name: fields[name].strip() for name in form.__slots__ if name in fields}
        may_be_empty = ("viewport_height", "size_height")
        return replace(form, **{name: text for name, text in sent.items() if text or name in may_be_empty})

    def chosen_viewport(self) -> Viewport:
        """Give the window that was chosen.

        :raises ParameterError: ``bad-viewport``.
        """
        return parse_viewport(_dimensions(self.viewport, self.viewport_width, self.viewport_height))

    def chosen_size(self, viewport: Viewport) -> Size:
        """Give the picture that was chosen, of a page laid out in a window.

        :raises ParameterError: ``bad-size``.
        """
        return parse_size(_dimensions(self.size, self.size_width, self.size_height), viewport)

    def showing(self, viewport: str, size: str) -> "Form":
        """Give the form with a viewport and a size, in API v1's words, picked in its choices."""
        form = self
        names = {str(known): name for name, known in NAMED_VIEWPORTS.items()}
        viewport = names.get(viewport, viewport)
        if viewport in NAMED_VIEWPORTS:
            form = replace(form, viewport=viewport)
        else:
            width, _, height = viewport.partition("x")
            form = replace(form, viewport=CUSTOM, viewport_width=width, viewport_height=height)
        if size in {choice.value for choice in SIZES}:
            return replace(form, size=size)
        width, _, height = size.partition("x")
        return replace(form, size=CUSTOM, size_width=width, size_height=height)


def _dimensions(choice: str, width: str, height: str) -> str:
    if choice != CUSTOM:
        return choice
    return f"{width}x{height}" if height else width


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the form could not be carried out; ``field`` is the name of the field to blame, or empty."""

    code: str
    message: str
    advice: str
    field: str = ""


def field_of(code: str) -> str:
    """Give the field of the form that an error code speaks of, or an empty text."""
    if code.endswith("-refused") and code != "connection-refused":
        return "uri"
    return {"bad-uri": "uri", "uri-too-long": "uri", "bad-viewport": "viewport", "bad-size": "size"}.get(
        code, ""
    )


def single_values(pairs: list[tuple[str, object]]) -> dict[str, str]:
    """Give the fields of a form by name.

    :raises ParameterError: ``repeated-parameter``; ``bad-parameter`` for an uploaded file.
    """
    fields: dict[str, str] = {}
    for name, value in pairs:
        if not isinstance(value, str):
            raise ParameterError("A field of the form was sent as a file.")
        if name in fields:
            raise ParameterError("A field of the form was sent twice.", code="repeated-parameter")
        fields[name] = value
    return fields
