"""The real application under WebTest, on a real database and storage in a folder of its own."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from linkpeek import main
from linkpeek.resources import Resources
from tests.factories import PaperWorker, make_service


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Put back what a command that was run in this process does when it is told to end."""
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[Callable[..., TestApp]]:
    """Give a function that makes the application, with settings as for ``make_service``."""
    made: list[Resources] = []

    def make(**overrides: Any) -> TestApp:
        overrides = {"wait": 0, **overrides}
        service = make_service(tmp_path, **overrides)
        made.append(service)
        settings = {f"linkpeek.{name}": str(value) for name, value in overrides.items()}
        wsgi = main({"here": str(tmp_path)}, **{"linkpeek.data_dir": str(tmp_path), **settings})
        made.append(wsgi.app.registry.resources)
        app = TestApp(wsgi, extra_environ={"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost"})
        app.service = service
        app.worker = PaperWorker(service)
        return app

    yield make
    for resources in made:
        resources.close()


@pytest.fixture
def app(make_app: Callable[..., TestApp]) -> TestApp:
    """The application with its defaults, but for waiting, which nobody would end."""
    return make_app()
