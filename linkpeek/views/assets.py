"""Static files under URLs that change with their content, so that they may be cached for good."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from pyramid.request import Request
from pyramid.static import QueryStringCacheBuster

FOLDER = Path(__file__).parents[1] / "static"


class ContentVersion(QueryStringCacheBuster):  # type: ignore[misc]
    """Adds ``?v=`` and the start of the file's SHA-256 to a static file's URL."""

    def __init__(self) -> None:
        super().__init__(param="v")

    def tokenize(self, request: Request, subpath: str, kw: dict[str, Any]) -> str:
        """Give the version of one file, by its path within the folder."""
        path = FOLDER / subpath
        return _version(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _version(path: Path, changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
