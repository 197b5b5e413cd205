"""What is declared agrees with what is there: dependencies, ini files, pins, the job."""

import ast
import configparser
import hashlib
import re
import sys
import sysconfig
import tomllib
from importlib.metadata import distributions, metadata, packages_distributions, requires
from pathlib import Path

import plaster
import pytest
from packaging.requirements import Requirement

from linkpeek.settings import TABLE, Settings

CHECKOUT = Path(__file__).resolve().parents[2]
INIS = ["development.ini", "production.ini"]

#: Imported only when a setting asks for it, and asked for by an extra of the package.
OPTIONAL = {"boto3": "s3", "botocore": "s3", "redis": "redis", "psycopg": "postgresql"}
#: The server itself provides this module.
PROVIDED = {"uwsgi"}


def normal(name: str) -> str:
    """Give a distribution's name as the index has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> dict[str, str]:
    """Give the package's requirements: name -> extra, empty for what is always needed."""
    found = {}
    for line in requires("linkpeek") or []:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"extra == [\"'](\w+)[\"']", line)
        assert name
        found.setdefault(normal(name[0]), extra[1] if extra else "")
    return found


def imported() -> set[str]:
    """Give the top-level names of all modules that the package imports, wherever it does."""
    names = set()
    for path in (CHECKOUT / "linkpeek").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add((node.module or "").partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"linkpeek"} - PROVIDED


@pytest.mark.parametrize("module", sorted(imported()))
def test_what_is_imported_is_declared(module: str) -> None:
    distributions = {normal(name) for name in packages_distributions().get(module, [module])}
    extras = {declared()[name] for name in distributions if name in declared()}
    # More than one may give it: Paste and PasteDeploy share a name.
    assert OPTIONAL.get(module, "") in extras


def test_constraints_pin_every_requirement() -> None:
    lines = (CHECKOUT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert not [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", pin)]
    assert set(declared()) <= {normal(pin.partition("==")[0]) for pin in pins}


def pins() -> dict[str, str]:
    """Give the constraints: name -> version."""
    lines = (CHECKOUT / "constraints.txt").read_text().splitlines()
    found = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normal(name): version for name, version in found}


def test_constraints_are_within_what_is_declared() -> None:
    wanted = [Requirement(line) for line in requires("linkpeek") or []]
    assert [str(one) for one in wanted if pins()[normal(one.name)] not in one.specifier] == []


def test_what_is_installed_is_what_is_pinned_and_goes_together() -> None:
    """What ``pip check`` says, and that nothing came in beside the constraints."""
    problems = []
    here = [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    installed = {normal(one.name): one for one in distributions(path=here)}
    for name in installed.keys() & pins().keys():
        if installed[name].version != pins()[name]:
            problems.append(f"{name} is {installed[name].version}, not {pins()[name]}")
        for asked in map(Requirement, installed[name].requires or []):
            if asked.marker is not None and not asked.marker.evaluate({"extra": ""}):
                continue
            there = installed.get(normal(asked.name))
            if there is None or not asked.specifier.contains(there.version, prereleases=True):
                problems.append(f"{name} asks for {asked}")
            elif normal(asked.name) not in pins():
                problems.append(f"{asked.name}, which {name} asks for, is not pinned")
    assert problems == []


def test_python_version_is_said_once() -> None:
    oldest = metadata("linkpeek")["Requires-Python"].removeprefix(">=")
    tools = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]
    assert tools["mypy"]["python_version"] == oldest
    assert tools["ruff"]["target-version"] == "py" + oldest.replace(".", "")


@pytest.mark.parametrize("name", INIS)
def test_ini_file_makes_settings(name: str) -> None:
    raw = plaster.get_settings(str(CHECKOUT / name), "app:main")
    settings = Settings.from_ini(raw, {"here": str(CHECKOUT)})
    assert settings.data_dir == CHECKOUT / "var"
    assert settings.worker == ("embedded" if name == "development.ini" else "external")


@pytest.mark.parametrize("name", INIS)
def test_ini_file_holds_no_secret(name: str) -> None:
    assert not re.search(
        r"^#?\s*[\w.]*(secret|password|apikey|token)\s*=\s*\S", (CHECKOUT / name).read_text(), re.M
    )


def section(name: str, title: str) -> dict[str, str]:
    """Read a section of an ini file, strictly, as Python's logging does."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string((CHECKOUT / name).read_text())
    return dict(parser[title])


def test_production_ini_shows_every_setting_with_its_default() -> None:
    text = (CHECKOUT / "production.ini").read_text()
    shown = dict(re.findall(r"^#?((?:linkpeek|sqlalchemy)\.\w+) =[ ]?(.*)$", text, re.M))
    defaults = {key: default for key, (_, default, _) in TABLE.items()}
    assert shown == defaults | {"linkpeek.data_dir": "%(here)s/var"}


def test_a_wait_fits_into_every_time_limit() -> None:
    uwsgi = section("production.ini", "uwsgi")
    wait, waiters = (float(TABLE[f"linkpeek.{name}"][1]) for name in ("wait", "waiters"))
    assert wait < int(uwsgi["worker-reload-mercy"]) < int(uwsgi["harakiri"]) < int(uwsgi["http-timeout"])
    assert waiters < int(uwsgi["threads"])
    assert waiters < int(section("development.ini", "server:main")["threads"])


def test_the_job_is_the_one_of_the_article() -> None:
    """Byte for byte: whoever reads the article finds here what it shows."""
    job = (CHECKOUT / "deploy/upstart/weblinkpeek.conf").read_bytes()
    assert len(job) == 470
    assert (
        hashlib.sha256(job).hexdigest() == "dbf42cd64b3f418b1117522330f7d609a228f9d3e4f2ee92b14cbc594ccf9222"
    )
