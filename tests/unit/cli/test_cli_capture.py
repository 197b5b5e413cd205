"""``linkpeek capture``, with a function for a browser."""

import importlib
import io
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from linkpeek.capture.model import Capture, CaptureRequest
from linkpeek.cli import main
from linkpeek.errors import CaptureTimeout
from linkpeek.geometry import Extent, Viewport
from tests.factories import make_capture

#: Its name in the package is that of the command in it.
module = importlib.import_module("linkpeek.cli.capture")


class PaperEngine:
    """Stands for the browser; remembers what it was asked."""

    asked: list[CaptureRequest]
    running: int
    more: dict[str, Any]
    error: Exception | None

    def __init__(self, settings: object) -> None:
        pass

    def start(self) -> None:
        type(self).running += 1

    def stop(self) -> None:
        type(self).running -= 1

    def capture(self, request: CaptureRequest) -> Capture:
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        return make_capture(request, **self.more)


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> type[PaperEngine]:
    for name, value in {"asked": [], "running": 0, "more": {}, "error": None}.items():
        monkeypatch.setattr(PaperEngine, name, value, raising=False)
    monkeypatch.setattr(module, "Engine", PaperEngine)
    return PaperEngine


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    ini = tmp_path / "production.ini"
    ini.write_text("[app:main]\nuse = egg:linkpeek\nlinkpeek.capture_timeout = 7\n")
    return ini


def run(ini: Path, uri: str, output: Path, *options: str) -> Result:
    words = ["capture", str(ini), uri, "-o", str(output), *options]
    return CliRunner().invoke(main, words, catch_exceptions=False)


@pytest.mark.parametrize(
    ("options", "viewport", "extent", "pixels"),
    [
        ([], Viewport(1024, 768), Extent.FULL, (1024, 2304)),
        (["--size", "336"], Viewport(1024, 768), Extent.VIEWPORT, (336, 252)),
        (["--size", "200x100"], Viewport(1024, 768), Extent.VIEWPORT, (200, 100)),
        (["--viewport", "640", "--size", "original"], Viewport(640, 480), Extent.FULL, (640, 1440)),
        (["--viewport", "800x600", "--size", "400"], Viewport(800, 600), Extent.VIEWPORT, (400, 300)),
    ],
)
def test_what_is_asked_of_the_browser(
    ini: Path,
    tmp_path: Path,
    engine: type[PaperEngine],
    options: list[str],
    viewport: Viewport,
    extent: Extent,
    pixels: tuple[int, int],
) -> None:
    result = run(ini, "example.com", tmp_path / "x.png", *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert engine.asked == [CaptureRequest("http://example.com/", viewport, extent, 7)]
    with Image.open(tmp_path / "x.png") as picture:
        assert (picture.format, picture.size) == ("PNG", pixels)


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("A.PNG", "PNG"), ("a.webp", "WEBP")])
def test_the_name_says_the_format(ini: Path, tmp_path: Path, name: str, kind: str) -> None:
    run(ini, "http://example.com", tmp_path / name)
    assert Image.open(io.BytesIO((tmp_path / name).read_bytes())).format == kind


def test_what_it_says(ini: Path, tmp_path: Path, engine: type[PaperEngine]) -> None:
    output = tmp_path / "x.png"
    assert run(ini, "http://example.com", output, "--size", "336").stdout == (
        f"{output}: http://example.com/ (HTTP status 200, 1024x768)\n"
    )
    engine.more = {"truncated": True, "blank": True, "status": None, "final_uri": "http://other.example/"}
    assert run(ini, "http://example.com", output, "--size", "336").stdout == (
        f"{output}: http://other.example/ (HTTP status none, 1024x768, cut off, blank)\n"
    )


def test_a_page_that_fails_leaves_no_file_and_no_browser(
    ini: Path, tmp_path: Path, engine: type[PaperEngine]
) -> None:
    engine.error = CaptureTimeout("The page took too long.")
    result = run(ini, "http://example.com", tmp_path / "x.png")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: The page took too long. [page-timeout]\n"
    assert not (tmp_path / "x.png").exists()
    assert engine.running == 0


def test_an_older_picture_outlives_a_failure(ini: Path, tmp_path: Path, engine: type[PaperEngine]) -> None:
    output = tmp_path / "x.png"
    run(ini, "http://example.com", output)
    before = output.read_bytes()
    engine.error = CaptureTimeout("The page took too long.")
    run(ini, "http://example.com", output)
    assert output.read_bytes() == before


def test_a_terminal_sees_that_something_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with module._progress("capturing"):
        pass
    assert capsys.readouterr().err.endswith("\r\x1b[K")
