"""Count the files, lines, processes and ports of the stack before and the stack of today.

    python tools/compare_stacks.py            prints the table
    python tools/compare_stacks.py --write    puts it into docs/migration.md

All figures are read from the files under deploy/ and from production.ini.
"""

import configparser
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/migration.md"
BEGIN, END = "<!-- made by tools/compare_stacks.py -->\n", "<!-- end -->\n"

BEFORE = {
    "init": [
        "deploy/legacy/upstart/weblinkpeek-supervisord.conf",
        "deploy/legacy/upstart/worker-supervisord.conf",
    ],
    "supervisor": ["deploy/legacy/supervisor/web.conf", "deploy/legacy/supervisor/worker.conf"],
    "Nginx": ["deploy/legacy/nginx/linkpeek.conf", "deploy/legacy/nginx/linkpeek-ssl.conf"],
    "application": ["deploy/legacy/production.ini"],
    "glue in Python": ["deploy/legacy/servers.py"],
}
AFTER = {
    "init": ["deploy/upstart/weblinkpeek.conf"],
    "supervisor": [],
    "Nginx": ["deploy/nginx/linkpeek.conf"],
    "application": ["production.ini"],
    "glue in Python": [],
}

Files = dict[str, list[str]]


def text(name: str) -> str:
    """Read a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def lines(name: str) -> int:
    """Count the lines that say something: not blank, no comment."""
    return sum(1 for line in text(name).splitlines() if line.strip() and line.strip()[0] not in "#;")


def all_of(files: Files) -> list[str]:
    """List the files of a stack."""
    return [name for names in files.values() for name in names]


def section(name: str, part: str) -> configparser.SectionProxy:
    """Read a section of an ini file."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(text(name))
    return parser[part]


def before_ports() -> list[int]:
    """Give the ports of supervisord's web processes, which Nginx must know as well."""
    web = section("deploy/legacy/supervisor/web.conf", "program:web")
    ports = [int(web["numprocs_start"]) + number for number in range(int(web["numprocs"]))]
    upstream = re.findall(r"server 127\.0\.0\.1:(\d+);", text("deploy/legacy/nginx/linkpeek-ssl.conf"))
    if ports != list(map(int, upstream)):
        raise ValueError("Nginx and supervisord do not agree on the ports")
    return ports


def after_ports() -> list[int]:
    """Give the port of the exec line, which Nginx must know as well."""
    (port,) = re.findall(r"--http=127\.0\.0\.1:(\d+)", text("deploy/upstart/weblinkpeek.conf"))
    if f"server 127.0.0.1:{port} " not in text("deploy/nginx/linkpeek.conf"):
        raise ValueError("Nginx and the job do not agree on the port")
    return [int(port)]


def before_processes() -> dict[str, int]:
    """Count what runs besides Nginx."""
    supervisors = sum(text(name).count("/supervisord ") for name in BEFORE["init"])
    programs = sum(text(name).count("[program:") for name in BEFORE["supervisor"]) - 1
    return {
        "supervising": supervisors,
        "web": len(before_ports()),
        "capture worker": programs,
        "HTTP router": 0,
    }


def after_processes() -> dict[str, int]:
    """Count what runs besides Nginx."""
    job = text("deploy/upstart/weblinkpeek.conf")
    daemons = len(re.findall(r"^attach-daemon2", text("production.ini"), re.MULTILINE))
    (web,) = re.findall(r"--processes=(\d+)", job)
    return {
        "supervising": job.count("--master"),
        "web": int(web),
        "capture worker": daemons,
        "HTTP router": job.count("--http="),
    }


def table() -> str:
    """Lay it all out as Markdown."""
    rows: list[tuple[str, object, object]] = [
        ("files to keep in step", len(all_of(BEFORE)), len(all_of(AFTER))),
        ("lines in them", sum(map(lines, all_of(BEFORE))), sum(map(lines, all_of(AFTER)))),
    ]
    rows += [
        (f"lines: {kind}", sum(map(lines, BEFORE[kind])) or "none", sum(map(lines, AFTER[kind])) or "none")
        for kind in BEFORE
    ]
    rows.append(("lines without Nginx", _without_nginx(BEFORE), _without_nginx(AFTER)))
    before_list, after_list = (", ".join(map(str, ports())) for ports in (before_ports, after_ports))
    rows.append(("ports behind Nginx", before_list, after_list))
    rows.append(("jobs of init", len(BEFORE["init"]), len(AFTER["init"])))
    before, after = before_processes(), after_processes()
    rows += [(f"processes: {kind}", before[kind], after[kind]) for kind in before]
    rows.append(("processes in all", sum(before.values()), sum(after.values())))
    head = "| | before | after |\n|---|---|---|\n"
    return head + "".join(f"| {what} | {one} | {other} |\n" for what, one, other in rows)


def _without_nginx(files: Files) -> int:
    return sum(lines(name) for kind, names in files.items() if kind != "Nginx" for name in names)


def written(document: str) -> str:
    """Give the document with the table as it is now."""
    start, end = document.index(BEGIN) + len(BEGIN), document.index(END)
    return document[:start] + table() + document[end:]


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        sys.stdout.write(table())
