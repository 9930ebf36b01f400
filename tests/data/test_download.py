from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mulligan.data.download import download, reachable
from mulligan.errors import UserError

BODY = bytes(range(256)) * 1000


class Handler(BaseHTTPRequestHandler):
    """Behaves as its path says; counts requests by path."""

    asked: dict[str, int]
    release: threading.Event

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked[self.path] = count = self.asked.get(self.path, 0) + 1
        kind = self.path.split("/")[1]
        if kind.isdigit():
            self.send_error(int(kind))
            return
        if kind == "flaky" and count < 3:
            self.send_error(503)
            return
        body = {"corrupt": b"x" + BODY[1:], "endless": BODY * 4, "declares": BODY * 4}.get(kind, BODY)
        self.send_response(200)
        if kind not in ("unsized", "endless"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        half = len(body) // 2
        self.wfile.write(body[:half])
        if kind == "stall":
            self.wfile.flush()
            self.release.wait(10)
        if kind not in ("truncate", "stall"):
            self.wfile.write(body[half:])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what these tests are about."""


class Server:
    def __init__(self, url: str, asked: dict[str, int]) -> None:
        self.url, self.asked = url, asked

    def __call__(self, kind: str) -> str:
        return f"{self.url}/{kind}/file.gz"

    def count(self, kind: str) -> int:
        return self.asked.get(f"/{kind}/file.gz", 0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    asked: dict[str, int] = {}
    release = threading.Event()
    handler = type("ThisHandler", (Handler,), {"asked": asked, "release": release})
    with QuietServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Server(f"http://127.0.0.1:{http.server_port}", asked)
        release.set()
        http.shutdown()
        thread.join()


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/file.gz"


def check(path: Path) -> None:
    if hashlib.sha256(path.read_bytes()).digest() != hashlib.sha256(BODY).digest():
        raise UserError(f"{path}: damaged: its checksum is wrong")


def get(target: Path, *urls: str, timeout: float = 5, retries: int = 0, max_bytes: int = 10**6) -> None:
    download(
        urls,
        target,
        check=check,
        max_bytes=max_bytes,
        timeout=timeout,
        retries=retries,
        backoff=0.01,
        instead="use --data digits",
    )


@pytest.mark.parametrize("kind", ["good", "unsized"])
def test_fetches(tmp_path: Path, server: Server, kind: str) -> None:
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "new" / "folder" / "file.gz"
    download([server(kind)], target, check=check, max_bytes=len(BODY), progress=lambda *now: seen.append(now))
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target]
    assert seen[-1] == (len(BODY), len(BODY) if kind == "good" else None)
    assert seen == sorted(seen, key=lambda now: now[0])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("404", "HTTP 404"),
        ("500", "HTTP 500"),
        ("truncate", "ended after 128000 of 256000 bytes"),
        ("stall", "timed out"),
        ("corrupt", "sends a wrong file: damaged: its checksum is wrong"),
        ("endless", "sends more than the 1000000 bytes"),
        ("declares", "sends more than the 1000000 bytes"),
    ],
)
def test_a_bad_mirror_leaves_what_was_there_and_the_next_is_asked(
    tmp_path: Path, server: Server, kind: str, reason: str
) -> None:
    target = tmp_path / "file.gz"
    target.write_bytes(b"old")
    with pytest.raises(UserError) as caught:
        get(target, server(kind), timeout=0.2)
    message = str(caught.value)
    assert f"{server(kind)}: {reason}" in message
    assert message.endswith("; use --data digits")
    assert "\n" not in message
    assert "part" not in message
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]

    get(target, server(kind), server("good"), timeout=0.2)
    assert target.read_bytes() == BODY
    assert list(tmp_path.iterdir()) == [target]


def test_every_mirror_is_named_with_its_reason(tmp_path: Path, server: Server) -> None:
    with pytest.raises(UserError) as caught:
        get(tmp_path / "file.gz", closed_port(), server("404"), "ftp://host/file.gz", "file:///etc/passwd")
    message = str(caught.value)
    assert "refused" in message
    assert "HTTP 404" in message
    assert message.count("expected an address that begins with http://") == 2
    assert list(tmp_path.iterdir()) == []


def test_a_stall_ends_in_its_time(tmp_path: Path, server: Server) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match="timed out"):
        get(tmp_path / "file.gz", server("stall"), timeout=0.3)
    assert 0.25 < time.monotonic() - began < 3


def test_only_faults_that_may_pass_are_retried(tmp_path: Path, server: Server) -> None:
    get(tmp_path / "file.gz", server("flaky"), retries=2)
    assert server.count("flaky") == 3
    for kind, asked in (("404", 1), ("corrupt", 1), ("500", 3), ("truncate", 3)):
        with pytest.raises(UserError):
            get(tmp_path / "other", server(kind), retries=2)
        assert server.count(kind) == asked


def test_a_folder_that_cannot_be_written_is_not_a_mirrors_fault(tmp_path: Path, server: Server) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be written"):
        get(tmp_path / "file" / "below" / "file.gz", server("good"))
    assert server.asked == {}


def test_reachable(server: Server) -> None:
    assert reachable([closed_port(), server("good")], 5)
    began = time.monotonic()
    assert not reachable([closed_port(), server("404")], 5)
    assert time.monotonic() - began < 3


def test_reachable_keeps_to_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and says nothing
        began = time.monotonic()
        assert not reachable([f"http://127.0.0.1:{silent.getsockname()[1]}/file.gz"], 0.3)
        assert time.monotonic() - began < 2
