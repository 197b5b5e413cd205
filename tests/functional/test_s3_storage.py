"""S3Storage over real HTTP: against moto's server, which speaks the S3 protocol on loopback."""

import io
import socket
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import IO, Any
from urllib.parse import quote

import boto3
import pytest
from botocore.exceptions import ClientError, IncompleteReadError
from contracts.storage import OTHER, PATH, TOKEN, StorageContract, image, large_png
from moto.server import ThreadedMotoServer
from PIL import Image
from webtest import TestApp

from linkpeek.errors import ConfigurationError, NotFound, Unavailable
from linkpeek.storage import Storage, image_path, snapshot_folder, storage_from_url
from linkpeek.storage import s3 as s3_module
from linkpeek.storage.s3 import S3Storage
from tests.functional.test_api import captured

numbers = count()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sesame")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sesame")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")


@pytest.fixture
def client(endpoint: str) -> Iterator[Any]:
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    yield client
    client.close()


@pytest.fixture
def bucket(client: Any) -> str:
    name = f"linkpeek-{next(numbers)}"
    client.create_bucket(Bucket=name)
    return name


def url(bucket: str, endpoint: str, prefix: str = "/some/prefix") -> str:
    return f"s3://{bucket}{prefix}?endpoint_url={quote(endpoint, safe='')}&region_name=us-east-1"


@pytest.fixture
def storage(bucket: str, endpoint: str) -> Iterator[Storage]:
    storage = storage_from_url(url(bucket, endpoint))
    yield storage
    assert isinstance(storage, S3Storage)
    storage._client().close()


class TestContract(StorageContract):
    @pytest.fixture
    def storage(self, bucket: str, endpoint: str) -> Iterator[Storage]:
        storage = S3Storage.from_url(url(bucket, endpoint))
        yield storage
        storage._client().close()

    @pytest.fixture
    def corrupt(self, client: Any, bucket: str) -> Callable[[str, bytes], None]:
        return lambda path, data: (
            client.put_object(Bucket=bucket, Key=f"some/prefix/{path}", Body=data) and None
        )


class TestObjects:
    def test_an_object_says_what_it_is(self, storage: Storage, client: Any, bucket: str) -> None:
        storage.put(image_path(TOKEN, "336", "webp"), image(image_format="WEBP"))

        head = client.head_object(Bucket=bucket, Key=f"some/prefix/{snapshot_folder(TOKEN)}/336.webp")
        assert head["ContentType"] == "image/webp"

    def test_without_a_prefix(self, client: Any, bucket: str, endpoint: str) -> None:
        storage = S3Storage.from_url(url(bucket, endpoint, ""))
        storage.put(PATH, image())

        assert [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]] == [PATH]
        storage._client().close()

    def test_leaves_the_rest_of_the_bucket_alone(self, storage: Storage, client: Any, bucket: str) -> None:
        keys = ["some/prefix", "some/prefix2/x", f"other/{PATH}", PATH]
        for key in keys:
            client.put_object(Bucket=bucket, Key=key, Body=b"x")

        assert storage.usage() == 0
        assert list(storage.tokens(older_than=-60)) == []
        assert storage.delete(snapshot_folder(TOKEN)) == 0
        assert len(client.list_objects_v2(Bucket=bucket)["Contents"]) == len(keys)

    def test_deletes_nothing_whose_name_only_begins_the_same(
        self, storage: Storage, client: Any, bucket: str
    ) -> None:
        client.put_object(Bucket=bucket, Key=f"some/prefix/{snapshot_folder(TOKEN)}.copy/336.png", Body=b"x")
        storage.put(PATH, image())

        assert storage.delete(snapshot_folder(TOKEN)) == len(image())
        assert storage.usage() == 1

    def test_goes_through_more_than_one_page(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(s3_module, "PAGE", 3)
        for number in range(10):
            storage.put(image_path(TOKEN, str(number), "png"), image())
        storage.put(image_path(OTHER, "336", "png"), image())

        assert storage.usage() == 11 * len(image())
        assert list(storage.tokens(older_than=-60)) == [TOKEN, OTHER]
        assert storage.delete(snapshot_folder(TOKEN)) == 10 * len(image())
        assert storage.usage() == len(image())

    def test_a_probe_that_was_left_is_swept(self, storage: Storage, client: Any, bucket: str) -> None:
        client.put_object(Bucket=bucket, Key="some/prefix/.probe-left", Body=b"x")

        assert storage.sweep_temporary(older_than=3600) == 0
        assert storage.sweep_temporary(older_than=-60) == 1
        assert storage.usage() == 0


class Body(io.RawIOBase):
    """What comes of an object, in parts, and with an error in the end if there is one."""

    def __init__(self, parts: Iterable[bytes], error: Exception | None = None) -> None:
        self._parts = iter(parts)
        self._error = error

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(1), b""))
        part = next(self._parts, b"")
        if not part and self._error is not None:
            raise self._error
        return part

    def get_object(self, **_: object) -> dict[str, Any]:
        return {"Body": self}


