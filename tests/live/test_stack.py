"""The whole stack, as it is deployed: what it serves, what it survives, and how long that takes.

Times are printed (``pytest -s``), each with what was done.
"""

import functools
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.nginx import NAME
from tests.live.processes import alive, family, named, of_user, wait_until
from tests.live.stack import APIKEY, SECRET, Stack, made_stack, rotate
from tests.live.tree import UID

PNG, WEBP = b"\x89PNG\r\n\x1a\n", b"RIFF"
CLIENTS = 50
#: Seconds between two requests of one of them: together they keep the service busy, and leave it what a
#: reload needs of two cores.
PAUSE = 0.25
#: uWSGI's last word on a reload; until then it does not notice another one.
RELOADED = "chain reloading complete"
#: Seconds; production.ini has 20, which would only make a test longer.
WAIT = 8


@pytest.fixture(scope="module")
def built() -> Iterator[Stack]:
    with made_stack(f"linkpeek.wait = {WAIT}") as stack:
        yield stack


@pytest.fixture
def stack(built: Stack) -> Stack:
    """The stack, up and ready."""
    built.up()
    return built


def seconds_until(condition: Callable[[], object], what: str, most: float = 40) -> float:
    """Wait for something, and tell and give how long it took."""
    began = time.monotonic()
    wait_until(condition, most, what)
    took = time.monotonic() - began
    print(f"{took:6.2f} s until {what}")
    return took


