"""The whole stack of today: what its layers cost, over HTTPS.

Stored images by deploy/nginx/linkpeek.conf, against a bare Nginx that serves the
same files with the same TLS; signed API v1 hits, of many pictures, of the same while the
database is written to, and of a single one that everybody wants, against a bare Pyramid
view, each by uWSGI's exec line behind that Nginx. All run at the same time and are asked in
turn, round by round. As root, in a network of its own.

    python -m benchmarks.stack [--quick] [--json FILE]
"""

import re
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from statistics import median
from subprocess import Popen

from benchmarks import Result, command
from benchmarks.load import Figures, is_idle, stop, together, wrk
from benchmarks.service import answers, listens, signed, wait_until
from benchmarks.stacks import Stack, Uwsgi
from benchmarks.text import grid, percent, short, whole
from tests.live.network import own_network
from tests.live.nginx import NAME, Nginx, made_nginx
from tests.live.site import Site
from tests.live.tree import deployed_tree

CONNECTIONS = 50
#: Commits a second meanwhile, where there are any: as many as two or three captures a second make.
COMMITS = 10
#: Ports of the bare service, of the Nginx before it, and of the bare Nginx.
BARE_APP, BARE_FRONT, BARE_FILES = 5300, 8443, 9443
PAIRS = {
    "stored images": ("images", "bare Nginx"),
    "signed hits": ("hits", "bare view"),
    "signed hits while it is written": ("written", "bare view"),
    "signed hits of one picture": ("one picture", "bare view"),
}

_FILES = """
server {{
    listen {port} ssl http2;
    ssl_certificate {tls}/fullchain.pem;
    ssl_certificate_key {tls}/privkey.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    access_log {log};
    root {root};
}}
"""


def run(quick: bool = False) -> Result:
    """Ask for each in turn.

    :param quick: fewer and shorter rounds.
    :returns: figures by name (see ``PAIRS``), the size of the image, and ``ratios``: the rounds' median.
    """
    seconds, rounds = (1, 1) if quick else (3, 5)
    with own_network(), Site() as site, ExitStack() as opened:
        stack, nginx = _service(opened)
        page = site.url("/static")
        stack.wait_ready()
        image = stack.picture(page)
        pages = stack.many_pages(page)
        _bare_service(opened)
        root = stack.tree.web / "linkpeek/var"
        _serve_files(nginx, root)
        front = f"https://127.0.0.1:{nginx.https}"
        asked = {
            "images": (front, [image]),
            "bare Nginx": (f"https://127.0.0.1:{BARE_FILES}", [image]),
            "hits": (front, pages),
            "written": (front, pages),
            "one picture": (front, [signed(page)]),
            "bare view": (f"https://127.0.0.1:{BARE_FRONT}", ["/bare"]),
        }
        runs: dict[str, list[Figures]] = {name: [] for name in asked}
        for address, paths in asked.values():
            wrk(address, paths, CONNECTIONS, 1, NAME)
        for _ in range(rounds):
            for name, (address, paths) in asked.items():
                with _writing(root / "linkpeek.sqlite") if name == "written" else nullcontext():
                    runs[name].append(wrk(address, paths, CONNECTIONS, seconds, NAME))
        size = (root / image.lstrip("/")).stat().st_size
    ratios = {
        name: round(median(a["rate"] / b["rate"] for a, b in zip(runs[one], runs[other], strict=True)), 3)
        for name, (one, other) in PAIRS.items()
    }
    figures = {name: together(found) for name, found in runs.items()}
    return {"seconds": seconds, "rounds": rounds, "image_bytes": size, "figures": figures, "ratios": ratios}


def _service(opened: ExitStack) -> tuple[Stack, Nginx]:
    tree = opened.enter_context(deployed_tree())
    nginx = opened.enter_context(made_nginx(tree.root))
    nginx.start()
    stack = Uwsgi(tree)
    (job,) = opened.enter_context(stack.running())
    wait_until(lambda: answers(stack.port), 40, "the service answers")
    wait_until(lambda: is_idle(job.pid), 40, "all of the service has started")
    return stack, nginx


def _bare_service(opened: ExitStack) -> None:
    """Have a bare Pyramid view run by the same exec line, behind the same Nginx, on ports of its own."""
    tree = opened.enter_context(deployed_tree())
    stack = Uwsgi(tree)
    stack.use_bare_view(True)
    tree.ini.write_text(re.sub(r"(?m)^attach-daemon2 *=.*\n", "", tree.ini.read_text()))
    (command_line,) = stack.commands()
    moved = [word.replace(":5200", f":{BARE_APP}") for word in command_line]
    job = opened.enter_context(_started(tree.start(moved)))
    nginx = opened.enter_context(made_nginx(tree.root))
    text = nginx.site.read_text().replace(":5200", f":{BARE_APP}")
    text = re.sub(r"\blisten (\[::\]:)?443\b", rf"listen \g<1>{BARE_FRONT}", text)
    nginx.site.write_text(re.sub(r"\blisten (\[::\]:)?80\b", r"listen \g<1>8080", text))
    nginx.https = BARE_FRONT
    nginx.start()
    wait_until(lambda: answers(BARE_APP, "/bare"), 40, "the bare view answers")
    wait_until(lambda: is_idle(job.pid), 40, "all of the bare service has started")


@contextmanager
def _writing(database: Path) -> Iterator[None]:
    """Commit something again and again, as the worker does."""
    done = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database)) as connection:
            while not done.wait(1 / COMMITS):
                with connection:
                    connection.execute("UPDATE snapshot SET title = title")

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            yield
        finally:
            done.set()
        writing.result()


@contextmanager
def _started(process: "Popen[bytes]") -> Iterator["Popen[bytes]"]:
    try:
        yield process
    finally:
        stop(process)


def _serve_files(nginx: Nginx, root: Path) -> None:
    """Have the same Nginx serve the same files in the plainest way, on a port of its own."""
    text = _FILES.format(
        port=BARE_FILES,
        tls=nginx.folder / "tls",
        log=nginx.folder / "log/bare.log",
        root=root,
    )
    (nginx.folder / "sites-enabled/files").write_text(text)
    nginx.stop()
    nginx.start()
    wait_until(lambda: listens(BARE_FILES), 10, "the bare Nginx listens")


def tables(result: Result) -> dict[str, str]:
    """Lay out both pairs."""
    header = ["through the whole stack", "rate", "p50 / p99 ms", "compared with", "rate", "p50 / p99 ms"]
    header += ["errors", "share"]
    rows = []
    for name, pair in PAIRS.items():
        one, other = (result["figures"][part] for part in pair)
        cells = [
            [f"{whole(figures['rate'])}/s", f"{short(figures['p50_ms'])} / {short(figures['p99_ms'])}"]
            for figures in (one, other)
        ]
        errors = whole(one["errors"] + other["errors"])
        rows.append([name, *cells[0], pair[1], *cells[1], errors, percent(result["ratios"][name])])
    return {"stack": grid(header, rows)}


if __name__ == "__main__":
    command(__doc__, run, tables)
