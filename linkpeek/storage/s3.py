"""Images in an S3-compatible object store, for services that span machines.

Objects are put in one piece, so they appear whole or not at all. Credentials come
from where boto3 looks for them (environment, ``~/.aws``, instance role), never from
the URL. Only the oldest, most widely offered calls are used: PUT, GET, HEAD and
DELETE of an object, and ListObjectsV2.
"""

import contextlib
import importlib
import importlib.util
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit

from linkpeek.errors import ConfigurationError, NotFound, Unavailable
from linkpeek.storage.limited import TimeLimited
from linkpeek.storage.paths import is_image_path, is_snapshot_folder, media_type
from linkpeek.storage.whole import BLOCK, is_whole_image, require_whole

CHECK_SECONDS = 10.0

#: Bytes of an image that is read into memory instead of a temporary file.
SMALL = 1024 * 1024

#: Objects in one answer to a listing: the most that S3 gives.
PAGE = 1000

#: What a URL may say after ``?``, handed to boto3's client.
_OPTIONS = frozenset({"endpoint_url", "region_name"})

#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_PREFIX = re.compile(r"(?:/(?!\.)[A-Za-z0-9._-]{1,100})*/?", re.ASCII)

_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_FULL = frozenset({"QuotaExceeded", "EntityTooLarge", "XMinioStorageFull", "507", "InsufficientStorage"})


