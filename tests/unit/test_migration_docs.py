"""docs/migration.md: its table is made from the real files, and its commands work."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from linkpeek.cli.config import load_settings
from linkpeek.db import transaction
from linkpeek.initialise import initialise
from linkpeek.resources import Resources
from linkpeek.services.keys import KeyService

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/migration.md").read_text()


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_stacks", ROOT / "tools/compare_stacks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_the_one_of_the_files(compare: ModuleType) -> None:
    assert compare.written(TEXT) == TEXT, "run: python tools/compare_stacks.py --write"


def test_the_new_stack_has_fewer_parts(compare: ModuleType) -> None:
    assert len(compare.all_of(compare.AFTER)) < len(compare.all_of(compare.BEFORE)) / 2
    assert compare._without_nginx(compare.AFTER) < compare._without_nginx(compare.BEFORE)
    assert len(compare.after_ports()) < len(compare.before_ports())


def test_every_file_under_legacy_is_counted_or_no_configuration(compare: ModuleType) -> None:
    files = {
        str(path.relative_to(ROOT)) for path in (ROOT / "deploy/legacy").rglob("*.*") if path.suffix != ".pyc"
    }
    assert files - set(compare.all_of(compare.BEFORE)) == {
        "deploy/legacy/README.md",
        "deploy/legacy/requirements.txt",
    }


def test_files_that_are_named_exist() -> None:
    names = re.findall(r"`((?:docs|deploy|tools)/[\w./-]+)`", TEXT)
    assert names
    assert not [name for name in names if name != "docs/deployment.md" and not (ROOT / name).exists()]


def test_keys_come_along(tmp_path: Path) -> None:
    (script,) = (block for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL) if "keys.csv" in block)
    ini = tmp_path / "production.ini"
    ini.write_text("[app:main]\nuse = egg:linkpeek\n")
    resources = Resources(load_settings(str(ini)))
    initialise(resources)
    (tmp_path / "keys.csv").write_text(
        'A. Client,old-1,sesame\nWörld & Co,old-2,p"ä ss$1\nA again,old-1,other\n'
    )
    (tmp_path / "linkpeek").write_text(f'#!/bin/sh\nexec {sys.executable} -m linkpeek "$@"\n')
    (tmp_path / "linkpeek").chmod(0o755)

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "not taken: A again" in done.stderr
    assert "old-2" in done.stdout
    with transaction(resources.sessions) as session:
        keys = {
            key.apikey: (key.name, resources.box.decrypt(key.encrypted_secret))
            for key in KeyService(session, resources.box).list()
        }
    resources.close()
    assert keys == {"old-1": ("A. Client", "sesame"), "old-2": ("Wörld & Co", 'p"ä ss$1')}
