import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import create_autospec

import pytest

from linkpeek.capture import cdp
from linkpeek.capture.cdp import CommandTimeout, Connection, ConnectionClosed, ProtocolError


class FakeBrowser:
    """The other ends of the pipes."""

    def __init__(self) -> None:
        self.read_fd, self._their_end = os.pipe()
        self._our_end, self.write_fd = os.pipe()

    async def commands(self, amount: int) -> list[dict[str, Any]]:
        data = b""
        while data.count(b"\0") < amount:
            data += await asyncio.to_thread(os.read, self._our_end, 65536)
        return [json.loads(part) for part in data.split(b"\0")[:amount]]

    def say(self, *messages: object) -> None:
        # Without spaces, as Chromium does.
        self.raw(b"".join(json.dumps(one, separators=(",", ":")).encode() + b"\0" for one in messages))

    def raw(self, data: bytes) -> None:
        os.write(self._their_end, data)

    def die(self) -> None:
        for fd in (self._their_end, self._our_end):
            os.close(fd)


def with_browser(test: Callable[[Connection, FakeBrowser], Awaitable[None]]) -> None:
    """Run a test with a connection to a fake browser."""

    async def run() -> None:
        fake = FakeBrowser()
        connection = Connection()
        await connection.open(fake.read_fd, fake.write_fd)
        try:
            await test(connection, fake)
        finally:
            connection.close()
            await asyncio.sleep(0)
            for fd in (fake._their_end, fake._our_end):
                with contextlib.suppress(OSError):
                    os.close(fd)

    asyncio.run(run())


def test_answers_find_their_calls_in_any_order() -> None:
    async def test(connection: Connection, fake: FakeBrowser) -> None:
        page = connection.session("S")
        first, second = connection.browser.post("A.a", x=1), page.post("B.b")
        sent = await fake.commands(2)
        assert [(m["method"], m["params"], m.get("sessionId")) for m in sent] == [
            ("A.a", {"x": 1}, None),
            ("B.b", {}, "S"),
        ]
        ids = [m["id"] for m in sent]
        fake.say({"id": ids[1], "result": {"n": 2}, "sessionId": "S"}, {"id": ids[0], "result": {"n": 1}})
        assert [(await first)["n"], (await second)["n"]] == [1, 2]

    with_browser(test)


def test_error_answer_is_raised() -> None:
    async def test(connection: Connection, fake: FakeBrowser) -> None:
        call = asyncio.create_task(connection.browser.call("A.a"))
        (sent,) = await fake.commands(1)
        fake.say({"id": sent["id"], "error": {"code": -32000, "message": "No such thing"}})
        with pytest.raises(ProtocolError, match="No such thing"):
            await call

    with_browser(test)


def test_no_answer_is_a_timeout_and_a_late_one_is_ignored() -> None:
    async def test(connection: Connection, fake: FakeBrowser) -> None:
        with pytest.raises(CommandTimeout):
            await connection.browser.call("A.a", limit=0.01)
        (sent,) = await fake.commands(1)
        fake.say({"id": sent["id"], "result": {}})
        call = asyncio.create_task(connection.browser.call("A.b"))
        (sent,) = await fake.commands(1)
        fake.say({"id": sent["id"], "result": {"late": False}})
        assert await call == {"late": False}

    with_browser(test)


def test_all_calls_fail_when_the_browser_goes() -> None:
    async def test(connection: Connection, fake: FakeBrowser) -> None:
        calls = [asyncio.create_task(connection.browser.call("A.a")) for _ in range(3)]
        await fake.commands(3)
        fake.die()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [ConnectionClosed] * 3
        assert connection.is_closed
        with pytest.raises(ConnectionClosed):
            await connection.browser.call("A.a")

    with_browser(test)


def test_events_reach_the_handlers_of_their_session_only() -> None:
    async def test(connection: Connection, fake: FakeBrowser) -> None:
        seen: list[object] = []
        one, two = connection.session("1"), connection.session("2")
        one.on("E.e", lambda params: seen.append(("one", params)))
        two.on("E.e", lambda params: seen.append(("two", params)))
        done = asyncio.Event()
        connection.browser.on("E.done", lambda _: done.set())
        fake.say(
            {"method": "E.e", "params": {"n": 1}, "sessionId": "2"},
            {"method": "E.other", "params": {}, "sessionId": "1"},
            {"method": "E.e", "sessionId": "unknown"},
            {"method": "E.done"},
        )
        await asyncio.wait_for(done.wait(), 5)
        assert seen == [("two", {"n": 1})]

    with_browser(test)


