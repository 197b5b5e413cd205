"""The WSGI application for servers that want a module: of the ini file ``$BENCHMARK_INI``, or a bare one.

``python -m benchmarks.wsgi cheroot|bjoern PORT PROCESSES THREADS`` serves it by a server that has no
program of its own that could.
"""

import os
import sys
from typing import Any


def bare(global_config: object = None, **_: object) -> Any:
    """Make the least that is a Pyramid application: one route, one view, nothing included."""
    from pyramid.config import Configurator
    from pyramid.response import Response

    config = Configurator()
    config.add_route("healthz", "/healthz")
    config.add_view(lambda request: Response("ok\n", content_type="text/plain"), route_name="healthz")
    return config.make_wsgi_app()


def main(server: str, port: int, processes: int, threads: int) -> None:
    """Serve until a signal."""
    for _ in range(processes - 1):
        if os.fork() == 0:
            break
    if server == "cheroot":
        from cheroot.wsgi import Server

        Server(("127.0.0.1", port), application, numthreads=threads, request_queue_size=1024).safe_start()
    else:
        import bjoern

        bjoern.run(application, "127.0.0.1", port, reuse_port=True)


if "BENCHMARK_INI" in os.environ:
    from paste.deploy import loadapp

    application = loadapp("config:" + os.environ["BENCHMARK_INI"])

if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
