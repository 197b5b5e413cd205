"""What web, worker and command line have in common: made once from the settings.

Nothing here opens a connection or starts a thread when it is made, so the web
application can be loaded before uWSGI forks.
"""

from dataclasses import dataclass
from functools import cached_property

from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session, sessionmaker

from linkpeek.db import make_engine, make_sessions, require_writable_folder
from linkpeek.migrations import require_current
from linkpeek.ratelimit_storage import DatabaseStorage
from linkpeek.security import SecretBox
from linkpeek.services.keys import Authenticator
from linkpeek.services.limits import LimitService
from linkpeek.services.lookups import Lookups
from linkpeek.services.renditions import RenditionService
from linkpeek.services.sweep import SweepService
from linkpeek.services.workers import WorkerService
from linkpeek.settings import Rate, Settings
from linkpeek.storage import Storage, storage_from_url
from linkpeek.tasks import WakeUp, embedded_folder, make_celery

#: Failed attempts that one address may have; a client set up wrong is told so all the same.
FAILURE_RATE = Rate(60, 60)


@dataclass(frozen=True)
class Resources:
    """The outside things of one process and the services that need no request.

    :param settings: everything else follows from them.
    """

    settings: Settings

    @cached_property
    def box(self) -> SecretBox:
        """The service's secret."""
        return SecretBox.from_file(self.settings.secret_file)

    @cached_property
    def engine(self) -> Engine:
        """The database."""
        return make_engine(self.settings.database_url)

    @cached_property
    def counter_engine(self) -> Engine:
        """The database again, for what counts callers.

        A request counts while it holds a connection of the other engine. With only
        one pool, all that hold one could wait for one another.
        """
        return make_engine(self.settings.database_url)

    @cached_property
    def sessions(self) -> sessionmaker[Session]:
        """Makes sessions on the database."""
        return make_sessions(self.engine)

    @cached_property
    def storage(self) -> Storage:
        """Where images are kept."""
        return storage_from_url(self.settings.storage_url)

    @cached_property
    def wake(self) -> WakeUp:
        """Tells a worker that there is something to do."""
        return WakeUp(make_celery(self.settings), embedded_folder(self.settings))

    @cached_property
    def limit_storage(self) -> DatabaseStorage:
        """Where callers are counted."""
        return DatabaseStorage(engine=self.counter_engine)

    @cached_property
    def capture_limits(self) -> LimitService:
        """Counts new captures per caller."""
        return LimitService(self.limit_storage, self.settings.rate_limit, "captures")

    @cached_property
    def rendition_limits(self) -> LimitService:
        """Counts other sizes of captures, where strangers choose them, per address."""
        return LimitService(self.limit_storage, self.settings.rate_limit, "renditions")

    @cached_property
    def failure_limits(self) -> LimitService:
        """Counts failed attempts to use a key per address."""
        return LimitService(self.limit_storage, FAILURE_RATE, "failures")

    @cached_property
    def lookups(self) -> Lookups:
        """Finds keys and ready snapshots, for requests that need no more."""
        return Lookups(self.engine, ttl=self.settings.ttl)

    @cached_property
    def authenticator(self) -> Authenticator:
        """Tells who is calling."""
        return Authenticator(self.lookups.credentials, self.box)

    @cached_property
    def renditions(self) -> RenditionService:
        """Makes the pictures that clients get."""
        return RenditionService(self.storage)

    @cached_property
    def workers(self) -> WorkerService:
        """The list of capture workers."""
        return WorkerService(self.sessions)

    @cached_property
    def sweeper(self) -> SweepService:
        """Takes back lost work and deletes what is too old."""
        return SweepService(
            self.sessions,
            self.storage,
            self.workers,
            retention_days=self.settings.retention_days,
            max_bytes=self.settings.storage_max_bytes,
            purge_counters=self.limit_storage.purge,
        )

    def require_ready(self) -> None:
        """See to it that the service was initialised, and leave no connection open.

        :raises ConfigurationError: saying to run ``linkpeek init``, or which folder is read-only.
        """
        _ = self.box
        require_writable_folder(self.engine)
        require_current(self.engine)
        self.close()

    def close(self) -> None:
        """Close all connections to the database; new ones are opened when they are needed."""
        self.engine.dispose()
        self.counter_engine.dispose()
