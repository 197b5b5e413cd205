"""``linkpeek check``: would these addresses be opened?"""

import asyncio
import json
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from typing import BinaryIO

import click

from linkpeek.address import MAX_LENGTH
from linkpeek.cli.config import load_settings
from linkpeek.egress.guard import Guard
from linkpeek.egress.names import ListedResolver, Resolver
from linkpeek.egress.resolver import DnsResolver
from linkpeek.egress.verdict import Verdict, decoded, judge_text, read_stub
from linkpeek.errors import ConfigurationError

#: How many addresses wait for DNS beside each other.
_AT_ONCE = 32

#: Bytes that an address may take here: with --escaped, a character may be written as its name,
#: and the longest in Unicode has 88 letters. More cannot be an address of MAX_LENGTH.
_LONGEST = 100 * MAX_LENGTH


@click.command("check")
@click.argument("config", metavar="CONFIG", type=click.Path(exists=True, dir_okay=False))
@click.argument("uris", metavar="[URI]...", nargs=-1)
@click.option("--escaped", is_flag=True, help="Read each address as a Python unicode_escape.")
@click.option(
    "--resolve",
    "stubs",
    metavar="NAME=ADDR[,ADDR]",
    multiple=True,
    help="Answer this for NAME (* for any) instead of asking DNS; names that are not listed do not resolve.",
)
def check(config: str, uris: tuple[str, ...], escaped: bool, stubs: tuple[str, ...]) -> None:
    """Say whether each URI would be opened: one JSON object a line.

    A single - among the URIs stands for the lines of standard input. Nothing is
    put before an address that has no scheme. Of a line that is too long for any
    address, only the beginning is repeated. The status is 0 whatever the verdicts,
    1 where standard input cannot be read to its end.
    """
    guard = _guard(config, _resolver(stubs))
    # unicode_escape warns of escapes that Python does not know; they are read as they stand.
    warnings.simplefilter("ignore", DeprecationWarning)
    asyncio.run(_answer_all(_raw_texts(uris), guard, escaped))


def _guard(config: str, resolver: Resolver) -> Guard:
    try:
        settings = load_settings(config)
    except ConfigurationError as exc:
        raise click.UsageError(exc.message) from None
    return Guard(resolver, ports=settings.egress_ports, allow=settings.egress_allow)


def _resolver(stubs: Iterable[str]) -> Resolver:
    try:
        answers = dict(read_stub(stub) for stub in stubs)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--resolve") from None
    return ListedResolver(answers) if answers else DnsResolver()


def _raw_texts(uris: Iterable[str]) -> Iterator[bytes]:
    for uri in uris:
        if uri == "-":
            yield from _lines(_standard_input())
        else:
            yield os.fsencode(uri)


def _standard_input() -> BinaryIO:
    stream: BinaryIO | None = getattr(sys.stdin, "buffer", None)
    if stream is None:  # Python has no sys.stdin where it was closed before
        raise OSError("it is closed")
    return stream


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Give the lines without their ends; of one that is too long, more than the longest and no more."""
    while line := stream.readline(_LONGEST + 1):
        yield line.removesuffix(b"\n")
        while len(line) > _LONGEST and not line.endswith(b"\n"):
            line = stream.readline(_LONGEST + 1)


async def _answer_all(raw_texts: Iterator[bytes], guard: Guard, escaped: bool) -> None:
    """Print the verdicts in order, each as soon as it and those before it are known."""
    verdicts: asyncio.Queue[asyncio.Task[Verdict] | None] = asyncio.Queue(_AT_ONCE)
    loop = asyncio.get_running_loop()
    faults: list[OSError] = []

    async def start(raw: bytes | None) -> None:
        await verdicts.put(None if raw is None else asyncio.create_task(_judge(raw, guard, escaped)))

    def hand_over(raw: bytes | None) -> bool:
        """Start an answer, or tell that there is nothing more; whether anybody still waits for it."""
        starting = start(raw)
        try:
            asyncio.run_coroutine_threadsafe(starting, loop).result()
        except (CancelledError, RuntimeError):  # the loop is ending, or has ended: nobody reads on
            starting.close()
            return False
        return True

    def read() -> None:
        # Reading blocks, so it has a thread; a daemon, so that Ctrl-C does not wait for a line.
        try:
            for raw in raw_texts:
                if not hand_over(raw):
                    return
        except OSError as exc:
            faults.append(exc)
        finally:
            hand_over(None)

    threading.Thread(target=read, daemon=True).start()
    while (verdict := await verdicts.get()) is not None:
        click.echo(json.dumps(await verdict))
    if faults:
        raise click.ClickException(f"standard input cannot be read: {faults[0]}")


async def _judge(raw: bytes, guard: Guard, escaped: bool) -> Verdict:
    if len(raw) > _LONGEST:
        return _unread(decoded(raw[: 4 * MAX_LENGTH], escaped=False)[:MAX_LENGTH], "uri-too-long")
    try:
        text = decoded(raw, escaped=escaped)
    except ValueError:
        return _unread(decoded(raw, escaped=False), "bad-uri")
    return await judge_text(text, guard)


def _unread(text: str, code: str) -> Verdict:
    return Verdict(uri=text, verdict="refuse", code=code, canonical=None, addresses=[])
