"""Pages to capture: a real documentation set, one that is all pictures and one that is all script.

The documentation is Python's, as Debian's python3-doc (python3.11-doc in Debian 12) installs
it; where that is not, pages of the tests stand in. Nginx serves everything on loopback.
"""

import io
import os
import random
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from benchmarks.load import stop
from benchmarks.service import CHECKOUT, free_port, listens, wait_until

DOCS = "python3.*/html/library"
FALLBACK = CHECKOUT / "tests" / "live" / "pages"
#: Bytes: a page of the documentation that is larger is left out.
MOST_BYTES = 300_000
#: Each so many-th page is the one with pictures; the one after it is the one with scripts.
EACH = 8
PHOTOGRAPHS, ROWS = 24, 4000

_NGINX = """
{user}
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    types {{ text/html html; text/css css; text/javascript js; application/json json;
             image/png png; image/jpeg jpg; image/svg+xml svg; }}
    {temporary}
    server {{
        listen 127.0.0.1:{port};
        charset utf-8;
        location /docs/ {{ alias {docs}/; }}
        location / {{ root {folder}; }}
    }}
}}
"""

_SCRIPTS = """<!doctype html><meta charset=utf-8><title>Scripts</title>
<style>td {{padding: 2px 8px}} canvas {{border: 1px solid}}</style>
<h1>Made by scripts</h1><canvas width=900 height=300></canvas><table></table><script>
let seed = 1;
const next = () => (seed = seed * 48271 % 2147483647) / 2147483647;
const row = (_, id) => ({{id, name: next().toString(36).slice(2), at: next()}});
const rows = Array.from({{length: {rows}}}, row);
rows.sort((a, b) => a.name.localeCompare(b.name));
const table = document.querySelector('table');
for (const row of rows.slice(0, 400)) {{
  const line = table.insertRow();
  for (const value of Object.values(row)) line.insertCell().textContent = value;
}}
const pen = document.querySelector('canvas').getContext('2d');
rows.forEach((row, x) => {{
  pen.fillStyle = `hsl(${{row.at * 360}} 70% 50%)`;
  pen.fillRect(x % 900, 300 - row.at * 300, 3, 3);
}});
let primes = 0;
for (let number = 2; number < 40000; number++) {{
  let divisor = 2;
  while (divisor * divisor <= number && number % divisor) divisor++;
  primes += divisor * divisor > number;
}}
fetch('data.json').then(answer => answer.json()).then(words => {{
  const list = document.body.insertBefore(document.createElement('p'), table);
  list.textContent = `${{primes}} primes; ${{words.join(' ')}}`;
}});
</script>
"""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Make the pages in a folder and serve them; give the server's address."""
    _make(folder)
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""  # else its worker may not read the folder
    text = _NGINX.format(folder=folder, user=user, temporary=temporary, port=port, docs=_source())
    Path(folder, "nginx.conf").write_text(text)
    command = ["nginx", "-p", folder, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]
    process = subprocess.Popen([*command, "-g", "daemon off;"])
    try:
        wait_until(lambda: listens(port), 10, "Nginx listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


def choose(amount: int) -> list[str]:
    """Give paths of so many pages, the same and in the same order every time."""
    source = _source()
    places = source.glob("*.html" if source == FALLBACK else "library/*.html")
    docs = sorted(f"docs/{path.relative_to(source)}" for path in places if path.stat().st_size < MOST_BYTES)
    random.Random(1).shuffle(docs)
    chosen = []
    for number in range(amount):
        made = {EACH - 2: "pictures.html", EACH - 1: "scripts.html"}.get(number % EACH)
        chosen.append(f"{made}?{number}" if made else docs[number % len(docs)])
    return chosen


def kind(uri: str) -> str:
    """Tell what kind of page an address is of: ``docs``, ``pictures`` or ``scripts``."""
    for name in ("pictures", "scripts"):
        if f"/{name}.html" in uri:
            return name
    return "docs"


def kinds(uris: Sequence[str]) -> dict[str, int]:
    """Count the pages of each kind."""
    found = [kind(uri) for uri in uris]
    return {name: found.count(name) for name in sorted(set(found))}


def _source() -> Path:
    return next((path.parent for path in Path("/usr/share/doc").glob(DOCS)), FALLBACK)


def _make(folder: Path) -> None:
    names = [f"photograph-{number}.jpg" for number in range(PHOTOGRAPHS)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(_photograph(number))
    pictures = "".join(f"<img src={name} width=240 height=180 alt=''>" for name in names)
    head = "<!doctype html><meta charset=utf-8><title>Pictures</title><h1>Pictures</h1>"
    (folder / "pictures.html").write_text(head + pictures)
    (folder / "scripts.html").write_text(_SCRIPTS.format(rows=ROWS))
    (folder / "data.json").write_text('["fetched", "after", "load"]')


def _photograph(number: int) -> bytes:
    """Make a JPEG of 800 x 600 pixels with the detail, and so the bytes, of a photograph."""
    chance = random.Random(number)
    coarse = Image.frombytes("RGB", (40, 30), chance.randbytes(40 * 30 * 3))
    fine = Image.frombytes("RGB", (200, 150), chance.randbytes(200 * 150 * 3))
    whole = Image.blend(coarse.resize((800, 600)), fine.resize((800, 600)), 0.2)
    buffer = io.BytesIO()
    whole.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
