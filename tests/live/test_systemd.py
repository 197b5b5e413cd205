"""The units of deploy/systemd: what systemd makes of them, and the service under their restrictions.

systemd itself is not started. The exec line runs with what the unit says of
namespaces, system calls, capabilities and writable paths (``confine``), as its user.
"""

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.live import confine
from tests.live.processes import family, named, said_of, wait_until
from tests.live.stack import Stack, made_stack, rotate
from tests.live.tree import JOB, Tree
from tests.live.units import FOLDER, ROOT_IN_UNIT, Unit, analyze, exposure

NAMES = sorted(path.name for path in FOLDER.iterdir())
SERVICES = [name for name in NAMES if name.endswith(".service")]
#: What both that run a browser must say alike.
BROWSERS = ("weblinkpeek.service", "linkpeek-worker.service")
#: The worst that is allowed.
EXPOSURE = 2.0
#: How /proc calls the number of filters of system calls.
FILTERS = "Seccomp_filters"
PNG = b"\x89PNG\r\n\x1a\n"
#: Not for the unit to say: there is no root folder that would hold a browser, and which
#: addresses may be reached is a matter of settings.
NOT_SET = {"RootDirectory", "IPAddressDeny", "DeviceAllow"}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units with a root folder that is there, and empty programs in it."""
    folder = tmp_path_factory.mktemp("units")
    programs = folder / "root/web/env/bin"
    programs.mkdir(parents=True)
    for name in ("uwsgi", "linkpeek"):
        (programs / name).touch(mode=0o755)
    for name in NAMES:
        (folder / name).write_text(Unit(name).text.replace(ROOT_IN_UNIT, str(folder / "root")))
    return folder


class TestUnits:
    def test_systemd_has_nothing_to_say(self, rendered: Path) -> None:
        assert analyze("verify", "--man=no", *(str(rendered / name) for name in NAMES)) == ""

    def test_it_says_something_of_a_wrong_one(self, rendered: Path, tmp_path: Path) -> None:
        wrong = tmp_path / "wrong.service"
        wrong.write_text(
            (rendered / "weblinkpeek.service").read_text().replace("Restart=always", "Restrat=yes")
        )
        assert "Restrat" in analyze("verify", "--man=no", str(wrong))

    @pytest.mark.parametrize("name", SERVICES)
    def test_little_is_exposed(self, rendered: Path, name: str) -> None:
        score, _ = exposure(rendered / name)
        print(f"{name}: {score}")
        assert score <= EXPOSURE

    def test_the_command_is_the_job_s(self) -> None:
        (line,) = [line for line in JOB.read_text().splitlines() if line.startswith("exec ")]
        assert Unit("weblinkpeek.service").one("ExecStart") == line.removeprefix("exec ")

    @pytest.mark.parametrize("name", BROWSERS)
    def test_what_is_left_open_is_said_and_why(self, rendered: Path, name: str) -> None:
        unit = Unit(name)
        opened = unit.left_open()
        assert opened
        assert [one for one in opened if not one.comment] == []
        faults = exposure(rendered / name)[1] & {one.name for one in unit.directives}
        assert faults <= {one.name for one in opened}

    @pytest.mark.parametrize("name", BROWSERS)
    def test_nothing_else_is_left_open(self, rendered: Path, name: str) -> None:
        _, faults = exposure(rendered / name)
        assert faults - NOT_SET <= {one.name for one in Unit(name).directives}

    def test_a_further_worker_is_restricted_alike(self) -> None:
        web, worker = map(Unit, BROWSERS)
        differ = {"ReadWritePaths", "ReadOnlyPaths"}
        start = "ProtectSystem"

        def restrictions(unit: Unit) -> list[tuple[str, str]]:
            lines = [(one.name, one.value) for one in unit.directives if one.name not in differ]
            return lines[[name for name, _ in lines].index(start) :]

        assert restrictions(web) == restrictions(worker)

    def test_one_fat_page_does_not_stop_the_service(self) -> None:
        for name in BROWSERS:
            assert Unit(name).one("OOMPolicy") == "continue"
            assert Unit(name).one("MemoryMax").endswith("%")


def confined(tree: Tree, command: list[str], **changed: object) -> list[str]:
    """Give what runs a command of a tree as weblinkpeek.service does."""
    wanted = Unit("weblinkpeek.service").confinement(tree.root) | changed
    program = Path(confine.__file__).read_text()
    return [str(tree.web / "env/bin/python"), "-c", program, json.dumps(wanted), *command]


@pytest.fixture(scope="module")
def built() -> Iterator[Stack]:
    with made_stack(within=confined) as stack:
        yield stack


@pytest.fixture
def stack(built: Stack) -> Stack:
    """The stack under the unit's restrictions, up and ready."""
    built.up()
    return built


