"""``linkpeek``, as an operator types it: what it does, what it says, and how it ends."""

import re
import shutil
import stat
import subprocess
import sys
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from linkpeek.cli import main
from linkpeek.cli.config import load_settings
from linkpeek.db import transaction, utcnow
from linkpeek.errors import AccessDenied
from linkpeek.geometry import Extent, Viewport
from linkpeek.resources import Resources
from linkpeek.security import hmac_token, md5_token
from linkpeek.services.captures import CaptureService
from linkpeek.services.keys import Credentials, Meaning
from linkpeek.services.snapshots import SnapshotService, Target

INI = "[app:main]\nuse = egg:linkpeek\n"
MEANT = Meaning("http://example.com", "336", "", "")


def all_commands() -> dict[str, click.Command]:
    """Give every command by what is typed for it: ``key add`` is one."""
    found: dict[str, click.Command] = {}
    for name, command in main.commands.items():
        found[name] = command
        if isinstance(command, click.Group):
            found |= {f"{name} {below}": one for below, one in command.commands.items()}
    return found


COMMANDS = all_commands()
#: What has to be typed besides the ini file, for those that do something.
MORE = {
    "capture": ["http://example.com", "-o", "x.png"],
    "key add": ["--name", "x"],
    "key disable": ["x"],
    "key rotate": ["x"],
    "backup": ["-o", "x.tar"],
}
#: Those that need a service that was initialised.
NEED_SERVICE = ["key add", "key list", "key disable", "key rotate", "sweep"]
TAKE_SETTINGS = [*NEED_SERVICE, "init", "doctor", "worker", "capture", "backup"]


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    """An ini file and nothing else."""
    path = tmp_path / "service/production.ini"
    path.parent.mkdir()
    path.write_text(INI)
    return path


@pytest.fixture(scope="module")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a service that was initialised once, to be copied."""
    ini = tmp_path_factory.mktemp("initialised") / "production.ini"
    ini.write_text(INI)
    assert run("init", ini).exit_code == 0
    return ini.parent


@pytest.fixture
def service(ini: Path, initialised: Path) -> Path:
    """The ini file of a service that was initialised."""
    shutil.copytree(initialised, ini.parent, dirs_exist_ok=True)
    return ini


def run(command: str, *arguments: object, stdin: str | bytes = "") -> Result:
    """Run a command; whatever is not the service's own error fails the test."""
    words = [*command.split(), *map(str, arguments)]
    return CliRunner().invoke(main, words, input=stdin, catch_exceptions=False)


def run_on(command: str, ini: Path) -> Result:
    return run(command, ini, *MORE.get(command, []))


def failed(result: Result) -> str:
    """Give the one line that says why a command could not do its work."""
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_explains_itself(self, command: str) -> None:
        result = run(command, "--help")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.startswith(f"Usage: main {command} ")
        first_words = " ".join((COMMANDS[command].help or "").split()[:4])
        assert first_words in result.stdout
        assert run(command, "-h").stdout == result.stdout

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_option_is_explained(self, command: str) -> None:
        options = [one for one in COMMANDS[command].params if isinstance(one, click.Option)]
        assert [one.name for one in options if not one.help] == []

    def test_all_commands_are_listed(self) -> None:
        listed = re.findall(r"^  ([a-z]+)  ", run("--help").stdout, re.M)
        assert listed == sorted(main.commands)

    def test_version(self) -> None:
        assert version("linkpeek") in run("--version").stdout


class TestUsage:
    @pytest.mark.parametrize(
        "words",
        [
            "nonsense",
            "--nonsense",
            "init",
            "key",
            "key nonsense",
            "key add {ini}",
            "key disable {ini}",
            "key list {ini} more",
            "sweep {ini} --force",
            "capture {ini} http://example.com",
            "capture {ini} -o x.png",
            "backup {ini}",
            "backup {ini} -o x.tar --keep 0",
            "restore {ini}",
            "doctor {ini} {ini}",
            "check {ini}.gone http://example.com",
            "check {ini} --resolve nonsense http://example.com",
        ],
    )
    def test_what_is_not_understood_ends_with_2(self, ini: Path, words: str) -> None:
        result = run(words.format(ini=ini))
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("Usage: ")
        assert list(ini.parent.iterdir()) == [ini]


