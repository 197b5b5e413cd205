"""The examination behind ``linkpeek doctor``: each thing the service needs, tried for real."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from kombu.utils.url import maybe_sanitize_url

from linkpeek import __path__ as package_path
from linkpeek.capture.fonts import missing_fonts
from linkpeek.capture.model import CaptureRequest
from linkpeek.engine import Engine, require_safe_user
from linkpeek.errors import CaptureError, LinkPeekError
from linkpeek.geometry import Extent, Viewport
from linkpeek.migrations import require_current
from linkpeek.resources import Resources

#: Bytes free below which a warning is due: some thousand pictures.
LITTLE_SPACE = 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one thing.

    :ivar level: ok, warning (it works, but) or problem (it does not).
    :ivar advice: what to do about it; empty when nothing has to be done.
    """

    name: str
    level: str
    text: str
    advice: str = ""


class _Flaw(Exception):
    """What a look found wrong, other than what the service's own errors say."""

    def __init__(self, level: str, text: str, advice: str) -> None:
        super().__init__(text)
        self.level, self.text, self.advice = level, text, advice


def examine(resources: Resources) -> Iterator[Finding]:
    """Examine everything, one finding after the other as they come."""
    for name, look, advice in (
        ("secret", _secret, "run `linkpeek init CONFIG.ini` once, or restore the file from a backup"),
        ("database", _database, "run `linkpeek init CONFIG.ini`, and see that the database answers"),
        ("storage", _storage, "see that the folder exists, is writable for this user, and has space"),
        ("broker", _broker, "see that the broker runs and linkpeek.broker_url is right"),
        ("user", _user, "run the worker as a user of its own, such as linkpeek"),
        ("browser", _browser, "apt-get install chromium-headless-shell chromium-sandbox"),
        ("fonts", _fonts, "apt-get install fonts-noto-color-emoji fonts-noto-cjk"),
        ("clock", _clock, "set the clock, for example with chrony"),
        ("egress", _egress, ""),
        ("worker", _worker, "start the service, or `linkpeek worker CONFIG.ini`"),
    ):
        yield _examined(name, look, advice, resources)


def _examined(name: str, look: Callable[[Resources], str], advice: str, resources: Resources) -> Finding:
    try:
        return Finding(name, "ok", look(resources))
    except _Flaw as flaw:
        return Finding(name, flaw.level, flaw.text, flaw.advice)
    except LinkPeekError as exc:
        return Finding(name, "problem", exc.message, advice)
    except Exception as exc:
        return Finding(name, "problem", f"{type(exc).__name__}: {exc}", advice)


def _secret(resources: Resources) -> str:
    path = resources.settings.secret_file
    _ = resources.box
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise _Flaw("problem", f"{path} can be read by others (mode {mode:o})", f"chmod 600 {path}")
    return f"{path}, for its owner only"


def _database(resources: Resources) -> str:
    require_current(resources.engine)
    return resources.engine.url.render_as_string(hide_password=True)


def _storage(resources: Resources) -> str:
    resources.storage.check()
    free = shutil.disk_usage(resources.settings.data_dir).free
    if free < LITTLE_SPACE:
        raise _Flaw(
            "warning",
            f"only {free // 2**20} MiB are free",
            "make room, or set linkpeek.storage_max_bytes",
        )
    return f"{resources.settings.storage_url}, {free // 2**30} GiB free"


def _broker(resources: Resources) -> str:
    resources.wake.check()
    return str(maybe_sanitize_url(resources.settings.broker_url))


def _user(resources: Resources) -> str:
    require_safe_user(resources.settings)
    if os.geteuid() == 0:
        raise _Flaw("warning", "root, so Chromium's sandbox is off", "only for trying out")
    return "not root, so Chromium's sandbox is on"


def _browser(resources: Resources) -> str:
    engine = Engine(resources.settings)
    try:
        engine.start()
        version = engine.browser_version
        # Nothing listens there: the guard's answer shows that the browser works and obeys it.
        request = CaptureRequest("http://192.0.2.1/", Viewport(320, 240), Extent.VIEWPORT, 10)
        try:
            engine.capture(request)
        except CaptureError as exc:
            if exc.code != "address-refused":
                raise
        else:
            raise _Flaw(
                "problem",
                "it opened an address that the egress guard refuses",
                "do not use this browser, and report it",
            )
    finally:
        engine.stop()
    return f"{version}, starts, and goes through the egress guard"


def _fonts(resources: Resources) -> str:
    missing = missing_fonts()
    if missing:
        raise _Flaw(
            "warning",
            f"no font for {' and '.join(missing)}: such characters show as boxes",
            "apt-get install fonts-noto-color-emoji fonts-noto-cjk",
        )
    return "emoji and CJK have fonts"


def _clock(resources: Resources) -> str:
    built = datetime.fromtimestamp(os.path.getmtime(package_path[0]), UTC)
    if datetime.now(UTC) < built:
        raise _Flaw(
            "problem",
            f"the clock is before {built:%Y-%m-%d}, when this was installed",
            "set the clock",
        )
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _egress(resources: Resources) -> str:
    settings = resources.settings
    if settings.egress_allow:
        opened = " ".join(map(str, settings.egress_allow))
        raise _Flaw("warning", f"also opens {opened}", "only where strangers cannot ask for pictures")
    ports = "any port" if settings.egress_ports is None else " ".join(map(str, sorted(settings.egress_ports)))
    return f"global addresses only, ports: {ports}"


def _worker(resources: Resources) -> str:
    alive = resources.workers.alive()
    if not alive:
        raise _Flaw("warning", "none is running", "start the service, or `linkpeek worker CONFIG.ini`")
    return ", ".join(
        f"process {worker.pid} on {worker.host.partition(' ')[0]} ({worker.concurrency} at once)"
        for worker in alive
    )
