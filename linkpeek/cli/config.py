"""Reading the ini file that every command takes."""

import logging
import logging.config
from pathlib import Path

import plaster

from linkpeek.errors import ConfigurationError
from linkpeek.settings import Settings, ini_problem


def load_settings(path: str) -> Settings:
    """Read the settings of ``[app:main]`` in an ini file.

    :raises ConfigurationError: when the file or a value in it is not right.
    """
    ini_file = Path(path).absolute()
    if not ini_file.is_file():
        raise ConfigurationError(f"there is no file {path}")
    try:
        settings = plaster.get_settings(str(ini_file), "app:main")
    except Exception as exc:
        # Whatever ConfigParser or PasteDeploy find wrong is the file's fault.
        raise ConfigurationError(f"{path} cannot be read: {ini_problem(exc)}") from None
    if not settings:
        raise ConfigurationError(f"{path} has no section [app:main]")
    return Settings.from_ini(settings, {"here": str(ini_file.parent), "__file__": str(ini_file)})


def setup_logging(path: str) -> None:
    """Set up logging as the ini file says, or to standard error where it says nothing."""
    try:
        if "loggers" in plaster.get_sections(path):
            plaster.setup_logging(path)
        else:
            logging.basicConfig(level=logging.INFO)
    except Exception as exc:
        logging.basicConfig(level=logging.INFO)
        logging.getLogger(__name__).warning("the logging set-up in %s is not usable: %s", path, exc)