class S3Storage:
    """Images in a bucket; implements ``linkpeek.storage.Storage``.

    :param bucket: its name; it must exist.
    :param prefix: what every key starts with, with a slash at its end, or empty.
    :param options: ``endpoint_url`` and ``region_name`` for boto3, where not AWS's default.
    :raises ConfigurationError: if boto3 is not installed.
    """

    def __init__(self, bucket: str, prefix: str = "", options: dict[str, str] | None = None) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._options = options or {}
        self._opening = threading.Lock()
        self._opened: Any = None
        self._probing = TimeLimited(self._probe, CHECK_SECONDS)
        if importlib.util.find_spec("boto3") is None:
            raise ConfigurationError("storage_url s3: needs boto3: pip install 'linkpeek[s3]'")

    @classmethod
    def from_url(cls, url: str) -> "S3Storage":
        """Read ``s3://bucket/prefix?endpoint_url=...&region_name=...``.

        :raises ConfigurationError: for anything else.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if not _BUCKET.fullmatch(parts.netloc) or not _PREFIX.fullmatch(parts.path) or parts.fragment:
            raise ConfigurationError("storage_url s3: must look like s3://bucket/prefix, without credentials")
        if not options.keys() <= _OPTIONS or not all(options.values()):
            raise ConfigurationError(f"storage_url s3: after ? there may be: {', '.join(sorted(_OPTIONS))}")
        prefix = parts.path.strip("/")
        return cls(parts.netloc, f"{prefix}/" if prefix else "", options)

    def put(self, path: str, data: bytes) -> None:
        """Keep an image; see ``Storage.put``."""
        if not is_image_path(path):
            raise ValueError(f"not an image's path: {path!r}")
        if not is_whole_image(data, path.rpartition(".")[2]):
            raise ValueError("not a whole image of the kind the path names")
        with _translated():
            self._client().put_object(
                Bucket=self._bucket, Key=self._prefix + path, Body=data, ContentType=media_type(path)
            )

    def get(self, path: str) -> bytes:
        """Give the image's bytes; see ``Storage.get``."""
        with self.open(path) as file, _translated():
            return file.read()

    def open(self, path: str) -> IO[bytes]:
        """Give the image as a file; see ``Storage.open``.

        Nothing of it may be shown before all of it has come and is whole. So it is fetched
        into a temporary file without a name, unless it is a small one.
        """
        if not is_image_path(path):
            raise NotFound("There is no such image.")
        with contextlib.ExitStack() as failing, _translated():
            file = failing.enter_context(tempfile.SpooledTemporaryFile(SMALL))
            answer = self._client().get_object(Bucket=self._bucket, Key=self._prefix + path)
            with contextlib.closing(answer["Body"]) as body:
                shutil.copyfileobj(body, file, BLOCK)
            failing.pop_all()
            return require_whole(file, path)

    def exists(self, path: str) -> bool:
        """Tell whether something is kept under this path."""
        if not is_image_path(path):
            return False
        with contextlib.suppress(NotFound), _translated():
            self._client().head_object(Bucket=self._bucket, Key=self._prefix + path)
            return True
        return False

    def images(self, folder: str) -> list[str]:
        """Give the paths of a snapshot's images; see ``Storage.images``."""
        if not is_snapshot_folder(folder):
            raise ValueError(f"not a snapshot's folder: {folder!r}")
        paths = [item["Key"].removeprefix(self._prefix) for item in self._objects(f"{folder}/")]
        return sorted(path for path in paths if is_image_path(path))

    def delete(self, folder: str) -> int:
        """Remove the objects of a snapshot, one by one; see ``Storage.delete``."""
        if not is_snapshot_folder(folder):
            raise ValueError(f"not a snapshot's folder: {folder!r}")
        freed = 0
        for item in self._objects(f"{folder}/"):
            with _translated():
                self._client().delete_object(Bucket=self._bucket, Key=item["Key"])
            freed += int(item["Size"])
        return freed

    def check(self) -> None:
        """Write, read and remove a small object; see ``Storage.check``."""
        self._probing.ask()

    def usage(self) -> int:
        """Give the bytes kept in all, at one request for each thousand objects."""
        return sum(int(item["Size"]) for item in self._objects(""))

    def tokens(self, older_than: float) -> Iterator[str]:
        """Give the token of each snapshot; see ``Storage.tokens``."""
        latest, last, fresh = time.time() - older_than, "", False
        for item in self._objects(""):
            folder = item["Key"].removeprefix(self._prefix).rpartition("/")[0]
            if folder != last:
                if is_snapshot_folder(last) and not fresh:
                    yield last.rpartition("/")[2]
                last, fresh = folder, False
            fresh = fresh or item["LastModified"].timestamp() > latest
        if is_snapshot_folder(last) and not fresh:
            yield last.rpartition("/")[2]

    def sweep_temporary(self, older_than: float) -> int:
        """Remove probes that were left behind; see ``Storage.sweep_temporary``."""
        latest, count = time.time() - older_than, 0
        for item in self._objects(".probe-"):
            if item["LastModified"].timestamp() <= latest:
                with _translated():
                    self._client().delete_object(Bucket=self._bucket, Key=item["Key"])
                count += 1
        return count

    def _objects(self, start: str) -> Iterator[Any]:
        """Give ``Key``, ``Size`` and ``LastModified`` of all objects whose path starts so, in order."""
        with _translated():
            pages = self._client().get_paginator("list_objects_v2")
            for page in pages.paginate(
                Bucket=self._bucket, Prefix=self._prefix + start, PaginationConfig={"PageSize": PAGE}
            ):
                yield from page.get("Contents", ())

    def _probe(self) -> None:
        data, key = secrets.token_bytes(64), f"{self._prefix}.probe-{secrets.token_hex(8)}"
        with _translated():
            self._client().put_object(Bucket=self._bucket, Key=key, Body=data)
            answer = self._client().get_object(Bucket=self._bucket, Key=key)["Body"].read()
            if answer != data:
                raise Unavailable("The image storage gives back other bytes.", code="storage-unavailable")
            self._client().delete_object(Bucket=self._bucket, Key=key)

    def _client(self) -> Any:
        """Give the client, made on first use: after uWSGI has forked. It may be shared by threads."""
        with self._opening:
            if self._opened is None:
                self._opened = _open_client(self._options)
            return self._opened


def _open_client(options: dict[str, str]) -> Any:
    boto3 = importlib.import_module("boto3")
    config = importlib.import_module("botocore.config").Config(
        connect_timeout=3,
        read_timeout=15,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=32,
        # Newer checksums are not understood by many S3-compatible stores.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", config=config, **options)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn boto3's errors into the service's. Its messages may name hosts and keys: not shown."""
    exceptions = importlib.import_module("botocore.exceptions")
    try:
        yield
    except exceptions.ClientError as exc:
        code = str(exc.response.get("Error", {}).get("Code"))
        if code in _MISSING:
            raise NotFound("There is no such image.") from None
        if code in _FULL:
            raise Unavailable("The image storage is full.", code="storage-full") from exc
        raise Unavailable("The image storage is not available.", code="storage-unavailable") from exc
    except (exceptions.BotoCoreError, exceptions.HTTPClientError, OSError, ValueError) as exc:
        raise Unavailable("The image storage is not available.", code="storage-unavailable") from exc
