"""The database's schema: made and brought up to date by Alembic, in the package itself."""

from functools import lru_cache

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Engine

from linkpeek.db import translated
from linkpeek.errors import ConfigurationError

#: Where Alembic notes what a database has; read here without Alembic, for it is read often.
_VERSION = sa.table("alembic_version", sa.column("version_num"))


@lru_cache
def _head() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "linkpeek:migrations")
    config.set_main_option("path_separator", "os")
    return config


def upgrade(engine: Engine) -> None:
    """Make the schema, or bring it up to date, all of it or nothing; keeps all data.

    :raises ConfigurationError: when the database's user may not, or it is a newer version's.
    """
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                # Else Python's driver begins with the first row that is written, and what is
                # made before that stays, though the rest never comes.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            _refuse_newer(current_revision(connection))
            upgrade_to(connection)
    except sa.exc.ProgrammingError as exc:
        reason = str(exc.orig).strip().partition("\n")[0]
        raise ConfigurationError(f"the database cannot be prepared: {reason}") from exc


def upgrade_to(connection: sa.Connection, revision: str = "head") -> None:
    """Bring the schema up to a revision, in the transaction of this connection."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def is_known(revision: str) -> bool:
    """Tell whether this version can read a database of a revision."""
    return any(
        script.revision == revision for script in ScriptDirectory.from_config(_config()).walk_revisions()
    )


def current_revision(connection: sa.Connection) -> str | None:
    """Give the revision of a database's schema; None before ``linkpeek init``."""
    if not sa.inspect(connection).has_table(_VERSION.name):
        return None
    return connection.scalar(sa.select(_VERSION.c.version_num))


def require_current(engine: Engine) -> None:
    """See to it that the schema is the one this version works with.

    :raises ConfigurationError: when ``linkpeek init`` has to be run, or the
        database belongs to a newer version.
    """
    head = _head()
    with translated(), engine.connect() as connection:
        current = current_revision(connection)
    if current != head:
        _refuse_newer(current)
        have = "not initialised" if current is None else f"at schema {current}, not {head}"
        raise ConfigurationError(f"the database is {have}; run `linkpeek init CONFIG.ini`")


def _refuse_newer(current: str | None) -> None:
    if current is not None and not is_known(current):
        raise ConfigurationError(
            f"the database is newer than this LinkPeek (schema {current}, not {_head()}): "
            "install the version that made it, or restore the backup from before the upgrade"
        )
