import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import create_autospec

import pytest

from linkpeek.capture import watch as module
from linkpeek.capture.cdp import Connection, Session
from linkpeek.capture.watch import Watch
from linkpeek.errors import CaptureError

MAIN = "F"


class FakeSession(Session):
    """A session that keeps what is sent instead of sending it."""

    def __init__(self) -> None:
        super().__init__(create_autospec(Connection, instance=True), "S")
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def post(self, method: str, **params: Any) -> Any:
        self.sent.append((method, params))


def with_watch(test: Callable[[Watch, FakeSession], Awaitable[None]]) -> None:
    """Run a test with the books of a page."""

    async def run() -> None:
        session = FakeSession()
        await test(Watch(session, MAIN), session)

    asyncio.run(run())


def document(request: str, uri: str = "http://a/", **more: Any) -> dict[str, Any]:
    return {"requestId": request, "type": "Document", "frameId": MAIN, "request": {"url": uri}, **more}


def now() -> float:
    return asyncio.get_running_loop().time()


def test_document_with_status_and_load() -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        session.dispatch("Network.requestWillBeSent", document("1", "http://a/x"))
        session.dispatch("Network.responseReceived", {"requestId": "1", "response": {"status": 404}})
        frame = {"id": MAIN, "url": "http://a/x", "urlFragment": "#y"}
        session.dispatch("Page.frameNavigated", {"frame": frame})
        assert (watch.status, watch.uri, watch.loaded, watch.in_flight) == (404, "http://a/x#y", False, 1)
        session.dispatch("Network.loadingFinished", {"requestId": "1"})
        session.dispatch("Page.domContentEventFired", {})
        session.dispatch("Page.loadEventFired", {})
        assert await watch.until(lambda: watch.loaded and watch.parsed, now() + 1)
        assert watch.in_flight == 0

    with_watch(test)


def test_other_frames_do_not_count() -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        session.dispatch("Network.requestWillBeSent", document("1", "http://ad/") | {"frameId": "other"})
        session.dispatch("Network.responseReceived", {"requestId": "1", "response": {"status": 204}})
        session.dispatch("Page.frameNavigated", {"frame": {"id": "other", "url": "http://ad/"}})
        session.dispatch("Page.downloadWillBegin", {"frameId": "other"})
        assert (watch.status, watch.uri, watch.fault, watch.downloads) == (None, "", None, False)

    with_watch(test)


def test_waits_until_something_happens_or_the_time_is_over() -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        assert not await watch.until(lambda: watch.loaded, now() + 0.02)
        asyncio.get_running_loop().call_later(0.02, session.dispatch, "Page.loadEventFired", {})
        assert await watch.until(lambda: watch.loaded, now() + 5)

    with_watch(test)


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([("Inspector.targetCrashed", {})], "page-crashed"),
        (
            [
                ("Network.requestWillBeSent", document("1")),
                ("Network.responseReceived", {"requestId": "1", "response": {"status": 204}}),
            ],
            "no-content",
        ),
        (
            [("Network.requestWillBeSent", document("1", redirectResponse={"status": 302}))] * 11,
            "too-many-redirects",
        ),
        (
            [
                ("Network.requestWillBeSent", document("1")),
                ("Network.dataReceived", {"requestId": "1", "dataLength": module.MAX_RESPONSE + 1}),
            ],
            "too-large",
        ),
    ],
)
def test_what_ends_a_capture(events: list[tuple[str, dict[str, Any]]], code: str) -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        for event in events:
            session.dispatch(*event)
        with pytest.raises(CaptureError) as caught:
            await watch.until(lambda: False, now() + 1)
        assert caught.value.code == code

    with_watch(test)


def test_ten_redirects_are_followed() -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        for _ in range(10):
            session.dispatch("Network.requestWillBeSent", document("1", redirectResponse={"status": 302}))
        assert watch.fault is None

    with_watch(test)


@pytest.mark.parametrize(
    ("event", "times"),
    [
        (("Page.frameNavigated", {"frame": {"id": MAIN, "url": "http://a/"}}), module.MAX_DOCUMENTS + 1),
        (("Page.javascriptDialogOpening", {"type": "alert"}), module.MAX_DIALOGS + 1),
        (
            (
                "Network.requestWillBeSent",
                {"requestId": "x", "type": "Image", "request": {"url": "http://a/"}},
            ),
            module.MAX_REQUESTS + 1,
        ),
        (("Network.dataReceived", {"requestId": "x", "dataLength": module.MAX_RESPONSE + 1}), 1),
    ],
)
def test_too_much_holds_the_page(event: tuple[str, dict[str, Any]], times: int) -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        for _ in range(times - 1):
            session.dispatch(*event)
        assert watch.excess == ""
        session.dispatch(*event)
        assert watch.excess != ""
        assert watch.fault is None

    with_watch(test)


