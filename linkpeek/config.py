"""The web application, put together: the one place that knows all its parts."""

from functools import cached_property
from typing import Any

import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.interfaces import IRequestExtensions
from pyramid.request import Request
from pyramid_tm import explicit_manager
from sqlalchemy.orm import Session

from linkpeek import embedded
from linkpeek.at_once import AtOnce
from linkpeek.migrations import require_current
from linkpeek.proxies import TrustedProxies, subscriber
from linkpeek.requestlog import with_request_log
from linkpeek.resources import Resources
from linkpeek.services.health import HealthService
from linkpeek.services.keys import Authenticator
from linkpeek.services.lookups import Lookups
from linkpeek.services.renditions import RenditionService
from linkpeek.services.snapshots import SnapshotService
from linkpeek.services.timings import note_answer
from linkpeek.services.waiting import WaitingRoom
from linkpeek.settings import Settings
from linkpeek.storage import Storage
from linkpeek.views.csrf import CookieTokens
from linkpeek.views.orders import Orders

#: What Pyramid's add-on for transactions does with each request.
TRANSACTIONS = {"tm.annotate_user": "false"}


def make_app(settings: Settings, raw: dict[str, Any]) -> TrustedProxies:
    """Make the WSGI application.

    :param settings: the service's settings.
    :param raw: the ini section as it is, for Pyramid and its add-ons.
    :raises ConfigurationError: when the service was not initialised.
    """
    resources = Resources(settings)
    resources.require_ready()
    config = Configurator(settings={**raw, **TRANSACTIONS}, request_factory=ServiceRequest)
    config.include("pyramid_tm")
    config.include("pyramid_jinja2")
    config.set_csrf_storage_policy(CookieTokens())
    config.registry.resources = resources
    config.registry.waiting_room = WaitingRoom(resources.sessions, settings.waiters, settings.wait)
    config.registry.orders = Orders()
    config.registry.health = make_health(resources)
    config.add_tween("linkpeek.views.headers.tween_factory")
    config.include("linkpeek.routes")
    config.scan("linkpeek.views")
    config.commit()
    # Else Pyramid makes a new class for each request, for which a bare view would do as much work.
    config.registry.getUtility(IRequestExtensions).descriptors.pop("tm")
    if settings.worker == "embedded":
        embedded.start(settings)
    app = AtOnce(config.make_wsgi_app(), config.registry)
    return TrustedProxies(with_request_log(app), settings.trusted_proxies)


def make_session(request: Request) -> Session:
    """Make the session of one request, joined to its transaction."""
    session: Session = request.registry.resources.sessions()
    # "changed": what the services write through Core statements is committed too.
    zope.sqlalchemy.register(session, initial_state="changed", transaction_manager=request.tm)
    return session


def make_health(resources: Resources) -> HealthService:
    """Make the checks that decide whether this service is ready for work."""
    return HealthService(
        {
            "database": lambda: require_current(resources.engine),
            "storage": resources.storage.check,
            "broker": resources.wake.check,
            "worker": resources.workers.require_alive,
        }
    )


class ServiceRequest(Request):  # type: ignore[misc]  # Pyramid has no types
    """A request, and what belongs to it."""

    @cached_property
    def tm(self) -> Any:
        """Its transactions."""
        return explicit_manager(self)

    @cached_property
    def dbsession(self) -> Session:
        """Its session, joined to its transactions."""
        return make_session(self)

    @cached_property
    def services(self) -> "Services":
        """The services."""
        return Services(self)


class Services:
    """The services of one request, each made when it is first asked for."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._resources: Resources = request.registry.resources

    @property
    def settings(self) -> Settings:
        """The service's settings."""
        return self._resources.settings

    @property
    def renditions(self) -> RenditionService:
        """Makes the pictures that clients get."""
        return self._resources.renditions

    @property
    def storage(self) -> Storage:
        """Where images are kept."""
        return self._resources.storage

    @property
    def waiting_room(self) -> WaitingRoom:
        """Where requests wait for a capture."""
        room: WaitingRoom = self._request.registry.waiting_room
        return room

    @property
    def authenticator(self) -> Authenticator:
        """Tells who is calling."""
        return self._resources.authenticator

    @property
    def lookups(self) -> Lookups:
        """Finds what is ready."""
        return self._resources.lookups

    @cached_property
    def snapshots(self) -> SnapshotService:
        """The snapshots."""
        return SnapshotService(
            self._request.dbsession,
            self._resources.capture_limits,
            self._wake_after_commit,
            ttl=self.settings.ttl,
            queue_limit=self.settings.queue_limit,
        )

    def requester(self) -> str:
        """Name the caller by its network address, without keeping the address itself."""
        return "address:" + self._resources.box.digest(subscriber(self._request.client_addr or ""))

    def seal(self, token: str) -> str:
        """Give what proves that the path of a capture's page was made here (32 hex digits)."""
        return self._resources.box.digest(f"page of {token}")

    def count_failure(self) -> None:
        """Count a failed attempt to use a key.

        :raises LimitExceeded: ``rate-limited``, when the caller's address had too many.
        """
        self._resources.failure_limits.count(self.requester())

    def count_rendition(self) -> None:
        """Count a picture that is made of a capture for whoever looks at its page.

        :raises LimitExceeded: ``rate-limited``, when the caller's address had too many.
        """
        self._resources.rendition_limits.count(self.requester())

    def note_answer(self, snapshot_id: int, *, encode: float, answer: float) -> None:
        """Note how many seconds the last steps to a first picture took."""
        note_answer(self._resources.sessions, snapshot_id, encode=encode, answer=answer)

    def commit(self) -> None:
        """Commit now and go on in a new transaction: what follows waits for others to act on it."""
        self._request.tm.commit()
        self._request.tm.begin()

    def _wake_after_commit(self) -> None:
        def wake(committed: bool) -> None:
            if committed:
                self._resources.wake()

        self._request.tm.get().addAfterCommitHook(wake)
