"""What a page does, as the browser tells of it: loads, requests, dialogs, crashes.

One ``Watch`` belongs to one page. It only keeps books and raises the alarm; what
is to be done about it is the pipeline's to decide.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from linkpeek.capture.cdp import Session
from linkpeek.capture.failures import NETWORK_CHANGED, failure
from linkpeek.errors import CaptureError

#: HTTP redirects of the page itself that are followed.
MAX_REDIRECTS = 10

#: Documents that the page may send itself to (scripts, refresh) before it is held.
MAX_DOCUMENTS = 10

#: Requests of all kinds before the page is held.
MAX_REQUESTS = 3000

#: Dialogs (alert, confirm, prompt, beforeunload) before scripts are stopped.
MAX_DIALOGS = 10

#: Workers that a page may start, and workers of workers, before its capture ends. They go
#: on when the page is held, and thousands of them keep the browser itself from answering.
MAX_WORKERS = 200

#: Bytes, as unpacked in the browser: one response, and all of them.
MAX_RESPONSE = 64 * 1024 * 1024
MAX_TOTAL = 256 * 1024 * 1024

#: Bytes that the browser may tell of a page. Of the busiest that are allowed it tells 30 million
#: (3,000 requests); of one that loads ``data:`` addresses by script, each of them twice.
MAX_TOLD = 64 * 1024 * 1024

#: So many times that may come of a page that is too busy to be held, then its capture ends.
UNHELD_RESPONSE, UNHELD_TOTAL, UNHELD_TOLD = 4, 2, 2

#: Requests that never end by themselves, and so say nothing about whether the page is done.
_ENDLESS = frozenset({"WebSocket", "EventSource", "Media", "Ping", "CSPViolationReport", "Prefetch"})

_NO_CONTENT = frozenset({204, 205})


class Watch:
    """The books of one page.

    :ivar loaded: the current document has fired its load event.
    :ivar parsed: ... its DOMContentLoaded event, at loop time ``parsed_at``.
    :ivar painted: something of it was drawn.
    :ivar status: HTTP status of the current document.
    :ivar uri: its address, which need not be the one that was ``asked`` for last: a page that sends itself
        to a download, or to where nothing answers, stays what it is.
    :ivar requests: number of requests so far; a change means that something moves.
    :ivar activity: loop time of the last thing that happened on the network.
    :ivar excess: why the page must be held, where it does too much.
    :ivar lacks: some of what it asked for failed because this machine's network changed.
    """

    def __init__(self, session: Session, frame: str) -> None:
        self._session = session
        self._frame = frame
        self._loop = asyncio.get_running_loop()
        self._waiting: list[asyncio.Future[None]] = []
        self._open: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._total = self._told = 0
        self._document = ""
        self._response: tuple[str, int | None] = ("", None)
        self.fault: CaptureError | None = None
        self.excess = ""
        self.loaded = self.parsed = self.painted = self.expired = self.is_error_page = self.downloads = False
        self.leaving = self.lacks = False
        self.status: int | None = None
        self.uri = self.asked = self.error = ""
        self.documents = self.redirects = self.requests = self.dialogs = self.workers = 0
        self.activity = self.parsed_at = self._loop.time()
        self._listen()

    def _listen(self) -> None:
        for event, handler in {
            "Network.requestWillBeSent": self._request,
            "Network.responseReceived": self._got_response,
            "Network.dataReceived": self._data,
            "Network.loadingFinished": self._finished,
            "Network.loadingFailed": self._failed,
            "Page.frameNavigated": self._navigated,
            "Page.frameRequestedNavigation": self._leaves,
            "Page.frameStoppedLoading": self._stopped,
            "Page.domContentEventFired": self._parsed,
            "Page.loadEventFired": self._loaded,
            "Page.lifecycleEvent": self._lifecycle,
            "Page.downloadWillBegin": self._download,
            "Page.javascriptDialogOpening": self._dialog,
            "Emulation.virtualTimeBudgetExpired": self._expired,
            "Inspector.targetCrashed": self._crashed,
            "Inspector.detached": self._crashed,
        }.items():
            self._session.on(event, handler)
        self._session.weighed = self.told

    @property
    def in_flight(self) -> int:
        """Requests that are under way and should end."""
        return len(self._open)

    async def until(self, condition: Callable[[], bool], limit: float) -> bool:
        """Wait for something to become true of the page.

        :param limit: loop time at which to stop waiting.
        :return: whether it became true.
        :raises CaptureError: the page crashed or did what ends a capture.
        """
        while True:
            if self.fault is not None:
                raise self.fault
            if condition():
                return True
            if self._loop.time() >= limit:
                return False
            await self._something(limit)

    async def _something(self, limit: float) -> None:
        """Wait for the next thing to happen."""
        happened: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(happened)
        timer = self._loop.call_at(limit, _resolve, happened)
        try:
            await happened
        finally:
            timer.cancel()

    def changed(self, *_: object) -> None:
        """Let those who wait look again."""
        waiting, self._waiting = self._waiting, []
        for happened in waiting:
            _resolve(happened)

    def fail(self, fault: CaptureError) -> None:
        """End the capture with this error; the first one counts."""
        self.fault = self.fault or fault
        self.changed()

    def begin(self) -> None:
        """Forget what was: a navigation of ours starts."""
        self._open.clear()
        self.loaded = self.parsed = self.painted = self.is_error_page = self.downloads = self.leaving = False
        self.lacks = False
        self.status, self.error = None, ""
        self._document, self._response = "", ("", None)
        self.documents = self.redirects = 0

    def worker_started(self) -> None:
        """Count a worker."""
        self.workers += 1
        if self.workers > MAX_WORKERS:
            self.fail(failure("too-large"))

    def told(self, size: int) -> None:
        """Count bytes that the browser told of the page."""
        self._told += size
        if self._told > MAX_TOLD * UNHELD_TOLD:
            self.fail(failure("too-large"))
        elif self._told > MAX_TOLD:
            self._hold("too many bytes told")

    def _hold(self, why: str) -> None:
        self.excess = self.excess or why
        self.changed()

    # Network

    def _request(self, params: dict[str, Any]) -> None:
        self.activity = self._loop.time()
        request, kind = params["requestId"], params.get("type", "Other")
        if kind == "Document" and params.get("frameId") == self._frame:
            self._document = request
            self.redirects = self.redirects + 1 if params.get("redirectResponse") else 0
            if self.redirects > MAX_REDIRECTS:
                self.fail(failure("too-many-redirects"))
            self.asked = _bounded(params["request"]["url"])
            if not self.documents:
                self.uri = self.asked
        if kind not in _ENDLESS:
            self._open[request] = kind
        self.requests += 1
        if self.requests > MAX_REQUESTS:
            self._hold("too many requests")

    def _got_response(self, params: dict[str, Any]) -> None:
        self.activity = self._loop.time()
        if params["requestId"] != self._document:
            return
        response = params["response"]
        self._response = (self._document, response.get("status") or None)
        # A page that sends itself to where nothing is stays where it is, as in any browser.
        if response.get("status") in _NO_CONTENT and not self.documents:
            self.fail(failure("no-content"))

    def _data(self, params: dict[str, Any]) -> None:
        self.activity = self._loop.time()
        request, length = params["requestId"], params["dataLength"]
        self._total += length
        size = self._sizes[request] = self._sizes.get(request, 0) + length
        unheld = size > MAX_RESPONSE * UNHELD_RESPONSE or self._total > MAX_TOTAL * UNHELD_TOTAL
        if unheld or (size > MAX_RESPONSE and request == self._document):
            self.fail(failure("too-large"))
        elif size > MAX_RESPONSE or self._total > MAX_TOTAL:
            self._hold("too many bytes")

    def _finished(self, params: dict[str, Any]) -> None:
        self._ended(params["requestId"])

    def _failed(self, params: dict[str, Any]) -> None:
        self.lacks |= params["requestId"] in self._open and params.get("errorText") == NETWORK_CHANGED
        if params["requestId"] == self._document:
            self.error = params.get("errorText", "")
            self.leaving = False
        self._ended(params["requestId"])

    def _ended(self, request: str) -> None:
        self.activity = self._loop.time()
        self._open.pop(request, None)
        self._sizes.pop(request, None)
        self.changed()

    # Page

    def _navigated(self, params: dict[str, Any]) -> None:
        frame = params["frame"]
        if frame["id"] != self._frame:
            return
        self.documents += 1
        self.loaded = self.parsed = self.painted = self.leaving = self.lacks = False
        self.is_error_page = bool(frame.get("unreachableUrl"))
        self.uri = _bounded(frame.get("unreachableUrl") or frame["url"] + frame.get("urlFragment", ""))
        self.status = self._response[1] if self._response[0] == self._document else None
        if self.documents > MAX_DOCUMENTS:
            self._hold("too many navigations")
        self.changed()

    def _leaves(self, params: dict[str, Any]) -> None:
        if params.get("frameId") == self._frame and params.get("disposition", "currentTab") == "currentTab":
            self.leaving = True

    def _stopped(self, params: dict[str, Any]) -> None:
        if params.get("frameId") == self._frame:
            self.leaving = False
            self.changed()

    def _parsed(self, _: dict[str, Any]) -> None:
        self.parsed, self.parsed_at = True, self._loop.time()
        self.changed()

    def _loaded(self, _: dict[str, Any]) -> None:
        self.loaded = True
        self.changed()

    def _lifecycle(self, params: dict[str, Any]) -> None:
        if params["name"] == "firstPaint" and params["frameId"] == self._frame:
            self.painted = True
            self.changed()

    def _download(self, params: dict[str, Any]) -> None:
        if params.get("frameId") == self._frame:
            self.downloads = True
            self.changed()

    def _dialog(self, params: dict[str, Any]) -> None:
        """Answer at once: a page stands still for as long as its dialog is open."""
        self.dialogs += 1
        if self.dialogs > MAX_DIALOGS:
            self._hold("too many dialogs")
        self._session.post("Page.handleJavaScriptDialog", accept=params.get("type") == "beforeunload")

    def _expired(self, _: dict[str, Any]) -> None:
        self.expired = True
        self.changed()

    def _crashed(self, _: dict[str, Any]) -> None:
        self.fail(failure("page-crashed"))


#: Characters of an address that are kept; scripts can make addresses of megabytes.
MAX_URI = 8192


def _bounded(uri: str) -> str:
    """Give the address without its fragment, or without its query too, where it is too long."""
    for mark in ("#", "?"):
        if len(uri) > MAX_URI:
            uri = uri.partition(mark)[0]
    return uri[:MAX_URI]


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