def test_events_that_nobody_waits_for_are_not_even_read(caplog: pytest.LogCaptureFixture) -> None:
    async def test(connection: Connection, fake: FakeBrowser) -> None:
        done = asyncio.Event()
        connection.session("1").on("E.wanted", lambda _: done.set())
        fake.raw(b'{"method":"E.unwanted",not JSON\0{"method":"E.wanted",not JSON either\0')
        fake.say({"method": "E.wanted", "params": {}, "sessionId": "1"})
        await asyncio.wait_for(done.wait(), 5)
        assert len(caplog.records) == 1

    with_browser(test)


def test_forgotten_session_hears_nothing() -> None:
    async def test(connection: Connection, fake: FakeBrowser) -> None:
        seen: list[object] = []
        page, done = connection.session("1"), asyncio.Event()
        page.on("E.e", seen.append)
        connection.forget(page)
        connection.browser.on("E.done", lambda _: done.set())
        fake.say({"method": "E.e", "params": {}, "sessionId": "1"}, {"method": "E.done"})
        await asyncio.wait_for(done.wait(), 5)
        assert seen == []

    with_browser(test)


def test_cut_messages_nonsense_and_bugs_in_handlers_do_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    async def test(connection: Connection, fake: FakeBrowser) -> None:
        seen, done = [], asyncio.Event()
        connection.browser.on("E.bad", lambda params: params["missing"])
        connection.browser.on("E.e", lambda params: seen.append(params["text"]))
        connection.browser.on("E.done", lambda _: done.set())
        event = {"method": "E.e", "params": {"text": "ü" * 9}}
        whole = json.dumps(event, ensure_ascii=False).encode() + b"\0"
        fake.raw(b'not json\0{"method":"E.bad"}\0' + whole[:20])
        await asyncio.sleep(0.02)
        fake.raw(whole[20:] + whole + b'{"method":"E.done"}\0')
        await asyncio.wait_for(done.wait(), 5)
        assert seen == ["ü" * 9] * 2

    with_browser(test)
    assert "not JSON" in caplog.text
    assert "E.bad" in caplog.text


@pytest.mark.parametrize("piece", [1, 7, 50, 10_000])
def test_events_are_weighed_and_the_longest_not_read(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    """However the pipe cuts them."""
    monkeypatch.setattr(cdp, "MAX_EVENT", 300)

    async def test(connection: Connection, fake: FakeBrowser) -> None:
        seen, sizes, done = [], [], asyncio.Event()
        page, other = connection.session("A" * 32), connection.session("B" * 32)
        page.on("E.e", lambda params: seen.append(len(params["text"])))
        page.weighed, other.weighed = sizes.append, lambda size: done.set()
        whole = b""
        for name, length in (("E.e", 200), ("E.e", 400), ("E.unwanted", 10), ("E.unwanted", 400)):
            event = {"method": name, "params": {"text": "x" * length}, "sessionId": page.id}
            whole += json.dumps(event, separators=(",", ":")).encode() + b"\0"
        for start in range(0, len(whole), piece):
            fake.raw(whole[start : start + piece])
            await asyncio.sleep(0)
        fake.say({"method": "E.unwanted", "params": {}, "sessionId": other.id})
        await asyncio.wait_for(done.wait(), 5)
        assert seen == [200]
        assert sizes == [len(event) for event in whole.split(b"\0")[:-1]]

    with_browser(test)


@pytest.mark.parametrize("piece", [1, 7, 50])
def test_of_an_event_that_is_too_long_little_is_kept(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(cdp, "MAX_EVENT", 300)
    reading = cdp._Reading(create_autospec(Connection, instance=True))
    event = b'{"method":"E.e","params":{"text":"' + b"x" * 10_000
    for start in range(0, len(event), piece):
        reading.data_received(event[start : start + piece])
    assert sum(map(len, reading._parts)) < 500


def test_answers_may_be_longer_than_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdp, "MAX_EVENT", 300)

    async def test(connection: Connection, fake: FakeBrowser) -> None:
        call = asyncio.create_task(connection.browser.call("A.a"))
        (sent,) = await fake.commands(1)
        fake.say({"id": sent["id"], "result": {"data": "x" * 5000}})
        assert len((await call)["data"]) == 5000

    with_browser(test)


def test_message_that_is_too_long_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdp, "MAX_MESSAGE", 1000)

    async def test(connection: Connection, fake: FakeBrowser) -> None:
        call, done = connection.browser.post("A.a"), asyncio.Event()
        (sent,) = await fake.commands(1)
        connection.browser.on("E.done", lambda _: done.set())
        fake.say({"id": sent["id"], "result": {"long": "x" * 5000}}, {"method": "E.done"})
        await asyncio.wait_for(done.wait(), 5)
        assert not call.done()

    with_browser(test)
