"""What unit tests share: one PostgreSQL server for all that ask for it."""

from collections.abc import Iterator

import pytest

from tests.postgres import postgres_server


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a server's own database; starting one takes a second or two."""
    with postgres_server() as url:
        yield url