class TestConfiguration:
    @pytest.mark.parametrize("command", TAKE_SETTINGS)
    def test_every_command_reads_it_strictly(self, ini: Path, command: str) -> None:
        ini.write_text(f"{INI}linkpeek.wiat = 1\n")
        line = failed(run_on(command, ini))
        assert "unknown setting linkpeek.wiat" in line
        assert line.endswith("[bad-configuration]")

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (None, "there is no file"),
            ("", "[app:main]"),
            ("[app:other]\n", "[app:main]"),
            ("nonsense", "cannot be read"),
            (INI + "linkpeek.wait = soon\n", "linkpeek.wait = 'soon'"),
            (INI + "x = %(y)s\n", "cannot be read"),
            (INI + "use = egg:linkpeek\n", "cannot be read"),
        ],
    )
    def test_a_bad_one_is_told_in_one_line(self, tmp_path: Path, text: str | None, told: str) -> None:
        path = tmp_path / "bad.ini"
        if text is not None:
            path.write_text(text)
        line = failed(run("init", path))
        assert told in line
        assert line.endswith("[bad-configuration]")

    @pytest.mark.parametrize("content", [b"\xff\xfe\0[\0", b"[app:main]\nx = \xff\n", b"\0" * 100])
    def test_so_is_one_that_is_no_text(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "bad.ini"
        path.write_bytes(content)
        assert "[bad-configuration]" in failed(run("init", path))

    @pytest.mark.parametrize("command", NEED_SERVICE)
    def test_before_init_it_is_named(self, ini: Path, command: str) -> None:
        assert "linkpeek init" in failed(run_on(command, ini))

    @pytest.mark.parametrize("command", NEED_SERVICE)
    def test_a_damaged_database_is_told_in_one_line(self, service: Path, command: str) -> None:
        for path in service.parent.glob("var/linkpeek.sqlite*"):
            path.unlink()
        (service.parent / "var/linkpeek.sqlite").write_bytes(b"nonsense" * 1000)
        assert "[database-unavailable]" in failed(run_on(command, service))

    def test_a_database_that_does_not_answer_is_told_without_its_password(self, service: Path) -> None:
        service.write_text(f"{INI}sqlalchemy.url = postgresql+psycopg://me:sesame@127.0.0.1:1/x\n")
        line = failed(run("init", service))
        assert "[database-unavailable]" in line
        assert "sesame" not in line

    def test_another_secret_file_is_told_in_one_line(self, service: Path) -> None:
        (service.parent / "var/secret").write_text("nonsense")
        assert "secret" in failed(run("key add", service, "--name", "x"))


class TestInit:
    def test_it_makes_what_a_service_needs(self, ini: Path) -> None:
        result = run("init", ini)
        var = ini.parent / "var"
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.splitlines() == [
            f"secret:   {var}/secret (made)",
            f"database: sqlite:///{var}/linkpeek.sqlite (up to date)",
            f"storage:  file:{var}/snapshots (writable)",
        ]
        assert stat.S_IMODE((var / "secret").stat().st_mode) == 0o600

    def test_again_it_keeps_everything(self, service: Path) -> None:
        run("key add", service, "--name", "me")
        secret, listed = (service.parent / "var/secret").read_bytes(), run("key list", service).stdout
        assert "secret (kept)" in run("init", service).stdout
        assert (service.parent / "var/secret").read_bytes() == secret
        assert run("key list", service).stdout == listed

    def test_what_is_in_the_way_is_named(self, ini: Path) -> None:
        var = ini.parent / "var"
        var.write_text("")
        assert str(var) in failed(run("init", ini))


class TestKey:
    def test_a_new_one_works(self, service: Path) -> None:
        apikey, secret = added(run("key add", service, "--name", "me"))
        assert min(len(apikey), len(secret)) > 20
        assert authenticated(service, apikey, md5_token(secret, "http://example.com", "336"))

    def test_one_that_was_brought_along_works(self, service: Path) -> None:
        result = run("key add", service, "--name", "old", "--apikey", "k", "--secret", "sesame")
        assert added(result) == ("k", "sesame")
        assert authenticated(service, "k", md5_token("sesame", "http://example.com", "336"))

    @pytest.mark.parametrize(
        ("command", "stream"),
        [
            ("key add {} --name n --secret - <&-", "input"),
            ("restore {} - <&-", "input"),
            ("backup {} -o - >&-", "output"),
        ],
    )
    def test_a_stream_that_is_closed(self, service: Path, command: str, stream: str) -> None:
        program = f"{sys.executable} -m linkpeek {command.format(service)}"
        done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (1, f"Error: standard {stream} is closed\n")

    def test_a_secret_from_standard_input(self, service: Path) -> None:
        arguments = ("key add", service, "--name", "old", "--apikey", "k", "--secret", "-")
        assert added(run(*arguments, stdin="öffne dich\r\nmore")) == ("k", "öffne dich")

    def test_without_md5(self, service: Path) -> None:
        apikey, secret = added(run("key add", service, "--name", "new", "--no-md5"))
        strong = hmac_token(secret, "http://example.com", "336", "", "")
        assert authenticated(service, apikey, strong)
        weak = md5_token(secret, "http://example.com", "336")
        assert not authenticated(service, apikey, weak)
        assert "\tHMAC\t" in run("key list", service).stdout
        _, secret = added(run("key rotate", service, apikey, "--md5"))
        assert authenticated(service, apikey, md5_token(secret, "http://example.com", "336"))

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--name", ""],
            ["--name", " "],
            ["--name", "a\nb"],
            ["--name", "a\x1b[31m"],
            ["--name", "x" * 201],
            ["--name", "x", "--apikey", ""],
            ["--name", "x", "--apikey", "a b"],
            ["--name", "x", "--apikey", "ü"],
            ["--name", "x", "--apikey", "x" * 129],
            ["--name", "x", "--secret", ""],
            ["--name", "x", "--secret", "x" * 513],
            ["--name", "x", "--secret", "\udcff"],
        ],
    )
    def test_what_cannot_be_added(self, service: Path, arguments: list[str]) -> None:
        assert failed(run("key add", service, *arguments)).endswith("[bad-key]")
        assert run("key list", service).stdout == ""

    def test_one_that_is_there_already_is_kept(self, service: Path) -> None:
        run("key add", service, "--name", "first", "--apikey", "k", "--secret", "sesame")
        assert failed(run("key add", service, "--name", "second", "--apikey", "k")).endswith("[key-exists]")
        assert "first" in run("key list", service).stdout
        assert authenticated(service, "k", md5_token("sesame", "http://example.com", "336"))

    @pytest.mark.parametrize("stdin", [b"", b"\n", b"\xff\n"])
    def test_no_secret_on_standard_input(self, service: Path, stdin: bytes) -> None:
        arguments = ("key add", service, "--name", "old", "--secret", "-")
        assert failed(run(*arguments, stdin=stdin)).endswith("[bad-key]")

    def test_the_list(self, service: Path) -> None:
        assert run("key list", service).stdout == ""
        secrets = [
            added(run("key add", service, "--name", name, "--apikey", apikey))[1]
            for name, apikey in (("The first", "-ah1"), ("Zweite für Jürgen", "k2"))
        ]
        run("key disable", service, "--", "-ah1")
        run("key rotate", service, "--", "-ah1")
        today = f"{utcnow():%Y-%m-%d}"
        text = run("key list", service).stdout
        assert [line.split("\t") for line in text.splitlines()] == [
            ["-ah1", f"disabled {today}", "MD5, HMAC", today, "The first"],
            ["k2", "enabled", "MD5, HMAC", today, "Zweite für Jürgen"],
        ]
        assert not [secret for secret in secrets if secret in text]

    def test_a_disabled_one_is_refused(self, service: Path) -> None:
        run("key add", service, "--name", "me", "--apikey", "k", "--secret", "sesame")
        token = md5_token("sesame", "http://example.com", "336")
        assert authenticated(service, "k", token)
        assert run("key disable", service, "k").stdout == "k is disabled\n"
        assert not authenticated(service, "k", token)
        assert run("key disable", service, "k").exit_code == 0

    def test_a_rotated_one_has_another_secret(self, service: Path) -> None:
        run("key add", service, "--name", "me", "--apikey", "k", "--secret", "sesame")
        apikey, secret = added(run("key rotate", service, "k"))
        assert (apikey, secret != "sesame") == ("k", True)
        assert not authenticated(service, "k", md5_token("sesame", "http://example.com", "336"))
        assert authenticated(service, "k", md5_token(secret, "http://example.com", "336"))
        assert added(run("key rotate", service, "k", "--secret", "-", stdin="open\n")) == ("k", "open")

    @pytest.mark.parametrize("command", ["key disable", "key rotate"])
    @pytest.mark.parametrize("apikey", ["gone", "", "ü", "\udcff", "x" * 200])
    def test_one_that_is_not_there(self, service: Path, command: str, apikey: str) -> None:
        assert failed(run(command, service, apikey)).endswith("[not-found]")


