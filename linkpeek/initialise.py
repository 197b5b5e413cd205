"""Making what a service needs before it can start, or bringing it up to date."""

from linkpeek.db import keep_private, require_writable_folder, translated
from linkpeek.migrations import upgrade
from linkpeek.resources import Resources
from linkpeek.security import make_secret_file
from linkpeek.tasks import make_broker_folders


def initialise(resources: Resources) -> bool:
    """Make data folder, secret file, database and broker folders; keep what is there.

    :returns: whether the secret file was made now.
    :raises Unavailable: when the database or the storage does not answer.
    :raises ConfigurationError: when the database's folder is not to be written to.
    :raises OSError: when the data folder is not to be written to.
    """
    settings = resources.settings
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    made = make_secret_file(settings.secret_file)
    require_writable_folder(resources.engine)
    keep_private(resources.engine)
    with translated():
        upgrade(resources.engine)
    make_broker_folders(settings)
    resources.storage.check()
    return made
