"""Whether the fonts are there that pages all over the world need."""

import shutil
import subprocess

#: What a page may hold -> (a character of it as fontconfig writes it, Debian's package).
NEEDED = {
    "emoji": ("1f600", "fonts-noto-color-emoji"),
    "Chinese": ("4e2d", "fonts-noto-cjk"),
    "Japanese": ("3042", "fonts-noto-cjk"),
    "Korean": ("d55c", "fonts-noto-cjk"),
}

_TIMEOUT = 20.0


def missing_fonts() -> dict[str, str]:
    """Give what cannot be drawn -> the package that would help; empty when all is well.

    Asks fontconfig, as Chromium does. Where fontconfig's ``fc-list`` is not
    installed, nothing can be said and nothing is reported.
    """
    program = shutil.which("fc-list")
    if program is None:
        return {}
    return {what: package for what, (char, package) in NEEDED.items() if not _has_font(program, char)}


def _has_font(program: str, character: str) -> bool:
    """Whether any installed font has a character (its code point in hexadecimal)."""
    done = subprocess.run(  # noqa: S603 - the words are ours
        [program, f":charset={character}", "family"], capture_output=True, timeout=_TIMEOUT, check=False
    )
    return bool(done.stdout.strip())