def status(process: psutil.Process) -> dict[str, str]:
    """Give what /proc/PID/status says; nothing when it has ended."""
    lines = said_of(process, "status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


class TestService:
    def test_it_takes_pictures_that_nginx_can_read(self, stack: Stack) -> None:
        answer = stack.peek("/static?confined")
        assert (answer.status, answer.header("X-LinkPeek-State")) == (302, "ready")
        assert stack.picture(answer).body.startswith(PNG)

    def test_every_process_is_restricted(self, stack: Stack) -> None:
        for one in family(stack.supervisor.master):
            if said := status(one):  # a page's own may end just now
                assert (said["NoNewPrivs"], said["Seccomp"]) == ("1", "2"), one

    def test_renderers_have_the_sandbox_of_chromium(self, stack: Stack) -> None:
        browser = status(stack.browsers()[0])

        def shut_in() -> dict[str, str] | None:
            """One that has only just begun is not yet."""
            renderers = filter(None, map(status, named(stack.browsers(), "--type=renderer")))
            return next((one for one in renderers if one[FILTERS] != browser[FILTERS]), None)

        renderer = wait_until(shut_in, 20, "a renderer is there, and filters its system calls")
        # A user namespace of its own, where alone there are capabilities to be had.
        assert (int(browser["CapBnd"], 16), int(renderer["CapEff"], 16)) == (0, 0)
        assert int(renderer["CapBnd"], 16) > 0
        # A process namespace of its own, and a filter of system calls more.
        assert len(renderer["NSpid"].split()) > len(browser["NSpid"].split())
        assert int(renderer[FILTERS]) > int(browser[FILTERS])

    def test_the_browser_is_scheduled_as_it_asks(self, stack: Stack) -> None:
        assert os.sched_getscheduler(stack.browsers()[0].pid) == os.SCHED_BATCH

    def test_the_log_can_be_rotated(self, stack: Stack, tmp_path: Path) -> None:
        rotate(stack, tmp_path)

        def asked_and_logged() -> bool:
            stack.client.get("/after-rotation")
            return "/after-rotation" in stack.tree.log.read_text()

        wait_until(asked_and_logged, 20, "the new file is written to")


#: Says, as JSON, with which error each attempt ends; 0 for none.
ATTEMPTS = """
import ctypes, json, os, socket, sys
root, libc = sys.argv[1], ctypes.CDLL(None, use_errno=True)

def ends(attempt, *arguments):
    try:
        failed = attempt(*arguments) == -1
    except OSError as exc:
        return exc.errno
    return ctypes.get_errno() if failed else 0

new = os.O_CREAT | os.O_WRONLY
print(json.dumps({
    "write data": ends(os.open, root + "/web/linkpeek/var/new", new),
    "write code": ends(os.open, root + "/web/linkpeek/new", new),
    "write the environment": ends(os.open, root + "/web/env/new", new),
    "write elsewhere": ends(os.open, "/var/new", new),
    "local socket": ends(socket.socket, socket.AF_UNIX),
    "netlink socket": ends(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW),
    "packet socket": ends(socket.socket, socket.AF_PACKET, socket.SOCK_RAW),
    "another root folder": ends(os.chroot, "/"),
    "another owner": ends(os.chown, "/proc/self/comm", os.getuid(), -1),
    "a higher priority": ends(os.setpriority, os.PRIO_PROCESS, 0, 1),
    "look into others": ends(libc.ptrace, 0, 0, 0, 0),
    "mount": ends(libc.mount, b"none", b"/tmp", b"tmpfs", 0, None),
    "mount namespace": ends(libc.unshare, 0x00020000),
    "user namespace": ends(libc.unshare, 0x10000000),
}))
"""


class TestRestrictions:
    """They are there, and none that is left open can be closed."""

    def test_what_can_and_cannot_be_done(self, stack: Stack) -> None:
        python = str(stack.tree.web / "env/bin/python")
        said = run(stack, [python, "-c", ATTEMPTS, str(stack.tree.root)], check=True).stdout
        ends = {name: errno.errorcode.get(number, "") for name, number in json.loads(said).items()}
        assert ends == {
            "write data": "",
            "write code": "EROFS",
            "write the environment": "EROFS",
            "write elsewhere": "EROFS",
            "local socket": "",
            "netlink socket": "EAFNOSUPPORT",
            "packet socket": "EAFNOSUPPORT",
            "another root folder": "EPERM",
            "another owner": "EPERM",
            "a higher priority": "EPERM",
            "look into others": "EPERM",
            "mount": "EPERM",
            "mount namespace": "EPERM",
            "user namespace": "",
        }

    def test_a_capture_under_them(self, stack: Stack) -> None:
        assert capture(stack) == ""

    @pytest.mark.parametrize("closed", ["user", "pid", "net"])
    def test_the_sandbox_needs_each_namespace(self, stack: Stack, closed: str) -> None:
        left = [
            name for name in Unit("weblinkpeek.service").one("RestrictNamespaces").split() if name != closed
        ]
        assert "The browser does not start" in capture(stack, namespaces=left)

    @pytest.mark.parametrize("closed", ["chroot", "capset"])
    def test_the_sandbox_needs_each_call(self, stack: Stack, closed: str) -> None:
        left = [name for name in Unit("weblinkpeek.service").system_calls() if name != closed]
        assert "The browser does not start" in capture(stack, system_calls=left)


def capture(stack: Stack, **changed: object) -> str:
    """Capture a page by the command, under the unit's restrictions but for some; give its complaints."""
    picture = stack.data / "picture.png"
    command = [str(stack.tree.web / "env/bin/linkpeek"), "capture", str(stack.tree.ini)]
    done = run(stack, [*command, stack.site.url("/static"), "-o", str(picture)], **changed)
    assert picture.exists() == (done.returncode == 0)
    picture.unlink(missing_ok=True)
    return "" if done.returncode == 0 else done.stderr


def run(
    stack: Stack, command: list[str], *, check: bool = False, **changed: object
) -> "subprocess.CompletedProcess[str]":
    """Run a command under the unit's restrictions but for some, until it ends."""
    return stack.tree.run(confined(stack.tree, command, **changed), check=check)
