"""The capture worker, put together: Celery's threads, the engine, and housekeeping.

A wake-up makes a thread claim snapshots until there are none left. Beside that
one thread keeps house: it says that the worker is alive, takes back what dead
workers held, wakes idle threads for what nobody was told about, and sweeps.
"""

import logging
import threading
import time
import warnings

from celery.platforms import SecurityWarning
from celery.signals import worker_shutting_down

from linkpeek.engine import Engine, Interrupted
from linkpeek.errors import CaptureError, LinkPeekError, Unavailable
from linkpeek.resources import Resources
from linkpeek.security import random_token
from linkpeek.services.captures import CaptureService, Claim
from linkpeek.services.workers import BEAT
from linkpeek.tasks import CAPTURE_TASK, make_broker_folders, make_celery

log = logging.getLogger(__name__)

#: Seconds a stopping worker lets captures finish before it gives them back.
#: Upstart kills what has not ended 5 seconds after TERM (init(5), "kill timeout").
STOP_GRACE = 2.0
#: Seconds between two looks for work that nobody was told about.
TICK = 1.0
SWEEP_EVERY = 600.0


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
        self._busy = 0
        self._lock = threading.Lock()

    def run(self) -> None:
        """Work until TERM or INT.

        :raises ConfigurationError: when the service was not initialised, or no browser can be started.
        """
        self._resources.require_ready()
        self._engine.start()
        # Before the first claim: to other workers a lease of an unknown worker is a dead one's.
        self._beat()
        log.info("worker %s captures with %s", self._id, self._engine.browser_version)
        housekeeper = threading.Thread(target=self._keep_house, name="housekeeper", daemon=True)
        housekeeper.start()
        try:
            self._serve()
        finally:
            self._stopping.set()
            housekeeper.join(STOP_GRACE)
            self._engine.stop()
            self._leave()
            log.info("worker %s has stopped", self._id)

    def _serve(self) -> None:
        """Listen to the broker; returns after a stop signal, when all threads have ended."""
        make_broker_folders(self._settings)
        # Whether root may run a browser is this service's own decision, made before this.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        app = make_celery(self._settings)
        app.task(name=CAPTURE_TASK)(self._drain)
        worker_shutting_down.connect(self._stop_soon, weak=False)
        app.Worker(
            pool="threads",
            concurrency=self._settings.concurrency,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            loglevel=logging.getLogger().level,
            redirect_stdouts=False,
            quiet=True,
        ).start()

    def _stop_soon(self, **_: object) -> None:
        self._stopping.set()
        timer = threading.Timer(STOP_GRACE, self._engine.interrupt)
        timer.daemon = True
        timer.start()

    def _drain(self) -> None:
        """Capture until nothing is left to claim: what a wake-up means."""
        with self._lock:
            self._busy += 1
        try:
            while not self._stopping.is_set() and (claim := self._captures.claim()) is not None:
                self._work(claim)
        except Unavailable as exc:
            log.error("%s", exc.message)
        finally:
            with self._lock:
                self._busy -= 1

    def _work(self, claim: Claim) -> None:
        started = time.monotonic()
        try:
            capture = self._engine.capture(claim.request)
            if not self._captures.finish(claim, capture):
                log.warning("snapshot %s: the lease was lost", claim.token)
        except Interrupted:
            self._captures.give_back(claim)
            log.info("snapshot %s: given back", claim.token)
        except LinkPeekError as exc:
            self._fail(claim, exc)
        except Exception:
            log.exception("snapshot %s: the capture failed in a way nobody thought of", claim.token)
            self._fail(claim, CaptureError("The capture failed.", code="internal-error"))
        else:
            log.info("snapshot %s: ready after %.3f s", claim.token, time.monotonic() - started)

    def _fail(self, claim: Claim, error: LinkPeekError) -> None:
        delay = self._captures.fail(claim, error)
        again = "" if delay is None else f"; next attempt in {delay:g} s"
        log.info("snapshot %s: %s: %s%s", claim.token, error.code, error.message, again)

    def _keep_house(self) -> None:
        last_beat = last_sweep = float("-inf")
        while not self._stopping.wait(TICK):
            now = time.monotonic()
            try:
                if now - last_beat >= BEAT:
                    self._beat()
                    last_beat = now
                self._wake_idle()
                if now - last_sweep >= SWEEP_EVERY:
                    self._resources.sweeper.sweep()
                    last_sweep = now
            except LinkPeekError as exc:
                log.error("housekeeping: %s", exc.message)
            except Exception:
                log.exception("housekeeping failed")

    def _beat(self) -> None:
        workers = self._resources.workers
        workers.beat(self._id, self._settings.concurrency, self._engine.browser_version)
        taken_back = workers.bury_dead()
        if taken_back:
            log.warning("took back %d captures of dead workers", taken_back)

    def _wake_idle(self) -> None:
        idle = self._settings.concurrency - self._busy
        for _ in range(min(idle, self._resources.sweeper.due()) if idle > 0 else 0):
            self._resources.wake()

    def _leave(self) -> None:
        try:
            self._resources.workers.leave(self._id)
        except Unavailable as exc:
            log.error("%s", exc.message)
