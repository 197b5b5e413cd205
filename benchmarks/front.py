"""An Nginx before one server, which passes requests on as deploy/nginx does."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load import pinned, stop
from benchmarks.machine import cores
from benchmarks.service import free_port, listens, wait_until

_NGINX = """
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log emerg;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    {temporary}
    upstream app {{ server {upstream} max_fails=0; keepalive 64; keepalive_requests 10000; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        keepalive_requests 1000000;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""


@contextmanager
def nginx(address: str) -> Iterator[str]:
    """Run Nginx before the server at an address; give Nginx's own."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as folder:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
        text = _NGINX.format(
            folder=folder, temporary=temporary, upstream=address.removeprefix("http://"), port=port
        )
        Path(folder, "nginx.conf").write_text(text)
        command = ["nginx", "-p", folder, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]
        process = subprocess.Popen(pinned([*command, "-g", "daemon off;"], cores(2)))
        try:
            wait_until(lambda: listens(port), 10, "Nginx listens")
            yield f"http://127.0.0.1:{port}"
        finally:
            stop(process)
