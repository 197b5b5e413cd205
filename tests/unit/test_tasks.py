import logging
import shutil
import socket
import time
from pathlib import Path

import pytest

from linkpeek.errors import Unavailable
from linkpeek.tasks import (
    CAPTURE_TASK,
    QUEUE,
    WakeUp,
    broker_folder,
    embedded_folder,
    make_broker_folders,
    make_celery,
)
from tests.factories import make_settings


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def make_wake(folder: Path, **overrides: object) -> WakeUp:
    settings = make_settings(folder, **overrides)
    make_broker_folders(settings)
    return WakeUp(make_celery(settings), embedded_folder(settings))


def messages(folder: Path) -> list[Path]:
    return list((folder / "broker").glob(f"*.{QUEUE}.msg"))


class TestCelery:
    def test_making_it_opens_nothing(self, tmp_path: Path) -> None:
        make_celery(make_settings(tmp_path))
        make_celery(make_settings(tmp_path, broker_url="redis://127.0.0.1:1/"))
        assert list(tmp_path.iterdir()) == []

    def test_two_services_in_one_process_do_not_mix(self, tmp_path: Path) -> None:
        make_wake(tmp_path / "a")()
        make_wake(tmp_path / "b")
        assert len(messages(tmp_path / "a")) == 1
        assert messages(tmp_path / "b") == []

    def test_a_message_is_heard(self, tmp_path: Path) -> None:
        settings = make_settings(tmp_path)
        make_wake(tmp_path)()
        with make_celery(settings).connection_for_read() as connection:
            message = connection.SimpleQueue(QUEUE).get(timeout=5)
        assert message.headers["task"] == CAPTURE_TASK
        assert message.payload[:2] == [[], {}]


class TestWakeUp:
    def test_the_embedded_broker_takes_messages(self, tmp_path: Path) -> None:
        wake = make_wake(tmp_path)
        wake.check()
        for _ in range(3):
            wake()
        assert len(messages(tmp_path)) == 3

    def test_the_check_leaves_nothing(self, tmp_path: Path) -> None:
        make_wake(tmp_path).check()
        assert messages(tmp_path) == []
        assert [path.name for path in (tmp_path / "broker").iterdir()] == ["control"]

    def test_a_folder_that_is_gone_is_told_and_fails_nobody(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        wake = make_wake(tmp_path)
        shutil.rmtree(broker_folder(make_settings(tmp_path)))
        with pytest.raises(Unavailable) as caught:
            wake.check()
        assert caught.value.code == "broker-unavailable"
        with caplog.at_level(logging.WARNING):
            wake()
        assert "the broker takes no message" in caplog.text

    @pytest.mark.parametrize("scheme", ["redis", "amqp"])
    def test_a_server_that_is_gone_is_told_and_holds_nobody_up(self, tmp_path: Path, scheme: str) -> None:
        wake = make_wake(tmp_path, broker_url=f"{scheme}://127.0.0.1:{closed_port()}//")
        started = time.monotonic()
        wake()
        assert time.monotonic() - started < 2
        with pytest.raises(Unavailable):
            wake.check()
        assert time.monotonic() - started < 6

    @pytest.mark.parametrize("scheme", ["redis", "amqp"])
    def test_every_wait_for_a_server_has_an_end(self, tmp_path: Path, scheme: str) -> None:
        app = make_celery(make_settings(tmp_path, broker_url=f"{scheme}://127.0.0.1:1//"))
        options = app.conf.broker_transport_options
        assert options["max_retries"] <= 1
        if scheme == "redis":
            assert options["socket_connect_timeout"] <= 5
            # The worker reads for 10 seconds at a time.
            assert 10 < options["socket_timeout"] <= 30
        else:
            assert app.conf.broker_connection_timeout <= 5
            assert options["read_timeout"] <= 5
            assert options["write_timeout"] <= 5
