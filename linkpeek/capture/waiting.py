"""Waiting well: until a page has loaded and come to rest, and no longer.

Once a page has loaded, its own clock is made to run freely (see ``page``): two
seconds of timers and animations pass in a few milliseconds on a quiet page, which
so pays for no fixed wait, and in as long as it takes on a busy one.
"""

from linkpeek.capture import scripts
from linkpeek.capture.page import Page
from linkpeek.geometry import MAX_PAGE_HEIGHT

#: Milliseconds of the page's own time that pass where the network does not come to rest.
FORCED_TIME = 500

#: Seconds: to the first paint after load (a blank page never paints); without any
#: network activity before requests are taken for endless; all waiting after load.
PAINT_LIMIT, QUIET_LIMIT, SETTLE_LIMIT = 0.25, 3.0, 10.0

#: Seconds after which a page that is there but never finishes loading is taken as it
#: is: without network activity, and in any case.
STALL_LIMIT, LOAD_LIMIT = 5.0, 15.0


class Waiting:
    """Waits for one page.

    :ivar gave_up: a document never finished loading.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._watch = page.watch
        self._deadline = page.deadline
        self.gave_up = False

    async def load(self) -> None:
        """Wait for the load event, as long as there is hope for it.

        :raises CaptureError: the page crashed or did what ends a capture; so do the others.
        """
        watch = self._watch
        while not await watch.until(lambda: watch.loaded or bool(watch.excess), self._deadline.soon(0.5)):
            if self._deadline.is_due() or (watch.parsed and self._stalls()):
                self.gave_up = True
                break
        if watch.excess:
            await self._page.hold()

    def _stalls(self) -> bool:
        """Whether a page that is there, but for some of what it asked for, has had its time."""
        limit = min(self._watch.activity + STALL_LIMIT, self._watch.parsed_at + LOAD_LIMIT)
        return self._deadline.now() > limit

    async def settle(self, page_time: int) -> None:
        """Let the page come to rest; follow it where it sends itself elsewhere.

        :param page_time: milliseconds of its own time that the page gets.
        """
        watch, deadline = self._watch, self._deadline
        limit = deadline.soon(SETTLE_LIMIT)
        while True:
            first_paint = min(limit, deadline.now() + PAINT_LIMIT)
            await watch.until(lambda: watch.painted or watch.leaving, first_paint)
            await self._pass_time(page_time, limit)
            if watch.excess:
                await self._page.hold()
            if self._page.held or deadline.now() >= limit or (watch.loaded and not watch.leaving):
                return
            if not await watch.until(lambda: not watch.leaving, limit):
                return
            self._page.run_clock(page_time)
            await self.load()
            if not watch.loaded:
                return

    async def _pass_time(self, page_time: int, limit: float) -> None:
        """Let the page's own time pass, however long the network takes, but not beyond a loop time."""
        watch, documents = self._watch, self._watch.documents

        def rests() -> bool:
            return watch.expired or watch.leaving or bool(watch.excess) or watch.documents != documents

        if watch.loaded and not self._page.held:
            self._page.run_clock(page_time)
            while not await watch.until(rests, min(limit, self._deadline.now() + 0.25)):
                if self._deadline.now() >= limit or self._deadline.now() - watch.activity > QUIET_LIMIT:
                    break
        if not rests() or not watch.loaded or self._page.held:
            self._page.run_clock(FORCED_TIME, whatever=True)
            await watch.until(lambda: watch.expired, min(self._deadline.hard, self._deadline.now() + 1))

    async def reveal(self, page_time: int) -> None:
        """Scroll through the page so that what loads late is there, and wait for it."""
        if self._page.held or self.gave_up:
            return
        limit = (self._deadline.soft - self._deadline.now()) / 2
        world = await self._page.world(limit)
        if world is not None:
            await self._page.evaluate(scripts.REVEAL % MAX_PAGE_HEIGHT, limit, world)
        await self.settle(page_time)

    def moves_on(self) -> bool:
        """Whether the page has gone on since it had come to rest."""
        return self._watch.leaving or not self._watch.loaded or self._watch.in_flight > 0