class TestSweep:
    def test_it_says_what_it_did(self, service: Path) -> None:
        nothing = "taken back: 0, expired: 0, over the storage's limit: 0, strays: 0, freed: 0 bytes\n"
        assert run("sweep", service).stdout == nothing
        abandon_a_capture(service)
        assert run("sweep", service).stdout.startswith("taken back: 1, ")
        # What was taken back is due, and a worker is told.
        assert list((service.parent / "var").glob("broker/**/*.msg"))
        assert run("sweep", service).stdout == nothing


class TestDoctor:
    def test_before_init_it_says_what_to_do(self, ini: Path) -> None:
        ini.write_text(f"{INI}linkpeek.chromium = /nowhere/chromium\n")
        result = run("doctor", ini)
        assert (result.exit_code, result.stderr) == (1, "")
        lines = result.stdout.splitlines()
        for problem, advice in (("secret", "linkpeek init"), ("database", "init"), ("browser", "apt-get")):
            (number,) = [n for n, line in enumerate(lines) if line.startswith(f"XX  {problem}: ")]
            assert lines[number + 1].startswith("    -> ")
            assert advice in lines[number + 1]

    def test_after_it_only_the_browser_is_missing(self, service: Path) -> None:
        service.write_text(f"{INI}linkpeek.chromium = /nowhere/chromium\nlinkpeek.allow_root = true\n")
        result = run("doctor", service)
        problems = [line for line in result.stdout.splitlines() if line.startswith("XX")]
        assert result.exit_code == 1
        assert [line.split()[1] for line in problems] == ["browser:"]


