"""What uWSGI's master does before it starts anything (``shared-import`` in production.ini)."""

import uwsgi

from linkpeek.preflight import require_startable

require_startable(uwsgi.opt["ini-paste"].decode())
