"""``linkpeek capture`` and ``linkpeek doctor`` with the real browser, each as a process of its own."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.live.processes import alive, family, named, wait_until
from tests.live.site import Site

INI = """\
[app:main]
use = egg:linkpeek
linkpeek.egress_allow = 127.0.0.0/8
linkpeek.egress_ports = *
linkpeek.allow_root = true
linkpeek.capture_timeout = {timeout}
"""


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    """An ini file, of a service that nobody initialised."""
    ini = tmp_path / "production.ini"
    ini.write_text(INI.format(timeout=20))
    return ini


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "linkpeek", *map(str, words)]


def run(*words: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=60)


def test_a_page_into_a_file(ini: Path, site: Site, tmp_path: Path) -> None:
    output, uri = tmp_path / "page.webp", site.url("/static")
    done = run("capture", ini, uri.removeprefix("http://"), "-o", output, "--size", "320x200")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{output}: {uri} (HTTP status 200, ")
    with Image.open(io.BytesIO(output.read_bytes())) as picture:
        assert (picture.format, picture.size) == ("WEBP", (320, 200))
        assert len(picture.convert("RGB").getcolors(320 * 200) or ()) > 1
    # No service was needed for it, and none was made.
    assert {path.name for path in tmp_path.iterdir()} == {"production.ini", "page.webp"}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/redirect?to=http://169.254.169.254/", "address-refused"),
        ("/never", "page-timeout"),
        ("/attachment", "download"),
    ],
)
def test_a_page_that_cannot_be_captured(ini: Path, site: Site, tmp_path: Path, path: str, code: str) -> None:
    ini.write_text(INI.format(timeout=4 if code == "page-timeout" else 20))
    done = run("capture", ini, site.url(path), "-o", tmp_path / "page.png")
    assert (done.returncode, done.stdout) == (1, "")
    *notes, line = done.stderr.splitlines()
    assert notes == ["the egress guard also opens 127.0.0.0/8"]
    assert line.startswith("Error: ")
    assert line.endswith(f"[{code}]")
    assert not (tmp_path / "page.png").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_it_is_ended_its_browser_ends(
    ini: Path, site: Site, tmp_path: Path, number: signal.Signals
) -> None:
    hits = site.hits["/never"]
    words = command("capture", ini, site.url("/never"), "-o", tmp_path / "page.png")
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: site.hits["/never"] > hits, 20, "the capture is under way")
        everything = family(psutil.Process(process.pid))
        assert named(everything, "chrom")
        process.send_signal(number)
        wait_until(lambda: not alive(everything), 20, "everything has ended")
    assert process.returncode != 0
    assert not (tmp_path / "page.png").exists()


def test_the_doctor_finds_nothing_wrong(ini: Path) -> None:
    assert run("init", ini).returncode == 0
    done = run("doctor", ini)
    assert done.returncode == 0, done.stdout
    marks = {line.split()[1]: line.split()[0] for line in done.stdout.splitlines() if line[0] != " "}
    assert marks.pop("worker:") == "!!"  # none was started
    assert marks.pop("egress:") == "!!"  # loopback is open
    assert marks.pop("user:") == ("!!" if os.geteuid() == 0 else "ok")
    assert set(marks.values()) == {"ok"}
