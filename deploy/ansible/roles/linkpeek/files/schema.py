"""Say how a release and the database fit together: none, current, older or newer.

Read by the release's own Python: ``python - CONFIG.ini < schema.py``
"""

import sys

from linkpeek.cli.config import load_settings
from linkpeek.errors import LinkPeekError
from linkpeek.migrations import current_revision, is_known, require_current
from linkpeek.resources import Resources


def schema(path: str) -> str:
    """Compare the database that an ini file names with what this release knows."""
    engine = Resources(load_settings(path)).engine
    with engine.connect() as connection:
        revision = current_revision(connection)
    if revision is None:
        return "none"
    try:
        require_current(engine)
    except LinkPeekError:
        return "older" if is_known(revision) else "newer"
    return "current"


try:
    print(schema(sys.argv[1]))
except LinkPeekError as exc:
    sys.exit(exc.message)
