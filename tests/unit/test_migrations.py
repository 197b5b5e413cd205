from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from linkpeek import migrations, models, ratelimit_storage
from linkpeek.db import Base, make_engine
from linkpeek.errors import ConfigurationError, Unavailable

assert models
assert ratelimit_storage


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    url = f"sqlite:///{tmp_path}/x.sqlite"
    server = None
    if request.param == "postgresql":
        server_url = request.getfixturevalue("postgres_url")
        server = sa.create_engine(server_url, isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(sa.text("CREATE DATABASE migrations"))
        url = sa.make_url(server_url).set(database="migrations").render_as_string(hide_password=False)
    engine = make_engine(url)
    yield engine
    engine.dispose()
    if server is not None:
        with server.connect() as connection:
            connection.execute(sa.text("DROP DATABASE migrations"))
        server.dispose()


def tables(engine: sa.Engine) -> set[str]:
    return set(sa.inspect(engine).get_table_names())


def test_make_what_the_models_describe(engine: sa.Engine) -> None:
    migrations.upgrade(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert tables(engine) == {*Base.metadata.tables, "alembic_version"}


def test_the_active_key_is_unique_among_the_active_only(engine: sa.Engine) -> None:
    # What the comparison above does not look at: the condition of the partial index.
    migrations.upgrade(engine)
    (index,) = [
        i for i in sa.inspect(engine).get_indexes("snapshot") if i["name"] == "uq_snapshot_active_key"
    ]
    assert index["unique"]
    where = index["dialect_options"][f"{engine.dialect.name}_where"]
    assert "queued" in str(where)
    assert "capturing" in str(where)


def test_may_be_run_again_and_keep_all_data(engine: sa.Engine) -> None:
    migrations.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(
            sa.insert(ratelimit_storage.RATE_COUNTER).values(key="k", count=1, started_at=1, expires_at=2)
        )
    migrations.upgrade(engine)
    with engine.connect() as connection:
        assert connection.scalar(sa.select(ratelimit_storage.RATE_COUNTER.c.count)) == 1


@pytest.mark.parametrize("statement", range(1, 9))
def test_all_of_it_is_made_or_nothing(engine: sa.Engine, statement: int) -> None:
    """As when the process is killed, or the disk is full."""
    left = statement

    def fail(connection: object, cursor: object, text: str, *_: object) -> None:
        nonlocal left
        left -= text.lstrip().startswith("CREATE")
        if not left:
            raise OSError("no more")

    sa.event.listen(engine, "before_cursor_execute", fail)
    with pytest.raises(OSError, match="no more"):
        migrations.upgrade(engine)
    sa.event.remove(engine, "before_cursor_execute", fail)
    assert tables(engine) == set()
    migrations.upgrade(engine)
    migrations.require_current(engine)


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_user_that_may_make_no_tables_is_told_so(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE ROLE poor LOGIN")
    poor = make_engine(engine.url.set(username="poor").render_as_string(hide_password=False))
    try:
        with pytest.raises(ConfigurationError, match="permission denied for schema public"):
            migrations.upgrade(poor)
    finally:
        poor.dispose()
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP ROLE poor")


def test_can_be_taken_back(engine: sa.Engine) -> None:
    migrations.upgrade(engine)
    config = migrations._config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert tables(engine) == {"alembic_version"}
    migrations.upgrade(engine)
    migrations.require_current(engine)


class TestRequiring:
    def test_the_schema_of_this_version_is_right(self, engine: sa.Engine) -> None:
        migrations.upgrade(engine)
        migrations.require_current(engine)

    def test_an_empty_database_has_to_be_initialised(self, engine: sa.Engine) -> None:
        with pytest.raises(ConfigurationError) as caught:
            migrations.require_current(engine)
        assert "not initialised; run `linkpeek init CONFIG.ini`" in caught.value.message

    def test_another_versions_schema_is_told(self, engine: sa.Engine) -> None:
        migrations.upgrade(engine)
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        for use in (migrations.require_current, migrations.upgrade):
            with pytest.raises(ConfigurationError) as caught:
                use(engine)
            assert "newer than this LinkPeek (schema 9999" in caught.value.message
            assert "restore the backup" in caught.value.message


def test_a_database_that_does_not_answer_is_told() -> None:
    with pytest.raises(Unavailable):
        migrations.require_current(make_engine("sqlite:////nonexistent/x.sqlite"))


def test_revisions_are_one_line_from_the_first_to_the_last() -> None:
    script = ScriptDirectory.from_config(migrations._config())
    assert len(script.get_heads()) == 1
    revisions = [revision.revision for revision in script.walk_revisions()]
    assert all(migrations.is_known(revision) for revision in revisions)
    assert not migrations.is_known("9999")