class TestCapture:
    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (["http://example.com", "-o", "x.jpg"], "bad-output"),
            (["http://example.com", "-o", "x"], "bad-output"),
            (["http://example.com", "-o", "nowhere/x.png"], "bad-output"),
            (["http://example.com", "-o", "folder.png"], "bad-output"),
            (["http://example.com", "-o", "x.png", "--size", "huge"], "bad-size"),
            (["http://example.com", "-o", "x.png", "--size", "0"], "bad-size"),
            (["http://example.com", "-o", "x.png", "--viewport", "1x1x1"], "bad-viewport"),
            (["http://", "-o", "x.png"], "bad-uri"),
            (["", "-o", "x.png"], "bad-uri"),
            (["\udcff", "-o", "x.png"], "bad-uri"),
            (["x" * 3000, "-o", "x.png"], "uri-too-long"),
            (["file:///etc/passwd", "-o", "x.png"], "scheme-refused"),
            (["http://a:b@example.com", "-o", "x.png"], "credentials-refused"),
            (["http://example.com:22", "-o", "x.png"], "port-refused"),
            (["http://127.0.0.1/", "-o", "x.png"], "address-refused"),
        ],
    )
    def test_what_can_be_told_before_a_browser_is_started(
        self, ini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: str
    ) -> None:
        (tmp_path / "folder.png").mkdir()
        monkeypatch.chdir(tmp_path)
        assert failed(run("capture", ini, *arguments)).endswith(f"[{code}]")
        assert not (tmp_path / "x.png").exists()

    def test_no_browser(self, ini: Path, tmp_path: Path) -> None:
        ini.write_text(f"{INI}linkpeek.chromium = /nowhere/chromium\nlinkpeek.allow_root = true\n")
        line = failed(run("capture", ini, "http://example.com", "-o", tmp_path / "x.png"))
        assert "/nowhere/chromium" in line


