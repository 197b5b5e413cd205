"""The settings of the service: one table, strictly read.

The ``[app:main]`` section of an ini file becomes one frozen ``Settings``. A key
in our namespace that is not in the table, or a value that does not fit, stops
the start with one clear line; nothing is guessed. Web application, worker and
command line read the same file through this one class.
"""

import configparser
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linkpeek.errors import ConfigurationError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PREFIX = "linkpeek."
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_RATE = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)")
MAX_CAPTURE_TIMEOUT = 300
SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds."""

    amount: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator can set, with its type; see ``docs/settings.md``."""

    database_url: str
    broker_url: str
    storage_url: str
    data_dir: Path
    secret_file: Path
    worker: str
    concurrency: int
    capture_timeout: float
    wait: float
    waiters: int
    ttl: int
    retention_days: int
    storage_max_bytes: int
    egress_allow: tuple[Network, ...]
    egress_ports: frozenset[int] | None
    chromium: Path | None
    generator: bool
    rate_limit: Rate
    queue_limit: int
    allow_root: bool
    trusted_proxies: tuple[Network, ...]
    ini_file: Path | None = None

    @classmethod
    def from_ini(cls, settings: Mapping[str, Any], global_config: Mapping[str, str]) -> "Settings":
        """Read the settings of ``[app:main]``.

        :param settings: the section's keys and values.
        :param global_config: PasteDeploy's: ``here`` and ``__file__`` of the ini file.
        :raises ConfigurationError: for an unknown ``linkpeek.*`` key or a bad value.
        """
        _refuse_unknown(settings)
        here = global_config.get("here") or os.getcwd()
        raw = {name: str(settings.get(key, default)).strip() for key, (name, default, _) in TABLE.items()}
        data_dir = raw["data_dir"] = str(Path(here, raw["data_dir"] or "var").absolute())
        for name, default in _UNDER_DATA_DIR.items():
            raw[name] = raw[name] or default.format(data_dir=data_dir)
        raw["secret_file"] = str(Path(here, raw["secret_file"]).absolute())
        values = {name: _read(key, cast, raw[name]) for key, (name, _, cast) in TABLE.items()}
        ini_file = global_config.get("__file__")
        return cls(**values, ini_file=Path(ini_file).absolute() if ini_file else None)


def ini_problem(error: Exception) -> str:
    """Tell on one line what is wrong with an ini file, but nothing of a value, which may hold a password."""
    if isinstance(error, configparser.InterpolationError):
        where = f"[{error.section}] {error.option}"
        return f"{where}: a % in a value has to be written %%, unless it is one of %(here)s"
    return " ".join(str(error).split())


def _refuse_unknown(settings: Mapping[str, Any]) -> None:
    unknown = sorted(key for key in settings if key.startswith(PREFIX) and key not in TABLE)
    if unknown:
        known = ", ".join(key for key in TABLE if key.startswith(PREFIX))
        name = unknown[0] if unknown[0].isprintable() else ascii(unknown[0])
        raise ConfigurationError(f"unknown setting {name}; there are: {known}")


def _read(key: str, cast: Callable[[str], Any], text: str) -> Any:
    try:
        return cast(text)
    except ValueError as exc:
        # A URL may hold a password, and this line goes into a log.
        shown = f"{text.partition(':')[0]}:..." if key.endswith("url") and ":" in text else text
        raise ConfigurationError(f"{key} = {shown!r}: {exc}") from None


def _whole(least: int, greatest: int) -> Callable[[str], int]:
    def cast(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII) or not least <= int(text) <= greatest:
            raise ValueError(f"must be a whole number from {least} to {greatest}")
        return int(text)

    return cast


def _seconds(least: float, greatest: float) -> Callable[[str], float]:
    def cast(text: str) -> float:
        if (
            not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text, re.ASCII)
            or not least <= float(text) <= greatest
        ):
            raise ValueError(f"must be a number of seconds from {least:g} to {greatest:g}")
        return float(text)

    return cast


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("must be true or false")