class TestLargeImages:
    @pytest.fixture
    def opened(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Callable[[Body], IO[bytes]]:
        def opened(body: Body) -> IO[bytes]:
            with monkeypatch.context() as patch:
                patch.setattr(storage, "_client", lambda: body)
                return storage.open(PATH)

        return opened

    @pytest.fixture
    def temporary(self, monkeypatch: pytest.MonkeyPatch) -> list[IO[bytes]]:
        """Note the temporary files."""
        files: list[IO[bytes]] = []
        real = tempfile.SpooledTemporaryFile
        monkeypatch.setattr(
            "tempfile.SpooledTemporaryFile", lambda size: files.append(real(size)) or files[-1]
        )
        return files

    def test_takes_little_memory(self, opened: Callable[[Body], IO[bytes]]) -> None:
        opened(Body(large_png(2))).close()  # all that is made once is there
        body = Body(large_png(64))
        tracemalloc.start()
        try:
            with opened(body) as file:
                size = sum(map(len, iter(lambda: file.read(2**16), b"")))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert size > 64 * 2**20
        assert peak < 32 * 2**20, "what other threads of the process take counts too"
        assert body.closed

    @pytest.mark.parametrize("megabytes", [0, 5])
    def test_what_breaks_off_leaves_nothing(
        self, opened: Callable[[Body], IO[bytes]], temporary: list[IO[bytes]], megabytes: int
    ) -> None:
        error = IncompleteReadError(actual_bytes=1, expected_bytes=2)
        body = Body(list(large_png(megabytes))[:-1], error)
        with pytest.raises(Unavailable) as caught:
            opened(body)
        assert caught.value.code == "storage-unavailable"
        assert [file.closed for file in [body, *temporary]] == [True, True]

    @pytest.mark.parametrize("megabytes", [0, 5])
    def test_a_damaged_one_leaves_nothing(
        self, opened: Callable[[Body], IO[bytes]], temporary: list[IO[bytes]], megabytes: int
    ) -> None:
        body = Body([*large_png(megabytes), b"more"])
        with pytest.raises(NotFound) as caught:
            opened(body)
        assert caught.value.code == "image-damaged"
        assert [file.closed for file in [body, *temporary]] == [True, True]


def test_the_service_on_it(make_app: Callable[..., TestApp], client: Any, bucket: str, endpoint: str) -> None:
    app = make_app(storage_url=url(bucket, endpoint))
    place = captured(app).location
    path = place.partition("/snapshots/")[2]
    assert Image.open(io.BytesIO(app.get(place).body)).size == (336, 252)

    client.put_object(Bucket=bucket, Key=f"some/prefix/{path}", Body=b"garbage")
    refused = app.get(place, expect_errors=True)
    assert (refused.status_code, refused.headers["X-LinkPeek-Error"]) == (404, "image-damaged")
    assert captured(app).location != place
    for resources in (app.service, app.app.app.registry.resources):
        resources.storage._client().close()


class TestFaults:
    def test_a_bucket_that_is_not_there(self, endpoint: str) -> None:
        storage = S3Storage.from_url(url("no-such-bucket", endpoint))
        for question in (
            storage.check,
            storage.usage,
            lambda: storage.get(PATH),
            lambda: storage.put(PATH, image()),
            lambda: storage.delete(snapshot_folder(TOKEN)),
        ):
            with pytest.raises(Unavailable) as caught:
                question()
            assert caught.value.code == "storage-unavailable"
        storage._client().close()

    def test_nobody_listens(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            storage = S3Storage.from_url(url("bucket", f"http://127.0.0.1:{unused.getsockname()[1]}"))
            with pytest.raises(Unavailable) as caught:
                storage.get(PATH)
        assert caught.value.code == "storage-unavailable"
        assert "127.0.0.1" not in caught.value.message
        storage._client().close()

    def test_a_check_that_gets_no_answer_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(s3_module, "CHECK_SECONDS", 0.5)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            storage = S3Storage.from_url(url("bucket", f"http://127.0.0.1:{silent.getsockname()[1]}"))
            start = time.monotonic()
            with pytest.raises(Unavailable) as caught:
                storage.check()
            assert time.monotonic() - start < 3
        assert caught.value.code == "storage-unavailable"

    @pytest.mark.parametrize(
        ("code", "status", "expected"),
        [
            ("QuotaExceeded", 403, "storage-full"),
            ("XMinioStorageFull", 507, "storage-full"),
            ("AccessDenied", 403, "storage-unavailable"),
            ("SlowDown", 503, "storage-unavailable"),
        ],
    )
    def test_errors_get_our_codes(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch, code: str, status: int, expected: str
    ) -> None:
        class Failing:
            def put_object(self, **_: object) -> None:
                raise ClientError(
                    {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject"
                )

        with monkeypatch.context() as patch:
            patch.setattr(storage, "_client", Failing)
            with pytest.raises(Unavailable) as caught:
                storage.put(PATH, image())
        assert caught.value.code == expected

    def test_no_credentials(self, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        storage = S3Storage.from_url(url("bucket", endpoint))

        with pytest.raises(Unavailable):
            storage.get(PATH)
        storage._client().close()


class TestUrl:
    @pytest.mark.parametrize(
        "bad",
        [
            "s3:",
            "s3://",
            "s3:/bucket",
            "s3://Bucket",
            "s3://b",
            "s3://key:secret@bucket",
            "s3://bucket:80",
            "s3://bucket/../x",
            "s3://bucket/x/..",
            "s3://bucket/x?y=1",
            "s3://bucket/a//b",
            "s3://bucket/p#f",
            "s3://bucket?aws_secret_access_key=sesame",
            "s3://bucket?endpoint_url=",
        ],
    )
    def test_refuses_others_without_repeating_them(self, bad: str) -> None:
        with pytest.raises(ConfigurationError, match="storage_url") as caught:
            storage_from_url(bad)
        assert "sesame" not in caught.value.message
        assert "secret@" not in caught.value.message

    def test_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

        with pytest.raises(ConfigurationError, match=r"linkpeek\[s3\]"):
            storage_from_url("s3://bucket/prefix")

    def test_opens_nothing_yet(self) -> None:
        assert isinstance(storage_from_url("s3://bucket"), S3Storage)

    def test_not_found_is_told_from_not_available(self, storage: Storage) -> None:
        with pytest.raises(NotFound):
            storage.get(PATH)
