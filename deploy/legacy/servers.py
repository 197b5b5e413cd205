"""CherryPy's server for PasteDeploy; see ``paste.server_runner`` in its documentation.

cheroot, which is what CherryPy's server is called on its own, comes without one.
"""

import signal
from collections.abc import Callable
from typing import Any

from cheroot.wsgi import Server


def cherrypy(
    app: Callable[..., Any], global_conf: dict[str, str], host: str, port: str, threads: str
) -> None:
    """Serve an application until the process is told to end.

    :param threads: how many requests it answers at once.
    """
    server = Server((host, int(port)), app, numthreads=int(threads))

    def end(number: int, frame: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    server.safe_start()
