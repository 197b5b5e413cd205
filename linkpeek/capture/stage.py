"""A stage: one fresh, isolated, empty page with its own way out, for one capture."""

import asyncio
import contextlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from linkpeek.capture.cdp import CommandTimeout, Connection, ProtocolError
from linkpeek.capture.model import Egress, EgressSession
from linkpeek.capture.watch import Watch
from linkpeek.errors import CaptureError
from linkpeek.geometry import DEFAULT_VIEWPORT_WIDTH, Viewport

#: What a stage is laid out in until a capture says otherwise.
USUAL_VIEWPORT = Viewport(DEFAULT_VIEWPORT_WIDTH, DEFAULT_VIEWPORT_WIDTH * 3 // 4)

#: The headless shell's name for itself. Its windows are all page; those of the whole
#: Chromium have a frame, which takes some of the size they are asked to have.
SHELL = "HeadlessChrome/"

#: Seconds the browser may take to set up a page, which takes some milliseconds; and to close one.
SET_UP_TIMEOUT = 15.0
STRIKE_TIMEOUT = 5.0

#: What pages are told of their visitor's wishes.
CALM = [{"name": "prefers-reduced-motion", "value": "reduce"}]

#: Runs before any of the page's own scripts, in every frame. A service worker would
#: outlive its page for nothing: each capture starts and ends with an empty context.
#: Dialogs are answered before they open: a page that opens them without end can hardly be
#: stopped, for between two of them it hears nothing. One that finds another way to open
#: them is answered by ``watch``.
BEFORE = """(() => {
  if (navigator.serviceWorker) {
    const refuse = () => Promise.reject(new DOMException('Not supported here', 'SecurityError'));
    Object.defineProperty(ServiceWorkerContainer.prototype, 'register', {value: refuse});
  }
  const answers = {alert: () => {}, confirm: () => false, prompt: () => null, print: () => {}};
  for (const name in answers) {
    const value = answers[name].bind();
    Object.defineProperty(window, name, {value, writable: true, enumerable: true, configurable: true});
  }
})()"""


class Stage:
    """A browser context, its one page, and the egress session that it goes out by.

    :ivar at_rest: done once what was opened on it has come to rest, or it is struck.
    """

    def __init__(
        self, connection: Connection, egress: EgressSession, context: str, target: str, session: str
    ) -> None:
        self._connection = connection
        self.context = context
        self.egress = egress
        self.frame = target  # a page's main frame has its target's id
        self.page = connection.session(session)
        self.watch = Watch(self.page, target)
        self.viewport: Viewport | None = None
        self.at_rest: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def build(cls, connection: Connection, egress: Egress, product: str) -> "Stage":
        """Make a stage; where its page dies meanwhile, it comes with the fault in its watch.

        :param product: the browser's own name and version.
        :raises ProtocolError: the browser does not do as it is told; it should be replaced.
        """
        way_out = await egress.open_session()
        context = None
        try:
            browser = connection.browser
            made = await browser.call(
                "Target.createBrowserContext",
                disposeOnDetach=True,
                proxyServer=way_out.proxy_url,
                proxyBypassList="<-loopback>",
            )
            context = made["browserContextId"]
            browser.post("Browser.setDownloadBehavior", behavior="deny", browserContextId=context)
            target = await browser.call(
                "Target.createTarget",
                url="about:blank",
                browserContextId=context,
                width=USUAL_VIEWPORT.width,
                height=USUAL_VIEWPORT.height,
            )
            attached = await browser.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            self = cls(connection, way_out, context, target["targetId"], attached["sessionId"])
            await self._set_up(user_agent(product))
            if product.startswith(SHELL):
                self.viewport = USUAL_VIEWPORT
            return self
        except BaseException:
            await _dispose(connection, context, way_out)
            raise

    async def _set_up(self, identity: dict[str, Any]) -> None:
        """Send all there is to set in one go; the browser works through it in order.

        A page that dies meanwhile answers no more.
        """
        post = self.page.post
        sent = [
            post("Inspector.enable"),
            post("Page.enable"),
            post("Page.setLifecycleEventsEnabled", enabled=True),
            post("Network.enable", maxTotalBufferSize=0, maxResourceBufferSize=0, maxPostDataSize=0),
            post("Network.setBypassServiceWorker", bypass=True),
            post("Emulation.setUserAgentOverride", **identity),
            post("Emulation.setEmulatedMedia", features=CALM),
            post("Page.addScriptToEvaluateOnNewDocument", source=BEFORE),
        ]
        done = asyncio.gather(*sent, return_exceptions=True)
        done.add_done_callback(self.watch.changed)
        try:
            in_time = await self.watch.until(done.done, asyncio.get_running_loop().time() + SET_UP_TIMEOUT)
        except CaptureError:
            return
        finally:
            for answer in sent:
                answer.cancel()
        if not in_time:
            raise CommandTimeout(f"setting up a page took more than {SET_UP_TIMEOUT:g} s")
        for outcome in done.result():
            if isinstance(outcome, BaseException):
                raise outcome

    def lay_out(self, viewport: Viewport) -> None:
        """Set the window's size in CSS pixels, one device pixel each."""
        if viewport != self.viewport:
            self.viewport = viewport
            self.page.post(
                "Emulation.setDeviceMetricsOverride",
                width=viewport.width,
                height=viewport.height,
                deviceScaleFactor=1,
                mobile=False,
            )

    def rests(self) -> None:
        """Tell that the browser has time for other pages now; may be repeated."""
        if not self.at_rest.done():
            self.at_rest.set_result(None)

    async def strike(self) -> None:
        """Take everything down: page, context with all it stored, way out. Never raises ProtocolError."""
        self.rests()
        self._connection.forget(self.page)
        await _dispose(self._connection, self.context, self.egress)


async def _dispose(connection: Connection, context: str | None, egress: EgressSession) -> None:
    try:
        if context is not None:
            with contextlib.suppress(ProtocolError):
                await connection.browser.call(
                    "Target.disposeBrowserContext", limit=STRIKE_TIMEOUT, browserContextId=context
                )
    finally:
        await egress.close()


def _own_version() -> str:
    try:
        return version("linkpeek")
    except PackageNotFoundError:
        return "0"


VERSION = _own_version()


def user_agent(product: str) -> dict[str, Any]:
    """Give the parameters of ``Emulation.setUserAgentOverride``: a Chromium that says it is LinkPeek's.

    :param product: the browser's own name and version, ``HeadlessChrome/1.2.3.4``.
    """
    full = product.partition("/")[2] or "0"
    major = full.partition(".")[0]
    brands = [{"brand": "Chromium", "version": major}, {"brand": "LinkPeek", "version": VERSION}]
    system = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
    return {
        "userAgent": f"{system} Chrome/{major}.0.0.0 Safari/537.36 LinkPeek/{VERSION}",
        "acceptLanguage": "en-US,en",  # to the header, Chromium adds the weights
        "userAgentMetadata": {
            "brands": brands,
            "fullVersionList": brands,
            "platform": "Linux",
            "platformVersion": "",
            "architecture": "x86",
            "model": "",
            "mobile": False,
        },
    }
