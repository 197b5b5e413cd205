"""deploy/ansible: one command makes a server of a bare Debian, again changes nothing, and finds its way back.

The machine is real but for its init (see ``ansible_machine``): packages, virtual environment, user,
database, Nginx and browser are what an operator gets.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import pytest

from tests.live.ansible_machine import (
    INI,
    NEXT_SAYS,
    NEXT_SOURCE,
    ROOT,
    SETTINGS,
    UNITS,
    WEB,
    Machine,
    Play,
    as_user,
    picture,
)
from tests.live.debian_root import bare_debian
from tests.live.https import Answer, Client
from tests.live.network import own_network
from tests.live.processes import wait_until
from tests.live.site import Site
from tests.live.tree import CHECKOUT, JOB, ROOT_IN_JOB

PLAYBOOKS = CHECKOUT / "deploy/ansible"
T = TypeVar("T")

APIKEY, SECRET = "an-old-client", "sesame"
#: What of the playbook concerns the release and its configuration, for most tests need no more.
SERVICE = ("--tags", "service")
NEXT = ("-e", f"linkpeek_source={NEXT_SOURCE}")

#: Seconds; packages are fetched and uWSGI is compiled, which takes a while on a busy machine.
pytestmark = pytest.mark.timeout(1800)


@dataclass(frozen=True)
class Built:
    """The machine after it was built, what the plays on the way said, and what they left alone."""

    machine: Machine
    looked: Play
    looked_left: bool
    built: Play
    again: Play
    looked_again: Play
    left_again: bool
    next_release: str


@dataclass(frozen=True)
class Served:
    """The service as it runs on the machine, seen by a client."""

    machine: Machine
    site: Site
    client: Client

    def ready(self) -> bool:
        return self.client.get("/readyz").status == 200

    def says(self) -> bytes:
        return self.client.get("/").body

    def peek(self, path: str) -> Answer:
        uri = self.site.url(path)
        token = hashlib.md5(f"{SECRET}{uri}336".encode()).hexdigest()
        query = {"uri": uri, "apikey": APIKEY, "token": token, "size": "336"}
        return self.client.get("/api/v1?" + urlencode(query))

    def picture(self, answer: Answer) -> bytes:
        stored = self.client.get(urlsplit(answer.header("Location")).path)
        assert stored.status == 200
        return stored.body


@dataclass(frozen=True)
class _Certificate:
    """What a client needs to know of an Nginx."""

    certificate: Path
    http: int = 80
    https: int = 443


def setting(name: str, value: str) -> list[str]:
    return ["-e", json.dumps({"linkpeek_settings": {**SETTINGS, name: value}})]


def _left(machine: Machine, action: Callable[[], T]) -> tuple[T, bool]:
    before = picture(machine.root)
    result = action()
    return result, picture(machine.root) == before


@pytest.fixture(scope="module")
def built() -> Iterator[Built]:
    with bare_debian() as root:
        machine = Machine(root)
        machine.play("--version")  # brings Ansible along
        looked, looked_left = _left(machine, lambda: machine.play("--check"))
        first = machine.play()
        # Side by side, for two of them change nothing, and the third one only builds a release aside.
        runs: list[tuple[str, ...]] = [(), ("--check",), ("--tags", "release", *NEXT)]
        with ThreadPoolExecutor() as pool:
            (again, looked_again, following), left = _left(
                machine, lambda: list(pool.map(lambda words: machine.play(*words), runs))
            )
        assert following.returncode == 0, following.output
        releases = {path.name for path in root.path(f"{WEB}/releases").iterdir()}
        (next_release,) = releases - {machine.link("env")}
        yield Built(machine, looked, looked_left, first, again, looked_again, left, next_release)


@pytest.fixture(scope="module")
def served(built: Built) -> Iterator[Served]:
    machine = built.machine
    with own_network(), Site() as site, machine.booted():
        play = machine.play(*SERVICE)
        assert play.returncode == 0, play.output
        machine.linkpeek("key", "add", "--name", "old", "--apikey", APIKEY, "--secret", SECRET, INI)
        nginx = _Certificate(machine.root.path("/etc/linkpeek/tls/fullchain.pem"))
        yield Served(machine, site, Client(nginx))
        print(machine.root.path(f"{WEB}/uwsgi.log").read_text()[-10_000:])


def test_the_playbooks_are_understood() -> None:
    command = [
        Path(sys.executable).with_name("ansible-playbook"),
        "--syntax-check",
        "site.yml",
        "rollback.yml",
    ]
    subprocess.run(command, cwd=PLAYBOOKS, check=True, timeout=60)


def test_a_look_at_the_bare_machine_changes_nothing(built: Built) -> None:
    assert built.looked.returncode == 0
    assert built.looked.changed > 0
    assert built.looked_left


def test_it_is_built_at_once_and_says_what_it_could_not_do(built: Built) -> None:
    assert built.built.returncode == 0
    assert "No init runs here, so nothing was started" in built.built.output


def test_once_more_changes_nothing_and_so_does_a_look(built: Built) -> None:
    assert (built.again.returncode, built.again.changed) == (0, 0)
    assert (built.looked_again.returncode, built.looked_again.changed) == (0, 0)
    assert built.left_again


def test_unit_and_job_start_the_same_command(built: Built) -> None:
    unit = built.machine.root.path(f"{UNITS}/weblinkpeek.service").read_text()
    wanted = built.machine.root.path(f"{UNITS}/multi-user.target.wants/weblinkpeek.service")
    (command,) = [line for line in JOB.read_text().splitlines() if line.startswith("exec ")]
    assert command.removeprefix("exec ").replace(ROOT_IN_JOB, ROOT) in unit
    assert ROOT_IN_JOB not in unit
    assert str(wanted.readlink()) == f"/{UNITS}/weblinkpeek.service"


def test_a_machine_with_upstart_gets_the_job(built: Built) -> None:
    jobs = built.machine.root.path("/etc/init")
    jobs.mkdir()
    play = built.machine.play("--tags", "init", "-e", "linkpeek_init=upstart")
    assert play.returncode == 0
    assert (jobs / "weblinkpeek.conf").read_text() == JOB.read_text().replace(ROOT_IN_JOB, ROOT)
    assert "linkpeek backup" in built.machine.root.path("/etc/cron.daily/linkpeek-backup").read_text()


def test_the_service_may_write_to_data_log_and_backups_only(built: Built) -> None:
    data, log, backups = f"{WEB}/linkpeek/var", f"{WEB}/uwsgi.log", "/var/backups/linkpeek"
    look = f"find {ROOT} /etc /usr /var -path {data} -print -prune -o -writable -not -type l -print"
    # Folders that it may not even read are no concern.
    found = built.machine.run(*as_user("sh", "-c", f"{look} 2>/dev/null || true"))
    assert set(found.split()) - {"/var/tmp"} == {data, log, backups}


def test_a_signed_request_ends_in_a_picture_over_https(served: Served) -> None:
    assert served.ready()
    answer = served.peek("/static")
    assert answer.status == 302
    assert served.picture(answer).startswith(b"\x89PNG")


def test_the_backup_of_the_unit_can_be_restored(served: Served) -> None:
    unit = served.machine.root.path(f"{UNITS}/linkpeek-backup.service").read_text()
    (command,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    served.machine.run(*as_user(*command.removeprefix("ExecStart=").split()))
    backups = sorted(served.machine.root.path("/var/backups/linkpeek").glob("linkpeek-*.tar"))
    assert backups
    served.machine.linkpeek("restore", "--check", INI, f"/var/backups/linkpeek/{backups[-1].name}")


def test_a_setting_is_taken_over_while_the_service_runs(served: Served) -> None:
    masters = served.machine.masters()
    play = served.machine.play(*SERVICE, *setting("linkpeek.generator", "false"))
    assert play.returncode == 0
    assert "\nlinkpeek.generator = false\n" in served.machine.root.path(INI).read_text()
    assert served.machine.masters() == masters
    wait_until(lambda: b"<form" not in served.says(), 20, "there is nothing to fill in")


def test_a_setting_that_is_wrong_changes_nothing(served: Served) -> None:
    before = served.machine.root.path(INI).read_text()
    play = served.machine.play(*SERVICE, *setting("linkpeek.wait", "soon"))
    assert play.returncode != 0
    assert "linkpeek.wait" in play.output
    assert served.machine.root.path(INI).read_text() == before
    assert served.ready()


def test_a_release_that_does_not_start_is_taken_back(served: Served, built: Built) -> None:
    before = served.machine.link("env")
    broken = served.machine.root.path(f"{WEB}/releases/broken")
    served.machine.run("cp", "-a", f"{WEB}/releases/{before}", f"{WEB}/releases/broken")
    (broken / "bin/uwsgi").write_text("#!/bin/sh\nexit 1\n")
    broken_one = ["-e", "linkpeek_release=broken", "-e", "linkpeek_patience=3"]
    play = served.machine.play(*SERVICE, *broken_one)
    assert play.returncode != 0
    assert f"{before} runs again" in play.output
    assert served.machine.link("env") == before
    assert served.ready()


def test_upgrade_with_a_new_schema_and_the_way_back(served: Served, built: Built) -> None:
    before = served.machine.link("env")
    stored = served.peek("/static").header("Location")
    assert stored
    play = served.machine.play(*SERVICE, *NEXT)
    assert play.returncode == 0, play.output
    assert served.machine.link("env") == built.next_release
    assert served.ready()
    assert NEXT_SAYS.encode() in served.says()
    assert served.peek("/static").header("Location") == stored

    refused = served.machine.play(playbook="rollback.yml")
    assert refused.returncode != 0
    backup = f"/var/backups/linkpeek/before-{built.next_release}.tar"
    assert f"linkpeek_restore={backup}" in refused.output
    assert served.machine.link("env") == built.next_release

    back = served.machine.play("-e", f"linkpeek_restore={backup}", playbook="rollback.yml")
    assert back.returncode == 0, back.output
    assert served.machine.link("env") == before
    assert served.ready()
    assert NEXT_SAYS.encode() not in served.says()
    assert served.peek("/static").header("Location") == stored
