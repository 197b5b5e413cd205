"""The capture worker, put together: Celery's threads, the engine, and housekeeping.

A wake-up makes a thread claim snapshots until there are none left; where as many
threads as may be do that already, it is heard and forgotten. Beside that the
worker says that it is alive, takes back what dead workers held, looks for work
that no wake-up came for, and sweeps.
"""

import logging
import queue
import signal
import threading
import time
import warnings
from collections.abc import Callable
from types import FrameType

from celery.platforms import EX_OK, SecurityWarning
from celery.signals import worker_ready
from celery.worker import state as celery_state

from linkpeek import broker
from linkpeek.capture.model import Capture
from linkpeek.engine import Engine, Interrupted
from linkpeek.errors import CaptureError, LinkPeekError, Unavailable
from linkpeek.resources import Resources
from linkpeek.security import random_token
from linkpeek.services.captures import CaptureService, Claim
from linkpeek.services.workers import BEAT
from linkpeek.tasks import CAPTURE_TASK, make_broker_folders, make_celery

log = logging.getLogger(__name__)

#: HUP is for the supervisor to follow up with a new worker, or from a terminal that is closed.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Seconds a stopping worker lets captures finish before it gives them back.
#: Upstart kills what has not ended 5 seconds after TERM (init(5), "kill timeout").
STOP_GRACE = 2.0
#: Seconds that a wake-up waits for a slot, divided by their number. Meanwhile a worker that is idle
#: hears the next ones; and a slot captures fewer than ten pages a second, so that none pile up.
PATIENCE = 0.1
#: Seconds between two looks for work that nobody was told about.
TICK = 1.0
#: Seconds for the threads whose captures were cut off to queue them again.
GIVE_BACK_TIME = 0.5
SWEEP_EVERY = 600.0
#: Seconds for recording a capture that is done, and between two tries, while the database does not answer.
RECORD_TIME, RECORD_PAUSE = 15.0, 1.0