class TestProcess:
    """What only a process of its own shows."""

    def test_a_worker_without_a_browser_ends_with_one_line(self, service: Path) -> None:
        service.write_text(f"{INI}linkpeek.chromium = /nowhere/chromium\nlinkpeek.allow_root = true\n")
        done = typed("worker", service)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith("Error: linkpeek.chromium = /nowhere/chromium: ")

    def test_a_worker_of_nothing_ends_with_one_line(self, ini: Path) -> None:
        done = typed("worker", ini)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "linkpeek init" in done.stderr

    def test_whoever_stops_reading_gets_no_traceback(self, service: Path) -> None:
        for number in range(3):
            run("key add", service, "--name", f"number {number}")
        reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
        reader.wait()
        assert reader.stdin is not None
        done = typed("key", "list", service, stdout=reader.stdin)
        reader.stdin.close()
        assert (done.returncode, done.stderr) == (1, "")

    def test_a_full_disk_is_told(self, service: Path) -> None:
        run("key add", service, "--name", "me")
        with open("/dev/full", "w") as full:
            done = typed("key", "list", service, stdout=full)
        assert done.returncode != 0
        assert done.stderr.startswith("Error: No space left on device\n")
        assert "Traceback" not in done.stderr

    def test_a_locale_without_utf8_shows_names_nevertheless(self, service: Path) -> None:
        run("key add", service, "--name", "Jürgen")
        done = typed("key", "list", service, LC_ALL="C", PYTHONUTF8="0")
        assert (done.returncode, done.stderr) == (0, "")


def typed(
    *words: object, stdout: object = subprocess.PIPE, **environment: str
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "linkpeek", *map(str, words)]
    return subprocess.run(
        command,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **environment},
    )


def added(result: Result) -> tuple[str, str]:
    """Give the key and the secret that a command shows."""
    assert (result.exit_code, result.stderr) == (0, "")
    (apikey, secret) = result.stdout.splitlines()
    return apikey.removeprefix("apikey: "), secret.removeprefix("secret: ")


def authenticated(ini: Path, apikey: str, token: str) -> Credentials | None:
    """Tell whether the service takes a token for ``MEANT``."""
    resources = Resources(load_settings(str(ini)))
    try:
        return resources.authenticator.authenticate(apikey, token, [MEANT])[0]
    except AccessDenied:
        return None
    finally:
        resources.close()


def abandon_a_capture(ini: Path) -> None:
    """Have a page asked for, and claimed by a worker that was last seen an hour ago."""

    def then() -> datetime:
        return utcnow() - timedelta(hours=1)

    resources = Resources(load_settings(str(ini)))
    page = Target("http://example.com/", Viewport(64, 64), Extent.VIEWPORT)
    with transaction(resources.sessions) as session:
        limits, wake = resources.capture_limits, lambda: None
        snapshots = SnapshotService(session, limits, wake, ttl=1, queue_limit=1, now=then)
        snapshots.request(page, max_age=0, requester="key:1")
    assert CaptureService(resources.sessions, resources.storage, "dead", 30, then).claim()
    resources.close()
