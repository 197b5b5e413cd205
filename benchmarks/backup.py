"""How long a backup and a restore take, by the commands themselves.

    python benchmarks/backup.py [IMAGES [BYTES]]

Makes a service with so many images (2000) of so many bytes (200000) each, in a
temporary folder, backs it up, removes it, restores it, and prints JSON.
"""

import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

from linkpeek.cli.config import load_settings
from linkpeek.db import transaction, utcnow
from linkpeek.initialise import initialise
from linkpeek.models import Snapshot, State
from linkpeek.resources import Resources
from linkpeek.storage import image_path

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def whole_png(size: int) -> bytes:
    """Make what a storage takes for a PNG: whole chunks of random bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    return (
        SIGNATURE
        + chunk(b"IHDR", bytes(13))
        + chunk(b"IDAT", secrets.token_bytes(size))
        + chunk(b"IEND", b"")
    )


def fill(ini: Path, images: int, size: int) -> None:
    """Make a service with so many snapshots of one image each."""
    resources = Resources(load_settings(str(ini)))
    initialise(resources)
    now = utcnow()
    root = Path(resources.settings.storage_url.removeprefix("file:"))
    with transaction(resources.sessions) as session:
        for _ in range(images):
            token = secrets.token_hex(16)
            session.add(
                Snapshot(
                    token=token,
                    key=token,
                    uri=f"http://example.com/{token}",
                    viewport_width=1024,
                    viewport_height=768,
                    extent="viewport",
                    requester="key:1",
                    state=State.READY,
                    requested_at=now,
                    not_before=now,
                    finished_at=now,
                )
            )
            path = root / image_path(token, "master", "png")
            path.parent.mkdir(parents=True)
            path.write_bytes(whole_png(size))
    resources.close()


def linkpeek(*arguments: object) -> float:
    """Run a command and give how many seconds it took."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "linkpeek", *map(str, arguments)], check=True)
    return round(time.monotonic() - began, 2)


def main(images: int = 2000, size: int = 200_000) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        ini, backup = Path(name, "service/production.ini"), Path(name, "b.tar")
        ini.parent.mkdir()
        ini.write_text("[app:main]\nuse = egg:linkpeek\n")
        fill(ini, images, size)
        result = {
            "images": images,
            "bytes": images * size,
            "backup_seconds": linkpeek("backup", ini, "-o", backup),
        }
        result["check_seconds"] = linkpeek("restore", ini, backup, "--check")
        shutil.rmtree(ini.parent)
        result["restore_seconds"] = linkpeek("restore", ini, backup)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
