"""A PostgreSQL server of a test's own: new, in a temporary folder, on a socket nobody else sees.

Needs Debian's package ``postgresql``. Root may not run the server, so root runs it
as the user ``postgres`` whom that package makes.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a server, and give its URL for SQLAlchemy with psycopg."""
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        if user:
            shutil.chown(folder, user)
        data = f"{folder}/data"
        initdb = [
            "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]
        _run([_program(initdb[0]), *initdb[1:]], user, folder)
        # Nothing here outlives the test, so nothing has to reach the disk.
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=60"
        control = [_program("pg_ctl"), "-D", data, "-w", "-t", "60"]
        _run([*control, "-l", f"{folder}/log", "-o", options, "start"], user, folder)
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        finally:
            _run([*control, "-m", "immediate", "stop"], user, folder)


@contextmanager
def stopped_server(url: str) -> Iterator[None]:
    """Stop a server that ``postgres_server`` runs, as a crash would, and start it again."""
    folder = url.partition("?host=")[2]
    user = Path(folder).owner() if os.geteuid() == 0 else None
    control = [_program("pg_ctl"), "-D", f"{folder}/data", "-w", "-t", "60"]
    _run([*control, "-m", "immediate", "stop"], user, folder)
    try:
        yield
    finally:
        # With the options that it was started with, which the server keeps.
        _run([*control, "-l", f"{folder}/log", "restart"], user, folder)


def _program(name: str) -> str:
    """Find a program that Debian keeps out of PATH, of the newest version there is."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    program = str(found[-1]) if found else shutil.which(name)
    assert program, f"{name} is missing: apt-get install postgresql"
    return program


def _run(command: list[str], user: str | None, folder: str) -> None:
    run = subprocess.run(
        command, user=user, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
