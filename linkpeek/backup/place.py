"""From a verified backup to a service in its place."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from linkpeek.backup.archive import DATABASE, SECRET
from linkpeek.backup.database import replacing
from linkpeek.backup.dump import Row, settled
from linkpeek.backup.staging import give_to_owner, image_in, place_file, place_images, topmost_missing
from linkpeek.db import sqlite_file
from linkpeek.errors import ConfigurationError
from linkpeek.models import ApiKey, Snapshot, State
from linkpeek.security import SecretBox
from linkpeek.services.renditions import master_path
from linkpeek.settings import Settings
from linkpeek.storage import storage_from_url
from linkpeek.tasks import make_broker_folders


@dataclass
class Restored:
    """What was restored.

    :ivar about: the backup's own description: ``created``, ``version``, ``schema``, ...
    :ivar rows: how many rows of each table.
    :ivar without_picture: snapshots left out because their picture is not in the backup.
    :ivar unreadable_keys: API keys that the secret in the backup does not decrypt.
    :ivar other_configuration: whether the ini file differs from the one in the backup.
    :ivar set_aside: what was there before and has another name now.
    """

    about: dict[str, Any]
    rows: dict[str, int] = field(default_factory=dict)
    images: int = 0
    without_picture: int = 0
    unreadable_keys: list[str] = field(default_factory=list)
    other_configuration: bool = False
    set_aside: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Staged:
    """A backup unpacked in a folder, and where it belongs.

    :ivar new_ini: the ini file to be put in its place; None where there is one.
    """

    folder: Path
    about: dict[str, Any]
    settings: Settings
    new_ini: Path | None


@contextlib.contextmanager
def fill(
    folder: Path,
    url: str,
    restored: Restored,
    has_picture: Callable[[str], bool],
    aside: Path | None = None,
) -> Iterator[None]:
    """Fill a database from the rows in a folder; it takes its place when the block ends well.

    :param url: the database.
    :param restored: told what there is.
    :param has_picture: tells by a snapshot's token whether its picture is there; if not,
        the row is of no use.
    """
    box = SecretBox.from_file(folder / SECRET)

    def keep(table: str, row: Row) -> bool:
        if table != Snapshot.__tablename__:
            return True
        if settled(row)["state"] != State.READY or has_picture(row["token"]):
            return True
        restored.without_picture += 1
        return False

    def check(connection: Connection) -> None:
        restored.unreadable_keys = _unreadable(connection, box)

    with (
        open(folder / DATABASE, "rb") as lines,
        replacing(url, folder, restored.about["schema"], lines, keep, check, aside) as rows,
    ):
        restored.rows = rows
        yield


def move_into_place(staged: Staged, restored: Restored, stamp: str | None) -> None:
    """Make the database, then move everything to its place, the database last.

    :param stamp: goes into the names of what was there before; None: it is not kept.
    """
    settings, folder = staged.settings, staged.folder
    storage = storage_from_url(settings.storage_url)
    file = sqlite_file(settings.database_url)
    made = [topmost_missing(file.parent) or file] if file is not None else []
    old_database = _aside(file, stamp, restored) if file is not None else None
    old_secret = _aside(settings.secret_file, stamp, restored)

    def has_picture(token: str) -> bool:
        return image_in(folder, master_path(token)).exists()

    with contextlib.ExitStack() as undo:
        with fill(folder, settings.database_url, restored, has_picture, old_database):
            # On disk before it has its name: a power cut leaves the old or the new.
            os.sync()
            place_images(folder, storage)
            made += _place_ini(staged, undo)
            _place_secret(folder, settings.secret_file, old_secret, undo)
            make_broker_folders(settings)
        undo.pop_all()
    give_to_owner(settings, storage, *made, *restored.set_aside)


def _unreadable(connection: Connection, box: SecretBox) -> list[str]:
    """Give the API keys whose secrets the secret file does not decrypt."""
    found = []
    for apikey, encrypted in connection.execute(sa.select(ApiKey.apikey, ApiKey.encrypted_secret)):
        try:
            box.decrypt(encrypted)
        except ConfigurationError:
            found.append(apikey)
    return found


def _aside(path: Path, stamp: str | None, restored: Restored) -> Path | None:
    """Give the name under which a file is kept that will be replaced; None: it is not."""
    if stamp is None or not path.exists():
        return None
    aside = path.with_name(f"{path.name}.replaced-{stamp}")
    restored.set_aside.append(aside)
    return aside


def _place_ini(staged: Staged, undo: contextlib.ExitStack) -> list[Path]:
    """Put the ini file in its place and give that, if there was none."""
    ini = staged.settings.ini_file
    if staged.new_ini is None or ini is None:
        return []
    undo.callback(ini.unlink, missing_ok=True)
    os.rename(staged.new_ini, ini)
    return [ini]


def _place_secret(folder: Path, target: Path, aside: Path | None, undo: contextlib.ExitStack) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        before = folder / "secret.before"
        before.touch(0o600)
        before.write_bytes(target.read_bytes())
        undo.callback(place_file, before, target)
    else:
        undo.callback(target.unlink, missing_ok=True)
    if aside is not None:
        os.link(target, aside)
        undo.callback(aside.unlink)
    place_file(folder / SECRET, target)
