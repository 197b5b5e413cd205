"""The programs in /docs, taken from the page and run as they stand, but for key, secret and address."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from PIL import Image

from tests.live.running import Service, running_service
from tests.live.site import Site

PROGRAMS = {
    "curl": ("picture.sh", ["bash"]),
    # -I: with nothing but what Python itself brings along.
    "python": ("picture.py", [sys.executable, "-I"]),
    "php": ("picture.php", ["php"]),
    "javascript": ("picture.js", ["node"]),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service")) as service:
        yield service


def program(service: Service, name: str) -> str:
    """Give a program as a reader of /docs would copy it."""
    with urllib.request.urlopen(f"{service.address}/docs", timeout=10) as answer:
        return BeautifulSoup(answer.read(), "html.parser").find(id=name).text


def run(name: str, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file, command = PROGRAMS[name]
    (folder / file).write_text(text, "utf-8")
    return subprocess.run([*command, file], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("path", ["/static", "/headers?a=b&c=d e+f%20ü"])
def test_the_program_brings_a_picture(
    service: Service, site: Site, tmp_path: Path, name: str, path: str
) -> None:
    text = program(service, name)
    for placeholder, value in (
        ("YOUR_APIKEY", service.apikey),
        ("YOUR_SECRET", service.secret),
        ("https://example.com/", site.url(path)),
    ):
        assert placeholder in text
        text = text.replace(placeholder, value)
    before = site.hits[path.partition("?")[0]]
    done = run(name, text, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Saved picture.png\n", "")
    with Image.open(BytesIO((tmp_path / "picture.png").read_bytes())) as picture:
        assert (picture.format, picture.size) == ("PNG", (640, 480))
    assert before or site.hits[path.partition("?")[0]] > before


@pytest.mark.parametrize("name", PROGRAMS)
def test_with_a_wrong_secret_it_fails_and_saves_nothing(service: Service, tmp_path: Path, name: str) -> None:
    done = run(name, program(service, name).replace("YOUR_APIKEY", service.apikey), tmp_path)
    assert done.returncode != 0
    assert not (tmp_path / "picture.png").exists()


def test_the_stronger_token_is_computed_as_shown(service: Service) -> None:
    command, expected = program(service, "strong-token").strip().splitlines()
    done = subprocess.run(
        ["bash", "-c", command.removeprefix("$ ")], capture_output=True, text=True, timeout=20
    )
    assert done.stdout.split()[-1] == expected.strip()
