"""When a browser makes the page for the next capture, without a Chromium."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from linkpeek.capture import generation
from linkpeek.capture.cdp import Answer, Connection, ProtocolError
from linkpeek.capture.generation import Generation
from linkpeek.capture.stage import Stage


class Silent(Connection):
    """Takes all commands, and says nothing."""

    def post(self, method: str, params: Any, session_id: str | None) -> Answer:
        return asyncio.get_running_loop().create_future()


class Builder:
    """Builds stages without a browser, or fails to."""

    def __init__(self) -> None:
        self.built = 0
        self.third = asyncio.Event()
        self.error: Exception | None = None

    async def build(self, connection: Connection, *_: object) -> Stage:
        if self.error is not None:
            raise self.error
        self.built += 1
        if self.built == 3:
            self.third.set()
        number = str(self.built)
        return Stage(connection, cast("Any", SimpleNamespace()), number, number, number)


def run(
    monkeypatch: pytest.MonkeyPatch, test: Callable[[Generation, Builder], Awaitable[None]], *, after: float
) -> None:
    builder = Builder()
    monkeypatch.setattr(Stage, "build", builder.build)
    monkeypatch.setattr(generation, "REFILL_AFTER", after)
    monkeypatch.setattr(generation, "network_process", found)

    async def main() -> None:
        chromium = SimpleNamespace(connection=Silent(), version="", pid=0, is_running=True)
        one = Generation(cast("Any", chromium), cast("Any", None), 1)
        await turns()
        try:
            await test(one, builder)
        finally:
            for vigil in one._vigils:
                vigil.cancel()

    asyncio.run(main())


async def found(_: Connection, browser: int) -> int:
    return browser


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_no_page_before_the_network_s_process_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chromium replaces it where it ends, so nobody would notice."""

    async def test(one: Generation, _: Builder) -> None:
        known = asyncio.Event()
        one._network = asyncio.create_task(wait_for(known))
        asked = asyncio.create_task(one.stage())
        await turns()
        assert not asked.done()
        known.set()
        assert (await asked).context == "1"

    async def wait_for(known: asyncio.Event) -> int:
        await known.wait()
        return 1

    run(monkeypatch, test, after=3600)


def test_next_page_is_made_when_the_last_one_has_come_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(one: Generation, builder: Builder) -> None:
        assert builder.built == 1
        stage = await one.stage()
        await turns()
        assert builder.built == 1
        stage.rests()
        stage.rests()
        await turns()
        assert builder.built == 2

    run(monkeypatch, test, after=3600)


def test_page_that_does_not_come_to_rest_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(one: Generation, builder: Builder) -> None:
        stages = [await one.stage(), await one.stage()]
        async with asyncio.timeout(30):
            await builder.third.wait()
        assert {stage.context for stage in stages} == {"1", "2"}

    run(monkeypatch, test, after=0.01)


def test_next_page_is_made_where_none_came(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(one: Generation, builder: Builder) -> None:
        await one.stage()
        builder.error = ProtocolError("no")
        with pytest.raises(ProtocolError):
            await one.stage()
        builder.error = None
        await turns()
        assert builder.built == 2
        assert (await one.stage()).context == "2"

    run(monkeypatch, test, after=3600)