def put(path: Path, text: str) -> None:
    """Write a file as editors do, in one step: a service that starts just then reads it whole."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def shows_a_picture(stack: Stack, path: str) -> bool:
    """Ask for a page, and tell whether there is a picture of it."""
    return stack.peek(path).header("X-LinkPeek-State") == "ready"


class TestServing:
    def test_a_signed_request_ends_in_a_picture(self, stack: Stack) -> None:
        answer = stack.peek("/static?first")
        assert (answer.status, answer.header("X-LinkPeek-State")) == (302, "ready")
        assert answer.header("Location").startswith("https://linkpeek.example.com/snapshots/")
        picture = stack.picture(answer)
        assert picture.header("Content-Type") == "image/png"
        assert picture.body.startswith(PNG)
        assert stack.site.hits["/static"] >= 1

    def test_a_browser_gets_webp(self, stack: Stack) -> None:
        picture = stack.picture(stack.peek("/static?webp", Accept="image/avif,image/webp,*/*;q=0.8"))
        assert picture.header("Content-Type") == "image/webp"
        assert picture.body.startswith(WEBP)

    def test_the_pages_come_with_their_own_policy_once(self, stack: Stack) -> None:
        page = stack.client.get("/", Accept="text/html")
        assert page.status == 200
        assert "script-src 'self'" in page.header("Content-Security-Policy")
        for name in ("X-Content-Type-Options", "Referrer-Policy", "Strict-Transport-Security"):
            assert page.header(name)
        for path in ("linkpeek.css", "linkpeek.js"):
            assert f"/static/{path}?v=".encode() in page.body

    def test_stored_images_need_no_python(self, stack: Stack) -> None:
        answer = stack.peek("/static?stored")
        stack.supervisor.stop()
        assert stack.picture(answer).body.startswith(PNG)
        refused = stack.peek("/static?stored")
        assert (refused.status, refused.header("Retry-After")) == (503, "5")
        assert b"One moment" in refused.body

    def test_a_wait_of_several_seconds_passes(self, stack: Stack) -> None:
        began = time.monotonic()
        answer = stack.peek("/slow?s=3")
        assert (answer.status, answer.header("X-LinkPeek-State")) == (302, "ready")
        assert time.monotonic() - began > 3

    def test_a_longer_one_ends_in_the_placeholder(self, stack: Stack) -> None:
        began = time.monotonic()
        answer = stack.peek("/never")
        took = time.monotonic() - began
        assert (answer.status, answer.header("X-LinkPeek-State")) == (302, "pending")
        assert stack.picture(answer).body.startswith(PNG)
        assert WAIT <= took < WAIT + 5

    def test_forged_headers_change_nothing(self, stack: Stack) -> None:
        for forged in ("6.6.6.6", "7.7.7.7, 8.8.8.8"):
            answer = stack.client.get(
                stack.signed("/static?first"),
                X_Forwarded_For=forged,
                X_Forwarded_Proto="http",
                X_Forwarded_Host="evil.example",
                Forwarded=f"for={forged};host=evil.example;proto=http",
            )
            assert answer.header("Location").startswith("https://linkpeek.example.com/snapshots/")

    def test_the_generator_counts_the_address_that_nginx_saw(self, stack: Stack) -> None:
        for number, forged in enumerate(("6.6.6.6", "7.7.7.7")):
            page = stack.client.get("/", Accept="text/html", X_Forwarded_For=forged)
            cookie = page.header("Set-Cookie").partition(";")[0]
            token = cookie.partition("=")[2]
            body = f"uri={stack.site.url(f'/static?forged{number}')}&csrf_token={token}".replace("?", "%3F")
            answer = stack.client.ask(
                "/captures",
                method="POST",
                body=body.encode(),
                headers={
                    "Content-Type": "application/x-www-form-urlencoded",
                    "Cookie": cookie,
                    "Origin": "https://linkpeek.example.com",
                    "X-Forwarded-For": forged,
                },
            )
            assert answer.status in (200, 303), answer
        with sqlite3.connect(stack.data / "linkpeek.sqlite") as database:
            rows = database.execute(
                "SELECT DISTINCT requester FROM snapshot WHERE uri LIKE '%forged%'"
            ).fetchall()
        assert len(rows) == 1

    def test_nothing_can_be_written_but_data_and_log(self, stack: Stack) -> None:
        if os.geteuid() != 0:
            return  # the tree is the user's own
        mine = set()
        for folder, folders, files in os.walk(stack.tree.root):
            if Path(folder) == stack.data.parent:
                folders.remove(stack.data.name)  # where files come and go, too
            paths = [Path(folder, name) for name in (*folders, *files)]
            mine |= {path for path in paths if path.stat(follow_symlinks=False).st_uid == UID}
        assert mine == {stack.tree.log}


class TestRefusals:
    """Through Nginx and uWSGI; what each of Nginx's is, is in test_nginx."""

    HEAD = f"POST / HTTP/1.1\r\nHost: {NAME}\r\n".encode()

    @pytest.mark.parametrize(
        "lines",
        [
            b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n",
            b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        ],
        ids=["both lengths", "two lengths", "two encodings", "a space"],
    )
    def test_no_request_in_a_request(self, stack: Stack, lines: bytes) -> None:
        hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
        answers = stack.client.raw(self.HEAD + lines + hidden)
        assert answers.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
        assert answers.count(b"HTTP/1.1 ") == 1
        stack.client.get("/seen")
        wait_until(lambda: "GET /seen" in stack.tree.log.read_text(), 20, "all is logged")
        assert "/hidden" not in stack.tree.log.read_text()

    def test_the_longest_line_that_nginx_takes_is_taken_by_uwsgi(self, stack: Stack) -> None:
        header = {"X-1": "a" * 11_900}
        for length in (11_900, 12_500, 16_000, 20_000, 70_000):
            path = "/healthz?" + "%2e" * (length // 3)
            for headers in ({}, header):
                assert stack.client.ask(path, headers=headers).status == (200 if length < 12_000 else 414)

    @pytest.mark.parametrize("length", [5, 50, 1_000, 11_900])
    def test_headers_are_taken_by_uwsgi_or_refused_by_nginx(self, stack: Stack, length: int) -> None:
        """However many bytes there are, in many short headers or in a few long ones."""
        head = f"GET /healthz HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n".encode()
        seen = []
        for total in (300, 2_000, 12_000, 20_000, 23_000, 24_400, 26_000, 64_000, 96_000, 130_000):
            lines = (f"{letters(number)}:b" for number in range(total // length))
            header = "".join(line.ljust(length - 2, "b") + "\r\n" for line in lines)
            seen.append(stack.client.raw(head + header.encode() + b"\r\n")[9:12])
        assert seen == sorted(seen)
        assert set(seen) == {b"200", b"400"}
        assert len(stack.web_workers()) == 4

    def test_an_address_that_is_too_long(self, stack: Stack) -> None:
        answer = stack.client.get(stack.signed("/static?" + "a" * 9_000), Accept="application/json")
        assert (answer.status, answer.header("X-LinkPeek-Error")) == (400, "uri-too-long")

    def test_a_large_body_is_not_read(self, stack: Stack) -> None:
        assert stack.client.ask("/captures", method="POST", body=b"a" * 70_000).status == 413
        assert stack.client.ask("/captures", method="POST", body=b"a" * 60_000).status in (400, 403, 413)


class TestReload:
    def test_fifty_clients_see_no_error(self, stack: Stack) -> None:
        """With new code and settings in all processes, and two requests that wait meanwhile."""
        stack.peek("/static?many")
        before = {one.pid for one in stack.web_workers()}
        captures = {one.pid for one in stack.capture_workers()}
        reloads = stack.tree.log.read_text().count(RELOADED)
        slow_pages = ("/slow?s=2&reload", "/slow?s=2&again")
        seen: Counter[object] = Counter()
        slowest = [0.0]
        ending = threading.Event()

        def ask(path: str) -> None:
            began = time.monotonic()
            try:
                answer = stack.client.get(path)
                seen[answer.status, answer.header("X-LinkPeek-Error")] += 1
            except Exception as exc:
                seen[repr(exc)] += 1
            slowest[0] = max(slowest[0], time.monotonic() - began)

        def client(number: int) -> None:
            while not ending.wait(PAUSE):
                ask(stack.signed("/static?many") if number % 2 else "/healthz")

        with ThreadPoolExecutor(CLIENTS + 2) as pool:
            slow = [pool.submit(stack.peek, path) for path in slow_pages]
            for number in range(CLIENTS):
                pool.submit(client, number)
            try:
                wait_until(lambda: sum(seen.values()) > 200, 60, "all are busy")
                (stack.data / "reload").touch()
                took = seconds_until(
                    lambda: stack.tree.log.read_text().count(RELOADED) > reloads,
                    "all four web workers are new (50 clients at work)",
                    120,
                )
                assert before.isdisjoint(one.pid for one in stack.web_workers())
                assert len(stack.web_workers()) == 4
                seconds_until(
                    lambda: (
                        captures.isdisjoint(one.pid for one in stack.capture_workers()) and stack.browsers()
                    ),
                    "the capture worker is new",
                    80,
                )
            finally:
                ending.set()
        print(f"{sum(seen.values())} requests during a reload of {took:.1f} s, slowest {slowest[0]:.2f} s")
        assert set(seen) == {(200, ""), (302, "")}
        # The capture worker was replaced as well, and gave back what it was capturing. Where that
        # took longer than a request may wait, it was answered with the placeholder, and ended yet.
        assert {one.result().status for one in slow} == {302}
        for path in slow_pages:
            seconds_until(
                functools.partial(shows_a_picture, stack, path),
                f"{path} is ready, which was asked for before",
            )
        assert slowest[0] < 5

    def test_a_bad_version_leaves_the_old_one_serving(self, stack: Stack) -> None:
        good = stack.tree.ini.read_text()
        before = {one.pid for one in stack.web_workers()}
        put(stack.tree.ini, good.replace("use = egg:linkpeek", "use = egg:linkpeek\nlinkpeek.wiat = 1"))
        try:
            (stack.data / "reload").touch()
            reason = "unknown setting linkpeek.wiat"
            wait_until(lambda: reason in stack.tree.log.read_text(), 20, "the reason is in the log")
            left = lambda: before & {one.pid for one in stack.web_workers()}  # noqa: E731
            wait_until(lambda: len(left()) == 3, 20, "one process tries the new version")
            wait_until(lambda: "OOPS ! failed loading app" in stack.tree.log.read_text(), 20, "it fails")
            assert len(left()) == 3
            assert stack.client.get("/healthz").status == 200
        finally:
            put(stack.tree.ini, good)
            stack.supervisor.end()


class TestFailures:
    def test_kill_the_master(self, stack: Stack) -> None:
        everything = family(stack.supervisor.master)
        stack.supervisor.master.kill()
        seconds_until(
            lambda: not alive(everything), "nothing of the old service is left (kill -9 of the master)", 5
        )
        seconds_until(lambda: stack.client.get("/healthz").status == 200, "the pages are back")
        seconds_until(stack.ready, "it is ready for captures")
        assert stack.picture(stack.peek("/static?after-master")).body.startswith(PNG)

    def test_kill_a_web_worker(self, stack: Stack) -> None:
        victim = stack.web_workers()[0]
        victim.kill()
        replaced = lambda: victim not in (now := stack.web_workers()) and len(now) == 4  # noqa: E731
        seconds_until(replaced, "there are four web workers (kill -9 of one)")
        assert stack.client.get("/healthz").status == 200

    def test_kill_the_http_router(self, stack: Stack) -> None:
        (router,) = named(stack.supervisor.master.children(), "uWSGI http")
        router.kill()
        wait_until(lambda: not alive([router]), 5, "it is gone")
        seconds_until(
            lambda: stack.client.get("/healthz").status == 200, "port 5200 answers (kill -9 of the router)"
        )

    def test_kill_the_capture_worker_at_work(self, stack: Stack) -> None:
        (worker,) = stack.capture_workers()
        below, before = worker.children(recursive=True), stack.site.hits["/slow"]
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(stack.peek, "/slow?s=2&killed")
            wait_until(lambda: stack.site.hits["/slow"] > before, 20, "the capture is under way")
            worker.kill()
            seconds_until(lambda: not alive(below), "its browser is gone (kill -9 of the capture worker)", 5)
            seconds_until(
                lambda: [one for one in stack.capture_workers() if one != worker], "another one works"
            )
            assert asked.result().status == 302
        seconds_until(functools.partial(shows_a_picture, stack, "/slow?s=2&killed"), "that capture has ended")

    def test_stop_and_start(self, stack: Stack) -> None:
        everything = family(stack.supervisor.master)
        print(f"{stack.supervisor.stop():6.2f} s to stop")
        wait_until(lambda: not alive(everything), 5, "nothing of it is left")
        assert os.geteuid() != 0 or not of_user(UID)
        stack.supervisor.start()
        seconds_until(lambda: stack.client.get("/healthz").status == 200, "the pages are there (start)")
        seconds_until(stack.ready, "it is ready for captures")

    def test_a_service_that_cannot_start_says_why_and_takes_its_time(self, stack: Stack) -> None:
        stack.supervisor.stop()
        good = stack.tree.ini.read_text()
        put(stack.tree.ini, good.replace("use = egg:linkpeek", "use = egg:linkpeek\nlinkpeek.ttl = soon"))
        starts = stack.supervisor.starts
        try:
            stack.supervisor.start()
            reason = "LinkPeek cannot start: linkpeek.ttl = 'soon'"
            wait_until(lambda: stack.tree.log.read_text().count(reason) >= 2, 30, "it was started twice")
            # Upstart gives up after ten ends in five seconds.
            assert stack.supervisor.starts - starts <= 3
            assert stack.client.get("/").header("X-LinkPeek-Error") == "restarting"
        finally:
            put(stack.tree.ini, good)
        seconds_until(stack.ready, "it is back by itself once the cause is gone")


class TestLogs:
    def test_rotation_loses_no_line(self, stack: Stack, tmp_path: Path) -> None:
        log, old = stack.tree.log, stack.tree.log.with_name("uwsgi.log.1")
        ending = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask_numbered, stack, ending)
            try:
                wait_until(lambda: "GET /line-3 " in log.read_text(), 20, "lines are written")
                rotate(stack, tmp_path)
                seconds_until(
                    lambda: "GET /line-" in log.read_text(), "the new file is written to (logrotate)"
                )
            finally:
                ending.set()
            last = asked.result()

        def missing() -> list[int]:
            text = old.read_text() + log.read_text()
            return [number for number in range(last + 1) if f"GET /line-{number} " not in text]

        # A line is written after its answer, by each web worker for itself.
        wait_until(lambda: not missing(), 20, "every line is there")
        if os.geteuid() == 0:
            assert (log.stat().st_uid, log.stat().st_mode & 0o777) == (UID, 0o640)

    def test_no_secret_is_in_any_log(self, stack: Stack) -> None:
        path = stack.signed("/static?secret")
        token = path.partition("token=")[2][:32]
        stack.client.get(path)
        stack.client.get(path.replace("apikey=", "apikey=un"))
        stack.client.ask(path, tls=False)
        wait_until(lambda: "GET /api/v1 403" in stack.tree.log.read_text(), 20, "all is logged")
        logs = [stack.tree.log, *(stack.nginx.folder / "log").iterdir()]
        for log in logs:
            text = log.read_text()
            assert not [word for word in (token, APIKEY, f"={SECRET}") if word in text], log


def letters(number: int) -> str:
    """Give the name of a header, as short as can be."""
    return chr(97 + number % 26) if number < 26 else letters(number // 26 - 1) + chr(97 + number % 26)


def ask_numbered(stack: Stack, ending: threading.Event) -> int:
    """Ask for /line-0, /line-1 ... one after the other; give the last number."""
    number = -1
    while not ending.is_set():
        number += 1
        stack.client.get(f"/line-{number}")
    return number