def _choice(*words: str) -> Callable[[str], str]:
    def cast(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of: {', '.join(words)}")
        return text

    return cast


def _url(*schemes: str) -> Callable[[str], str]:
    def cast(text: str) -> str:
        if text.partition(":")[0] not in schemes:
            raise ValueError(f"must be a URL that starts with one of: {', '.join(s + ':' for s in schemes)}")
        return text

    return cast


def _database_url(text: str) -> str:
    if not text.startswith(("sqlite:", "sqlite+", "postgresql:", "postgresql+")):
        raise ValueError("must be a sqlite: or postgresql: URL")
    return text


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(word) for word in text.replace(",", " ").split())
    except ValueError as exc:
        raise ValueError(f"must be networks such as 127.0.0.0/8 ::1/128 ({exc})") from None


def _ports(text: str) -> frozenset[int] | None:
    if text == "*":
        return None
    words = text.replace(",", " ").split()
    if not words or not all(re.fullmatch(r"[0-9]{1,5}", w, re.ASCII) and 0 < int(w) < 65536 for w in words):
        raise ValueError("must be * or port numbers such as: 80 443")
    return frozenset(map(int, words))


def _rate(text: str) -> Rate:
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError("must be a rate such as 60/minute (second, minute, hour, day)")
    return Rate(int(match[1]), SECONDS[match[2]])


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("must be a path")
    return Path(text)


def _optional_path(text: str) -> Path | None:
    return _path(text) if text else None


def _concurrency(text: str) -> int:
    return _whole(1, 64)(text) if text else max(1, min(64, os.cpu_count() or 1))


#: Defaults that depend on where data_dir is.
_UNDER_DATA_DIR = {
    "database_url": "sqlite:///{data_dir}/linkpeek.sqlite",
    "broker_url": "filesystem://",
    "storage_url": "file:{data_dir}/snapshots",
    "secret_file": "{data_dir}/secret",
}

#: ini key -> (field of Settings, default as text, how the text is read).
TABLE: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "sqlalchemy.url": ("database_url", "", _database_url),
    "linkpeek.broker_url": (
        "broker_url",
        "",
        _url("filesystem", "redis", "rediss", "amqp", "amqps", "memory"),
    ),
    "linkpeek.storage_url": ("storage_url", "", _url("file", "s3")),
    "linkpeek.data_dir": ("data_dir", "var", _path),
    "linkpeek.secret_file": ("secret_file", "", _path),
    "linkpeek.worker": ("worker", "external", _choice("external", "embedded")),
    "linkpeek.concurrency": ("concurrency", "", _concurrency),
    "linkpeek.capture_timeout": ("capture_timeout", "30", _seconds(1, MAX_CAPTURE_TIMEOUT)),
    "linkpeek.wait": ("wait", "20", _seconds(0, 300)),
    "linkpeek.waiters": ("waiters", "4", _whole(0, 1000)),
    "linkpeek.ttl": ("ttl", "86400", _whole(0, 10**9)),
    "linkpeek.retention_days": ("retention_days", "30", _whole(0, 36500)),
    "linkpeek.storage_max_bytes": ("storage_max_bytes", "0", _whole(0, 10**18 - 1)),
    "linkpeek.egress_allow": ("egress_allow", "", _networks),
    "linkpeek.egress_ports": ("egress_ports", "80 443 8080 8443", _ports),
    "linkpeek.chromium": ("chromium", "", _optional_path),
    "linkpeek.generator": ("generator", "true", _boolean),
    "linkpeek.rate_limit": ("rate_limit", "60/minute", _rate),
    "linkpeek.queue_limit": ("queue_limit", "100", _whole(1, 10**6)),
    "linkpeek.allow_root": ("allow_root", "false", _boolean),
    "linkpeek.trusted_proxies": ("trusted_proxies", "127.0.0.1/32 ::1/128", _networks),
}
