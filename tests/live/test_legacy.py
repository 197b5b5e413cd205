"""The stack before uWSGI runs: Nginx, two supervisords, CherryPy's and Paste's server."""

import http.client
import os
import ssl
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from urllib.parse import urlencode, urlsplit

import psutil
import pytest

from tests.live.legacy import NAME, PORTS, LegacyNginx, listens, prepare, supervised
from tests.live.network import own_network
from tests.live.processes import alive, family, kill, named, of_user, wait_until
from tests.live.site import Site
from tests.live.tree import UID, Tree, deployed_tree

APIKEY, SECRET = "an-old-client", "sesame"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    with own_network():
        yield


@pytest.fixture(scope="module")
def tree(network: None) -> Iterator[Tree]:
    with deployed_tree() as tree:
        ini = prepare(tree)
        head = "use = egg:linkpeek\n"
        more = "linkpeek.egress_allow = 127.0.0.0/8\nlinkpeek.egress_ports = *\n"
        for file in (ini, tree.ini):
            file.write_text(file.read_text().replace(head, head + more, 1))
        tree.linkpeek("init", str(ini))
        tree.linkpeek("key", "add", "--name", "old", "--apikey", APIKEY, "--secret", SECRET, str(ini))
        try:
            yield tree
        finally:
            if os.geteuid() == 0:
                kill(of_user(UID))


@pytest.fixture(scope="module")
def nginx(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LegacyNginx]:
    nginx = LegacyNginx(tmp_path_factory.mktemp("nginx"), tree)
    with nginx.running():
        yield nginx


@pytest.fixture(params=["main", "paste"], scope="module")
def stack(
    request: pytest.FixtureRequest, tree: Tree, nginx: LegacyNginx
) -> Iterator[dict[str, "Popen[bytes]"]]:
    with supervised(tree, request.param) as jobs:
        wait_until(lambda: get(nginx, "/readyz")[0] == 200, 30, "the service is ready")
        yield jobs


def stop(job: "Popen[bytes]") -> None:
    """Stop a job as init does: one of uWSGI's processes may miss a stop while others still start."""
    job.terminate()
    try:
        job.wait(5)
    except TimeoutExpired:
        job.kill()
        job.wait(5)


def get(nginx: LegacyNginx, path: str) -> tuple[int, dict[str, str], bytes]:
    """Ask over HTTPS; names of headers in lower case."""
    context = ssl.create_default_context(cafile=None)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", nginx.https, timeout=40, context=context)
    try:
        connection.request("GET", path, headers={"Host": NAME})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def signed(uri: str, size: str = "336") -> str:
    token = md5(f"{SECRET}{uri}{size}".encode()).hexdigest()
    return "/api/v1?" + urlencode({"uri": uri, "apikey": APIKEY, "token": token, "size": size})


def test_a_signed_request_ends_in_a_picture(
    stack: dict[str, "Popen[bytes]"], nginx: LegacyNginx, site: Site
) -> None:
    status, headers, _ = get(nginx, signed(site.url("/static")))
    assert (status, headers["x-linkpeek-state"]) == (302, "ready")
    place = urlsplit(headers["location"])
    assert (place.scheme, place.hostname) == ("https", NAME)
    status, headers, picture = get(nginx, place.path)
    assert status == 200
    assert picture.startswith(PNG)
    assert headers["content-type"] == "image/png"


def test_it_is_the_server_that_it_should_be(
    stack: dict[str, "Popen[bytes]"], request: pytest.FixtureRequest
) -> None:
    word = {"main": "Cheroot", "paste": "PasteWSGIServer"}[request.node.callspec.params["stack"]]
    for port in PORTS:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        assert answer.status == 200
        assert word in answer.getheader("Server", "")
        connection.close()


def test_port_80_leads_to_443(stack: dict[str, "Popen[bytes]"], nginx: LegacyNginx) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", nginx.http, timeout=10)
    connection.request("GET", "/docs?x", headers={"Host": NAME})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Location")) == (301, f"https://{NAME}/docs?x")
    connection.close()


def test_a_killed_web_process_comes_back(stack: dict[str, "Popen[bytes]"], nginx: LegacyNginx) -> None:
    supervisor = psutil.Process(stack["web"].pid)
    (first,) = named(family(supervisor), "http_port=9901")
    first.kill()
    wait_until(
        lambda: named(alive(family(supervisor)), "http_port=9901") not in ([], [first]), 10, "a new one"
    )
    wait_until(lambda: listens(9901), 20, "it listens")
    assert get(nginx, "/healthz")[0] == 200


def test_no_key_in_a_log(stack: dict[str, "Popen[bytes]"], nginx: LegacyNginx, tree: Tree) -> None:
    path = signed("http://127.0.0.1:1/")
    get(nginx, path)

    def logged() -> str:
        logs = [*tree.web.glob("*.log"), *Path(nginx._folder, "log").iterdir()]
        return "".join(log.read_text() for log in logs)

    wait_until(lambda: "GET /api/v1" in logged(), 20, "it is logged")
    text = logged()
    assert APIKEY not in text
    assert path.partition("token=")[2][:32] not in text


def test_both_stacks_side_by_side_on_the_same_data(
    stack: dict[str, "Popen[bytes]"], nginx: LegacyNginx, tree: Tree, site: Site
) -> None:
    uwsgi = tree.start(tree.exec_line())
    try:
        wait_until(lambda: listens(5200) and plain(5200, "/readyz")[0] == 200, 30, "uWSGI is ready")
        path = signed(site.url("/static?made-by-the-old"))
        assert get(nginx, path)[0] == 302
        status, headers = plain(5200, path)
        assert (status, headers["x-linkpeek-state"]) == (302, "ready")
        path = signed(site.url("/static?made-by-the-new"))
        assert plain(5200, path)[0] == 302
        assert get(nginx, path)[1]["x-linkpeek-state"] == "ready"
        assert site.hits["/static"] >= 2
    finally:
        stop(uwsgi)


def plain(port: int, path: str) -> tuple[int, dict[str, str]]:
    """Ask a stack without its Nginx."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    try:
        connection.request("GET", path, headers={"Host": NAME})
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()
