"""The real server on a free port, as `up` starts it."""

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from infra.configuration.settings import Settings
from infra.services import data_docs, ports
from infra.services.data_docs import About
from infra.services.endpoints import docs_login
from infra.services.http_client import basic_auth, is_healthy
from infra.supervisor import commands
from serving.http.bounded_http import CONNECTIONS


class Site:
    """A running server and what it answers."""

    def __init__(self, settings: Settings, port: int, pid: int) -> None:
        self.var, self.port, self.login, self.pid = settings.var, port, docs_login(settings), pid

    def get(self, path: str, login: str | None = None, method: str = "GET") -> tuple[int, str]:
        """Status and text. The path goes out as it is: clients of the usual kind take `..` out of it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            headers = {} if login == "" else {"Authorization": basic_auth(login or self.login)}
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            assert "default-src 'none'" in str(answer.headers["content-security-policy"])
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = Settings(var=tmp_path_factory.mktemp("var"))
    port = ports.free(15000 + os.getpid() % 1000)
    command = commands.docs_command(settings, port)
    process = subprocess.Popen(command.arguments, env={**os.environ, **command.environment}, cwd="/")
    try:
        while not is_healthy(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None
            time.sleep(0.05)
        yield Site(settings, port, process.pid)
    finally:
        process.terminate()
        process.wait(timeout=10)


def publish(var: Path, batch_id: str, minute: int, passed: bool = True) -> None:
    about = About(batch_id, "events", passed, f"2024-05-01T10:{minute:02}:00+00:00")
    with data_docs.replace_page(var, about) as folder:
        (folder / "index.html").write_text(f"<p>the page of {batch_id}</p>")


@pytest.mark.parametrize("login", ["", "tailorbird:", "tailorbird:wrong", "somebody:else", "é:ü"])
@pytest.mark.parametrize("path", ["/", "/b1/", "/nothing"])
def test_nothing_is_shown_without_the_login(site: Site, login: str, path: str) -> None:
    publish(site.var, "b1", 1)
    status, text = site.get(path, login)
    assert status == 401
    assert "b1" not in text


def test_the_index_lists_the_batches_newest_first_with_their_verdicts(site: Site) -> None:
    for minute, passed in ((2, True), (4, False), (3, True)):
        publish(site.var, f"batch-{minute}", minute, passed)
    publish(site.var, "<b>bold</b>", 5)
    status, text = site.get("/")
    assert status == 200
    assert [text.index(f"batch-{minute}</a>") for minute in (4, 3, 2)] == sorted(
        text.index(f"batch-{minute}</a>") for minute in (4, 3, 2)
    )
    assert "refused</span></td><td>2024-05-01 10:04:00 UTC" in text
    assert "&lt;b&gt;bold" in text
    assert "<b>bold" not in text


def test_a_batch_has_its_page_until_it_is_kept_no_more_and_nothing_can_be_written(site: Site) -> None:
    publish(site.var, "b1", 1)
    assert site.get("/b1/") == (200, "<p>the page of b1</p>")
    assert site.get("/b1")[0] == 307
    status, text = site.get("/long-gone/")
    assert (status, "The pages of the newest 20 batches are kept" in text) == (404, True)
    assert site.get("/health", "") == (200, "ok")
    assert [site.get("/", method=method)[0] for method in ("POST", "PUT", "DELETE")] == [405] * 3


@pytest.mark.parametrize(
    "path",
    [
        "/../secrets/docs-page",
        "/..%2fsecrets%2fdocs-page/",
        "/%2e%2e/",
        "/../",
        "//etc/passwd",
        "/b1/about.json",
        "/b1/../../secrets/docs-page",
        "/b1%00/",
        "/.draft/",
        "/" + "x" * 3000 + "/",
    ],
)
def test_no_path_leads_anywhere_else(site: Site, path: str) -> None:
    publish(site.var, "b1", 1)
    draft = data_docs.pages_folder(site.var) / ".draft"
    draft.mkdir(exist_ok=True)
    (draft / "index.html").write_text("half a page")
    status, text = site.get(path)
    assert status == 404
    assert site.login.split(":")[1] not in text


def test_clients_that_send_no_request_are_closed_and_keep_nobody_out(site: Site) -> None:
    with ExitStack() as stack:
        place = ("127.0.0.1", site.port)
        clients = [stack.enter_context(socket.create_connection(place, timeout=10)) for _ in range(300)]
        for client in clients:
            with suppress(OSError):  # the server may have closed it already
                client.sendall(b"GET / HTTP/1.1\r\n")
        assert site.get("/")[0] == 200
        held = [c for c in psutil.Process(site.pid).net_connections("tcp") if c.status == psutil.CONN_ESTABLISHED]
        assert len(held) <= CONNECTIONS
