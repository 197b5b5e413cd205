from pathlib import Path

import pytest

from linkpeek.errors import Unavailable
from linkpeek.initialise import initialise
from linkpeek.resources import Resources
from linkpeek.tasks import broker_folder
from tests.factories import APIKEY, make_service, make_settings


def make(folder: Path, **overrides: object) -> Resources:
    return Resources(make_settings(folder, **overrides))


def test_makes_everything_that_a_start_asks_for(tmp_path: Path) -> None:
    resources = make(tmp_path / "new" / "var")
    assert initialise(resources)
    resources.require_ready()
    assert resources.settings.secret_file.stat().st_mode & 0o777 == 0o600
    assert broker_folder(resources.settings).is_dir()
    resources.wake.check()


def test_strangers_cannot_read_the_database(tmp_path: Path) -> None:
    resources = make(tmp_path / "var")
    initialise(resources)
    with resources.engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        files = sorted((tmp_path / "var").glob("linkpeek.sqlite*"))
        assert len(files) > 1
        assert [file.name for file in files if file.stat().st_mode & 0o007] == []
    for file in files:
        file.chmod(0o644)
    initialise(resources)
    assert [file.name for file in files if file.exists() and file.stat().st_mode & 0o007] == []
    resources.close()


def test_again_it_keeps_what_is_there(tmp_path: Path) -> None:
    resources = make_service(tmp_path)
    secret = resources.settings.secret_file.read_text()
    assert not initialise(resources)
    assert resources.settings.secret_file.read_text() == secret
    with resources.engine.connect() as connection:
        keys = connection.exec_driver_sql("SELECT apikey FROM api_key").scalars().all()
    resources.close()
    assert keys == [APIKEY]


def test_a_broker_elsewhere_needs_no_folder(tmp_path: Path) -> None:
    resources = make(tmp_path, broker_url="redis://127.0.0.1:1/")
    initialise(resources)
    assert not broker_folder(resources.settings).exists()


def test_a_data_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        initialise(make(tmp_path / "file" / "var"))


def test_a_storage_that_does_not_take_anything_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable) as caught:
        initialise(make(tmp_path / "var", storage_url=f"file:{tmp_path}/file/images"))
    assert caught.value.code == "storage-unavailable"


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "linkpeek.sqlite").write_text("not a database " * 1000)
    with pytest.raises(Unavailable) as caught:
        initialise(make(tmp_path))
    assert caught.value.code == "database-unavailable"
