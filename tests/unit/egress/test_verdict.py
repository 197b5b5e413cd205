"""`linkpeek check`: what it reads, what it prints, and that nothing makes it fall over."""

import io
import itertools
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from linkpeek.address import MAX_LENGTH
from linkpeek.cli import main
from linkpeek.cli.check import _LONGEST, _lines
from linkpeek.egress.verdict import decoded, read_stub

ANY = ("--resolve", "*=93.184.216.34")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("config") / "production.ini"
    path.write_text("[app:main]\nuse = egg:linkpeek\n")
    return str(path)


def run(config: str, *words: str, lines: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["check", config, *words], input=lines)


def said(config: str, *words: str, lines: bytes = b"") -> list[dict[str, Any]]:
    result = run(config, *words, lines=lines)
    assert result.exit_code == 0, result.output
    assert result.stdout.isascii()
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_one_object_an_address_in_order(config: str) -> None:
    allowed, refused = said(config, *ANY, "http://B\u00fccher.example", "http://0x7f.1/")
    assert allowed == {
        "uri": "http://B\u00fccher.example",
        "verdict": "allow",
        "code": None,
        "canonical": "http://xn--bcher-kva.example/",
        "addresses": ["93.184.216.34"],
    }
    assert refused == {
        "uri": "http://0x7f.1/",
        "verdict": "refuse",
        "code": "address-refused",
        "canonical": "http://127.0.0.1/",
        "addresses": ["127.0.0.1"],
    }


def test_standard_input_stands_where_the_dash_is(config: str) -> None:
    answers = said(
        config, *ANY, "http://a.example", "-", "http://d.example", lines=b"http://b.example\n\nx:c"
    )
    assert [answer["uri"] for answer in answers] == [
        *("http://a.example", "http://b.example", "", "x:c", "http://d.example"),
    ]
    assert [answer["code"] for answer in answers] == [None, None, "bad-uri", "scheme-refused", None]


def test_stubs(config: str) -> None:
    stubs = ("--resolve", "a.example.=8.8.8.8,2606:4700::1", "--resolve", "none.example=", *ANY)
    listed, unlisted, none = said(
        config, *stubs, "http://A.example./", "http://b.example", "http://none.example"
    )
    assert listed["addresses"] == ["8.8.8.8", "2606:4700::1"]
    assert unlisted["addresses"] == ["93.184.216.34"]
    assert (none["verdict"], none["code"]) == ("refuse", "unresolvable")


def test_without_a_star_other_names_do_not_resolve(config: str) -> None:
    (answer,) = said(config, "--resolve", "a.example=8.8.8.8", "http://b.example")
    assert answer["code"] == "unresolvable"


@pytest.mark.parametrize("stub", ["a.example", "a.example=here", "a b=8.8.8.8", "=8.8.8.8"])
def test_bad_stubs_are_bad_usage(config: str, stub: str) -> None:
    assert run(config, "--resolve", stub, "http://a.example").exit_code == 2
    with pytest.raises(ValueError, match=r"."):
        read_stub(stub)


def test_bad_settings_are_bad_usage(tmp_path: Path) -> None:
    path = tmp_path / "bad.ini"
    path.write_text("[app:main]\nuse = egg:linkpeek\nlinkpeek.egress_ports = all\n")
    result = run(str(path), "http://a.example")
    assert (result.exit_code, "egress_ports" in result.stderr) == (2, True)
    assert run(str(tmp_path / "none.ini"), "http://a.example").exit_code == 2