def on_stop_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """Have a function called for each of them, but for what was to be ignored from the start (nohup(1))."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


class CaptureWorker:
    """One worker process.

    :param resources: the service it works for.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._settings = resources.settings
        self._id = random_token()
        self._engine = Engine(resources.settings)
        self._captures = CaptureService(
            resources.sessions, resources.storage, self._id, resources.settings.capture_timeout
        )
        self._stopping = threading.Event()
        #: Gets an item when the worker is to stop. Unlike all else that threads talk through,
        #: a signal handler may put into it whatever it interrupted, itself too.
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._slots = threading.BoundedSemaphore(resources.settings.concurrency)
        #: Set by each wake-up: whoever has found nothing left looks once more.
        self._woken = threading.Event()
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()

    def run(self) -> None:
        """Work until one of STOP_SIGNALS comes.

        :raises ConfigurationError: when the service was not initialised, or no browser can be started.
        """
        self._resources.require_ready()
        try:
            self._engine.start()
            # Before the first claim: to other workers a lease of an unknown worker is a dead one's.
            self._beat()
            log.info("worker %s captures with %s", self._id, self._engine.browser_version)
            beating = self._keep_house()
            threading.Thread(target=self._stop_when_told, name="stop", daemon=True).start()
            self._serve()
            beating.join(STOP_GRACE)
        finally:
            self._stopping.set()
            self._engine.stop()
            self._join_threads(GIVE_BACK_TIME)
            self._leave()
            log.info("worker %s has stopped", self._id)

    def _serve(self) -> None:
        """Listen to the broker; returns after a stop signal, when all threads have ended."""
        make_broker_folders(self._settings)
        # Whether root may run a browser is this service's own decision, made before this.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        app = make_celery(self._settings)
        app.task(name=CAPTURE_TASK, Strategy=f"{broker.__name__}:{broker.strategy.__name__}")(self._wake)
        worker_ready.connect(broker.look_up_often)
        worker = app.Worker(
            pool="threads",
            concurrency=1,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            loglevel=logging.getLogger().level,
            redirect_stdouts=False,
            quiet=True,
        )
        # Celery's own handlers take a lock, and wait for it in vain where one interrupts another.
        worker.install_platform_tweaks = lambda _: None
        on_stop_signals(self._on_signal)
        worker.start()
        if celery_state.should_stop is None:
            raise Unavailable("The broker does not answer any more.", code="broker-unavailable")
        self._join_threads(STOP_GRACE + GIVE_BACK_TIME)

    def _on_signal(self, *_: object) -> None:
        """Have everything stop.

        Signals come in swarms: one for each thread of a parent that was killed (prctl(2)),
        microseconds apart.
        """
        celery_state.should_stop = EX_OK
        self._told.put(None)

    def _stop_when_told(self) -> None:
        self._told.get()
        self._stopping.set()
        time.sleep(STOP_GRACE)
        self._engine.interrupt()

    def _join_threads(self, seconds: float) -> None:
        """Wait so long for the threads, which finish or give back what they were capturing."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _wake(self) -> None:
        """Do what a wake-up means."""
        self._woken.set()
        self._start_thread(PATIENCE / self._settings.concurrency)

    def _start_thread(self, patience: float = 0) -> bool:
        """Start a thread that captures all there is; whether there was a slot for it in so many seconds."""
        if self._stopping.is_set() or not self._slots.acquire(timeout=patience):
            return False
        thread = threading.Thread(target=self._capture_all, name="capture", daemon=True)
        try:
            with self._starting:
                thread.start()
                self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        except RuntimeError:  # the machine has no more threads
            self._slots.release()
            raise
        return True

    def _capture_all(self) -> None:
        """Capture until nothing is left, in a slot that this thread holds, and give that back.

        A wake-up that found no slot may be about what came after the last look.
        """
        while True:
            self._woken.clear()
            try:
                self._claim_all()
            finally:
                self._slots.release()
            if not self._woken.is_set() or not self._slots.acquire(blocking=False):
                return

    def _claim_all(self) -> None:
        try:
            while not self._stopping.is_set() and (claim := self._captures.claim()) is not None:
                self._work(claim)
        except Unavailable as exc:
            # What was claimed is taken back when its lease ends.
            log.error("%s", exc.message)
        except Exception:
            log.exception("a capture could not be claimed or recorded")

    def _work(self, claim: Claim) -> None:
        started = time.monotonic()
        try:
            finished = self._finish(claim, self._engine.capture(claim.request))
        except Interrupted:
            self._captures.give_back(claim)
            log.info("snapshot %s: given back", claim.token)
        except LinkPeekError as exc:
            self._fail(claim, exc)
        except Exception:
            log.exception("snapshot %s: the capture failed in a way nobody thought of", claim.token)
            self._fail(claim, CaptureError("The capture failed."))
        else:
            result = "ready" if finished else "the lease was lost"
            log.info("snapshot %s: %s after %.3f s", claim.token, result, time.monotonic() - started)

    def _finish(self, claim: Claim, capture: Capture) -> bool:
        """Record a capture: what is done is not thrown away for a database that is locked for a moment.

        :raises Interrupted: the worker stops, and the database still does not answer.
        """
        deadline = time.monotonic() + RECORD_TIME
        while True:
            try:
                return self._captures.finish(claim, capture)
            except Unavailable as exc:
                if exc.code != "database-unavailable" or time.monotonic() >= deadline:
                    raise
                if self._stopping.is_set():
                    raise Interrupted from exc
                self._stopping.wait(RECORD_PAUSE)

    def _fail(self, claim: Claim, error: LinkPeekError) -> None:
        delay = self._captures.fail(claim, error)
        again = "" if delay is None else f"; next attempt in {delay:g} s"
        log.info("snapshot %s: %s: %s%s", claim.token, error.code, error.message, again)

    def _keep_house(self) -> threading.Thread:
        """Start the chores and give the thread that beats.

        Each has a thread of its own: a sweep may take minutes, and a worker that
        does not beat meanwhile would count as dead.
        """
        threads = [
            threading.Thread(target=self._repeat, args=chore, name=chore[0].__name__, daemon=True)
            for chore in ((self._beat, BEAT), (self._look, TICK), (self._sweep, SWEEP_EVERY))
        ]
        for thread in threads:
            thread.start()
        return threads[0]

    def _repeat(self, chore: Callable[[], None], pause: float) -> None:
        while not self._stopping.is_set():
            try:
                chore()
            except LinkPeekError as exc:
                log.error("%s", exc.message)
            except Exception:
                log.exception("a chore failed")
            self._stopping.wait(pause)

    def _beat(self) -> None:
        workers = self._resources.workers
        workers.beat(self._id, self._settings.concurrency, self._engine.browser_version)
        taken_back = workers.bury_dead()
        if taken_back:
            log.warning("took back %d captures of dead workers", taken_back)

    def _look(self) -> None:
        """Start what no wake-up came for: it was lost, the broker is gone, or a retry is due."""
        for _ in range(self._resources.sweeper.due()):
            if not self._start_thread():
                break

    def _sweep(self) -> None:
        self._resources.sweeper.sweep()

    def _leave(self) -> None:
        try:
            self._resources.workers.leave(self._id)
        except Unavailable as exc:
            log.error("%s", exc.message)
