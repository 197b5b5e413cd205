"""What is released: the source archive is the checkout, and the wheel alone is a whole service."""

import configparser
import hashlib
import os
import subprocess
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_string
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pytest

from tests.live.network import own_network
from tests.live.processes import family, kill, wait_until
from tests.live.site import Site
from tests.live.wheel import Built, build, install

SERVICE = "http://127.0.0.1:5200"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def bin(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with nothing but the wheel."""
    return install(built.wheel, tmp_path_factory.mktemp("installed") / "env")


class TestArchive:
    def test_it_is_the_checkout(self, built: Built) -> None:
        missing = built.source_files() - built.archive_files()
        assert missing <= {".gitignore"}

    def test_it_adds_only_what_tells_of_it(self, built: Built) -> None:
        more = built.archive_files() - built.source_files()
        assert {name for name in more if not name.startswith("linkpeek.egg-info/")} == {
            "PKG-INFO",
            "setup.cfg",
        }

    def test_the_tools_can_still_be_run(self, built: Built, tmp_path: Path) -> None:
        subprocess.run(["tar", "-xzf", built.archive, "-C", tmp_path], check=True)
        (root,) = tmp_path.iterdir()
        for program in (".ci/run", "tools/debian-packages"):
            assert os.access(root / program, os.X_OK)


class TestWheel:
    def test_it_carries_the_whole_package(self, built: Built) -> None:
        package = built.source_files("linkpeek")
        for kind in ("templates/", "static/", "migrations/versions/"):
            assert [name for name in package if name.startswith(f"linkpeek/{kind}")]
        assert {name for name in built.wheel_files() if name.startswith("linkpeek/")} == package

    def test_it_shares_ini_files_and_deploy(self, built: Built) -> None:
        (data,) = {name.partition("/")[0] for name in built.wheel_files() if ".data/" in name}
        shared = {name.removeprefix(f"{data}/data/share/linkpeek/") for name in built.wheel_files()}
        assert shared >= {"production.ini", "development.ini", "deploy/upstart/weblinkpeek.conf"}
        assert shared >= built.source_files("deploy")

    def test_it_brings_nothing_else_into_an_environment(self, built: Built) -> None:
        tops = {name.partition("/")[0] for name in built.wheel_files()}
        version = built.wheel.name.split("-")[1]
        assert tops == {"linkpeek", f"linkpeek-{version}.dist-info", f"linkpeek-{version}.data"}

    def test_what_it_tells_of_itself(self, built: Built) -> None:
        version = built.wheel.name.split("-")[1]
        with zipfile.ZipFile(built.wheel) as wheel:
            about = message_from_string(wheel.read(f"linkpeek-{version}.dist-info/METADATA").decode())
            points = configparser.ConfigParser()
            points.read_string(wheel.read(f"linkpeek-{version}.dist-info/entry_points.txt").decode())
        assert (about["Name"], about["Version"]) == ("linkpeek", version)
        assert about["License-File"] == "LICENSE"
        assert f"\n## {version}" in (built.source / "CHANGES.md").read_text()
        assert dict(points["paste.app_factory"]) == {"main": "linkpeek:main"}
        assert dict(points["console_scripts"]) == {"linkpeek": "linkpeek.cli:main"}


class TestInstalled:
    """README.md's "First production start", in an environment that was empty."""

    def test_from_nothing_to_a_picture(self, bin: Path, tmp_path: Path) -> None:
        ini = tmp_path / "production.ini"
        with own_network(), Site() as site:
            ini.write_text(for_this_machine((bin.parent / "share/linkpeek/production.ini").read_text()))
            said = run(bin, tmp_path, "init", "production.ini")
            assert f"{tmp_path}/var/linkpeek.sqlite (up to date)" in said
            said = run(bin, tmp_path, "key", "add", "production.ini", "--name", "me")
            apikey, secret = (line.partition(": ")[2] for line in said.splitlines())
            with served(bin, tmp_path):
                uri = site.url("/static")
                token = hashlib.md5(f"{secret}{uri}336".encode()).hexdigest()
                query = urlencode({"uri": uri, "apikey": apikey, "token": token, "size": "336"})
                with urllib.request.urlopen(f"{SERVICE}/api/v1?{query}", timeout=40) as answer:
                    assert answer.read().startswith(PNG)
                with urllib.request.urlopen(f"{SERVICE}/docs", timeout=10) as answer:
                    assert b"/static/linkpeek.css?v=" in answer.read()

    def test_it_runs_from_the_environment(self, bin: Path, tmp_path: Path) -> None:
        command = [bin / "python", "-c", "import linkpeek; print(linkpeek.__file__)"]
        where = subprocess.run(command, cwd=tmp_path, env=environment(bin), capture_output=True, text=True)
        assert Path(where.stdout.strip()).is_relative_to(bin.parent)


def for_this_machine(text: str) -> str:
    """Give the ini file for a test: it captures pages of this machine, and runs as whoever tests."""
    head = "use = egg:linkpeek\n"
    assert head in text
    more = "linkpeek.egress_allow = 127.0.0.0/8\nlinkpeek.egress_ports = *\nlinkpeek.allow_root = true\n"
    return text.replace(head, head + more, 1)


def environment(bin: Path) -> dict[str, str]:
    """Give what a shell has in which the environment was activated."""
    return {"PATH": f"{bin}:/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent"}


def run(bin: Path, folder: Path, *arguments: str) -> str:
    command = [bin / "linkpeek", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment(bin), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def served(bin: Path, folder: Path) -> Iterator[None]:
    """Run web and worker by uWSGI until both are ready, and end all of it afterwards."""
    command = [bin / "uwsgi", "--ini-paste", "production.ini"]
    with subprocess.Popen(command, cwd=folder, env=environment(bin)) as uwsgi:
        try:
            wait_until(lambda: uwsgi.poll() is not None or ready(), 60, "the service is ready")
            assert uwsgi.poll() is None
            yield
        finally:
            kill(family(psutil.Process(uwsgi.pid)) if uwsgi.poll() is None else [])


def ready() -> bool:
    try:
        with urllib.request.urlopen(f"{SERVICE}/readyz", timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False