def test_settings_count(tmp_path: Path) -> None:
    path = tmp_path / "open.ini"
    path.write_text(
        "[app:main]\nuse = egg:linkpeek\nlinkpeek.egress_allow = 10.0.0.0/8\nlinkpeek.egress_ports = *\n"
    )
    (answer,) = said(str(path), "--resolve", "intranet=10.0.0.1", "http://intranet:3000/")
    assert (answer["verdict"], answer["addresses"]) == ("allow", ["10.0.0.1"])


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (rb"http://a/\x00", "http://a/\0"),
        (rb"\ud800", "\ud800"),
        (rb"a\\b", "a\\b"),
        (b"\xc3\xbc", "\u00fc"),
        (b"\xff", "\udcff"),
        (rb"\q", "\\q"),
        (b"\\\xc3\xbc", "\\\u00fc"),
        (b"\\\\\xc3\xbc", "\\\u00fc"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_escapes(raw: bytes, text: str) -> None:
    assert decoded(raw, escaped=True) == text


@settings(deadline=None)  # a busy machine is slow
@given(lines=st.lists(st.binary(max_size=20), max_size=5), escaped=st.booleans())
def test_any_bytes_get_a_verdict(config: str, lines: list[bytes], escaped: bool) -> None:
    lines = [b"http://" + line.replace(b"\n", b"") for line in lines]
    options = ["--escaped"] if escaped else []
    answers = said(config, *ANY, "-", *options, lines=b"".join(line + b"\n" for line in lines))
    assert len(answers) == len(lines)
    assert all((answer["code"] is None) == (answer["verdict"] == "allow") for answer in answers)


def test_longest_address_however_it_is_written(config: str) -> None:
    start, letter = b"http://a.example/", rb"\N{LATIN SMALL LETTER A}"
    line = start + letter * (MAX_LENGTH - len(start))
    fits, too_long = said(config, *ANY, "-", "--escaped", lines=line + b"\n" + line + letter)
    assert (fits["verdict"], fits["canonical"]) == ("allow", fits["uri"])
    assert len(fits["uri"]) == MAX_LENGTH
    assert (too_long["verdict"], too_long["code"], too_long["canonical"]) == ("refuse", "uri-too-long", None)


@pytest.mark.parametrize("length", [_LONGEST - 1, _LONGEST, _LONGEST + 1, _LONGEST + 2, 3 * _LONGEST])
@pytest.mark.parametrize("options", [(), ("--escaped",)])
def test_line_of_any_length_is_one_line(config: str, length: int, options: tuple[str, ...]) -> None:
    line = "http://a.example/".ljust(MAX_LENGTH - 1, "a") + "\u00e9"
    line = line.ljust(length - 1, "a").encode()  # a UTF-8 letter takes two bytes
    lines = b"http://b.example/\n%b\nhttp://c.example/\n%b" % (line, line)
    answers = said(config, *ANY, "-", *options, lines=lines)
    assert [answer["code"] for answer in answers] == [None, "uri-too-long", None, "uri-too-long"]
    if length > _LONGEST:
        assert [answers[n]["uri"] for n in (1, 3)] == [line.decode()[:MAX_LENGTH]] * 2


class Chunks(io.RawIOBase):
    """A stream that comes in small pieces, and is nowhere whole."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = next(self._chunks, b"")
        buffer[: len(chunk)] = chunk
        return len(chunk)


def test_line_of_any_length_takes_little_memory() -> None:
    megabytes = itertools.repeat(b"a" * 4096, 100 * 256)
    stream = io.BufferedReader(Chunks(itertools.chain(megabytes, [b"\nb"])))
    tracemalloc.start()
    try:
        lines = [len(line) for line in _lines(stream)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert lines == [_LONGEST + 1, 1]
    assert peak < 2 * 2**20


@pytest.mark.parametrize("standard_input", ["<&-", "0> only-written"])
def test_input_that_cannot_be_read_is_no_success(config: str, tmp_path: Path, standard_input: str) -> None:
    script = "from linkpeek.cli.check import check; check()"
    command = [
        "sh",
        "-c",
        f'exec "$@" {standard_input}',
        "sh",
        sys.executable,
        "-c",
        script,
        config,
        "-",
        *ANY,
    ]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"cannot be read" in done.stderr
    assert b"Traceback" not in done.stderr


def test_it_answers_each_line_as_it_comes(config: str) -> None:
    command = [sys.executable, "-c", "from linkpeek.cli.check import check; check()", config, "-", *ANY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(3):
            process.stdin.write(b"http://example.com/%d\n" % number)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["canonical"] == f"http://example.com/{number}"
        process.stdin.close()
        assert process.wait(30) == 0


def test_it_ends_quietly_where_nobody_reads_on(config: str, tmp_path: Path) -> None:
    """As before ``head -1``, while it still has much to read."""
    lines = tmp_path / "lines"
    lines.write_bytes(b"".join(b"http://h%d.example/\n" % number for number in range(5000)))
    command = [sys.executable, "-m", "linkpeek", "check", config, "-", *ANY]
    with (
        lines.open("rb") as source,
        subprocess.Popen(
            command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(30) == 1


def test_thousands(config: str) -> None:
    lines = b"".join(b"http://h%d.example/\n" % number for number in range(3000))
    assert {answer["verdict"] for answer in said(config, *ANY, "-", lines=lines)} == {"allow"}