@pytest.mark.parametrize(
    ("requests", "most"),
    [(1, module.MAX_RESPONSE * module.UNHELD_RESPONSE), (20, module.MAX_TOTAL * module.UNHELD_TOTAL)],
)
def test_page_that_cannot_be_held_fails(requests: int, most: int) -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        for number in range(requests):
            part = {"requestId": str(number), "dataLength": most // requests}
            session.dispatch("Network.dataReceived", part)
        assert watch.fault is None
        session.dispatch("Network.dataReceived", {"requestId": "0", "dataLength": requests})
        assert watch.fault is not None
        assert (watch.fault.code, watch.fault.lasting) == ("too-large", True)

    with_watch(test)


def test_a_page_of_which_too_much_is_told() -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        session.weighed(module.MAX_TOLD)
        assert watch.excess == ""
        session.weighed(1)
        assert watch.excess != ""
        session.weighed(module.MAX_TOLD * (module.UNHELD_TOLD - 1) - 1)
        assert watch.fault is None
        session.weighed(1)
        assert watch.fault is not None
        assert watch.fault.code == "too-large"

    with_watch(test)


@pytest.mark.parametrize(("kind", "accept"), [("alert", False), ("prompt", False), ("beforeunload", True)])
def test_dialogs_are_answered(kind: str, accept: bool) -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        session.dispatch("Page.javascriptDialogOpening", {"type": kind})
        assert session.sent == [("Page.handleJavaScriptDialog", {"accept": accept})]

    with_watch(test)


@pytest.mark.parametrize("kind", ["WebSocket", "EventSource", "Media", "Ping"])
def test_requests_without_end_are_not_waited_for(kind: str) -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        params = {"requestId": "1", "type": kind, "request": {"url": "http://a/"}}
        session.dispatch("Network.requestWillBeSent", params)
        assert watch.in_flight == 0

    with_watch(test)


def test_error_page_is_no_page() -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        session.dispatch("Network.requestWillBeSent", document("1", "http://10.0.0.1/"))
        session.dispatch("Network.loadingFailed", {"requestId": "1", "errorText": "net::ERR_X"})
        frame = {"id": MAIN, "url": "chrome-error://chromewebdata/", "unreachableUrl": "http://10.0.0.1/"}
        session.dispatch("Page.frameNavigated", {"frame": frame})
        assert (watch.is_error_page, watch.error, watch.uri) == (True, "net::ERR_X", "http://10.0.0.1/")

    with_watch(test)


def test_new_navigation_starts_new_books() -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        session.dispatch("Network.requestWillBeSent", document("1"))
        session.dispatch("Page.frameNavigated", {"frame": {"id": MAIN, "url": "http://a/"}})
        session.dispatch("Page.loadEventFired", {})
        watch.begin()
        assert (watch.loaded, watch.documents, watch.in_flight, watch.status) == (False, 0, 0, None)

    with_watch(test)


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("http://a/#x", "http://a/#x"),
        ("http://a/?q#" + "x" * 9000, "http://a/?q"),
        ("http://a/p?" + "q" * 9000, "http://a/p"),
        ("http://a/" + "p" * 9000, ("http://a/" + "p" * 9000)[: module.MAX_URI]),
    ],
)
def test_address_is_bounded(uri: str, kept: str) -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        session.dispatch("Page.frameNavigated", {"frame": {"id": MAIN, "url": uri}})
        assert watch.uri == kept

    with_watch(test)


def test_too_many_workers_end_the_capture() -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        for _ in range(module.MAX_WORKERS):
            watch.worker_started()
        assert watch.fault is None
        watch.worker_started()
        with pytest.raises(CaptureError) as caught:
            await watch.until(lambda: False, now() + 1)
        assert (caught.value.code, caught.value.lasting) == ("too-large", True)

    with_watch(test)


@pytest.mark.parametrize(
    ("kind", "error", "lacks"),
    [
        ("Image", "net::ERR_NETWORK_CHANGED", True),
        ("Image", "net::ERR_CONNECTION_REFUSED", False),
        ("Ping", "net::ERR_NETWORK_CHANGED", False),
    ],
)
def test_what_fails_for_a_change_of_network_is_lacking(kind: str, error: str, lacks: bool) -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        session.dispatch("Network.requestWillBeSent", document("1") | {"type": kind})
        session.dispatch("Network.loadingFailed", {"requestId": "1", "errorText": error})
        assert watch.lacks is lacks
        watch.begin()
        assert not watch.lacks

    with_watch(test)


@pytest.mark.parametrize(
    "end",
    [
        ("Network.responseReceived", {"requestId": "2", "response": {"status": 204}}),
        ("Network.loadingFailed", {"requestId": "2", "errorText": "net::ERR_ABORTED"}),
        ("Page.downloadWillBegin", {"frameId": MAIN}),
    ],
)
def test_page_that_sends_itself_to_where_nothing_is_stays_what_it_is(end: tuple[str, dict[str, Any]]) -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        watch.begin()
        session.dispatch("Network.requestWillBeSent", document("1", "http://a/"))
        session.dispatch("Network.responseReceived", {"requestId": "1", "response": {"status": 200}})
        session.dispatch("Page.frameNavigated", {"frame": {"id": MAIN, "url": "http://a/"}})
        session.dispatch("Page.loadEventFired", {})
        session.dispatch("Network.requestWillBeSent", document("2", "http://bank/"))
        session.dispatch(*end)
        assert (watch.uri, watch.asked, watch.status) == ("http://a/", "http://bank/", 200)
        assert (watch.loaded, watch.fault) == (True, None)

    with_watch(test)


def test_until_there_is_a_page_its_address_is_the_one_asked_for() -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        watch.begin()
        for uri in ("http://a/", "http://b/"):
            session.dispatch("Network.requestWillBeSent", document("1", uri))
        assert watch.uri == watch.asked == "http://b/"

    with_watch(test)


def test_redirects_are_counted_for_each_address_that_a_page_sends_itself_to() -> None:
    async def test(watch: Watch, session: FakeSession) -> None:
        for number in range(4):
            session.dispatch("Network.requestWillBeSent", document(f"{number}"))
            for _ in range(module.MAX_REDIRECTS):
                hop = document(f"{number}", redirectResponse={"status": 302})
                session.dispatch("Network.requestWillBeSent", hop)
        assert watch.fault is None

    with_watch(test)
