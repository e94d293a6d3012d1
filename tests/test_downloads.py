"""Downloads, against a server on this computer that misbehaves in every way a real one does."""

import hashlib
import os
import resource
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest

from impasto import downloads
from impasto.downloads import Asset, cache_dir, fetch
from impasto.errors import WeightsError

CONTENT = os.urandom(300_000)
HALF = len(CONTENT) // 2


class Server(ThreadingHTTPServer):
    """Serves `content`; the other attributes are its faults."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.status = 0
        self.location = ""
        self.ranges = True
        self.tell_length = True
        self.cut_at: int | None = None
        self.delay_s = 0.0
        self.requests: list[str] = []

    def asset(self, *, sha256: str = hashlib.sha256(CONTENT).hexdigest(), size: int = len(CONTENT)) -> Asset:
        return Asset(name="model.pth", url=f"http://127.0.0.1:{self.server_port}/model.pth", size=size, sha256=sha256)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.server.requests.append(asked)
        time.sleep(self.server.delay_s)
        if self.server.location and self.path != "/moved":
            self.send_response(302)
            self.send_header("Location", self.server.location)
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        status = self.server.status or (206 if start else 200)
        if start >= len(self.server.content):
            status = 416
        self.send_response(status)
        body = self.server.content[start:] if status < 400 else b"no"
        if self.server.tell_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.server.cut_at is None else body[: self.server.cut_at])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name it has in http.server)
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fails(asset: Asset, match: str) -> str:
    """Fetch what cannot be had; the message is one line, and no file has the asset's name."""
    with pytest.raises(WeightsError, match=match) as caught:
        fetch(asset)
    assert "\n" not in str(caught.value)
    assert not (cache_dir() / asset.name).exists()
    return str(caught.value)


def test_fetch_downloads_once_and_reports_progress(server: Server, cache: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(server.asset(), progress=lambda done, total: seen.append((done, total)))
    assert path == cache / "model.pth"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert fetch(server.asset()) == path
    assert len(server.requests) == 1
    assert not (cache / "model.pth.part").exists()


def test_a_prefix_of_the_checksum_is_enough(server: Server) -> None:
    assert fetch(server.asset(sha256=hashlib.sha256(CONTENT).hexdigest()[:8])).read_bytes() == CONTENT


def test_a_file_put_there_by_hand_is_used_and_hashed_once(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    (cache / "model.pth").write_bytes(CONTENT)
    fetch(server.asset())
    monkeypatch.setattr(downloads, "_sha256", lambda path: pytest.fail(f"{path} was hashed again"))
    fetch(server.asset())
    assert server.requests == []


@pytest.mark.parametrize("wrong", [CONTENT[:-1], CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])], ids=["short", "changed"])
def test_a_wrong_file_in_the_cache_is_replaced(server: Server, cache: Path, wrong: bytes) -> None:
    cache.mkdir()
    (cache / "model.pth").write_bytes(wrong)
    assert fetch(server.asset()).read_bytes() == CONTENT


def test_a_verified_file_that_changes_afterwards_is_replaced(server: Server) -> None:
    path = fetch(server.asset())
    path.write_bytes(bytes(len(CONTENT)))
    os.utime(path, ns=(1, 1))
    assert fetch(server.asset()).read_bytes() == CONTENT


@pytest.mark.parametrize("tell_length", [True, False])
def test_a_cut_download_goes_on_where_it_stopped(server: Server, cache: Path, tell_length: bool) -> None:
    server.cut_at, server.tell_length = HALF, tell_length
    message = fails(server.asset(), f"ended after {HALF} of {len(CONTENT)} bytes")
    assert str(cache / "model.pth") in message
    assert server.asset().url in message
    server.cut_at = None
    assert fetch(server.asset()).read_bytes() == CONTENT
    assert server.requests == ["", f"bytes={HALF}-"]


def test_a_server_that_ignores_the_range_sends_all_again(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "model.pth.part").write_bytes(CONTENT[:HALF])
    server.ranges = False
    assert fetch(server.asset()).read_bytes() == CONTENT


def test_a_whole_part_needs_no_network(cache: Path) -> None:
    cache.mkdir()
    (cache / "model.pth.part").write_bytes(CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    asset = Asset(name="model.pth", url="https://impasto.invalid/x", size=len(CONTENT), sha256=digest)
    assert fetch(asset).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [HALF, len(CONTENT) + 1])
def test_a_part_of_another_file_is_given_up(server: Server, cache: Path, size: int) -> None:
    cache.mkdir()
    (cache / "model.pth.part").write_bytes(bytes(size))
    if size < len(CONTENT):
        fails(server.asset(), "gave another file than expected .* deleted")
    assert fetch(server.asset()).read_bytes() == CONTENT


@pytest.mark.parametrize("tell_length", [True, False])
def test_more_bytes_than_promised_stop_the_download(server: Server, cache: Path, tell_length: bool) -> None:
    server.content, server.tell_length = CONTENT + bytes(20 << 20), tell_length
    fails(server.asset(), "is another file")
    assert (cache / "model.pth.part").stat().st_size == 0
    server.content = CONTENT
    assert fetch(server.asset()).read_bytes() == CONTENT


def test_a_login_page_is_not_kept(server: Server, cache: Path) -> None:
    server.content = b"<html>pay first</html>"
    fails(server.asset(), "is another file: 22 bytes")
    assert (cache / "model.pth.part").stat().st_size == 0


def test_a_wrong_checksum_deletes_the_download(server: Server, cache: Path) -> None:
    message = fails(server.asset(sha256="0" * 64), "gave another file than expected")
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert not (cache / "model.pth.part").exists()


def test_a_file_that_became_shorter_on_the_server_begins_again(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "model.pth.part").write_bytes(CONTENT[:HALF])
    server.content = CONTENT[:100]
    fails(server.asset(), "HTTP 416")
    server.content = CONTENT
    assert fetch(server.asset()).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 500])
def test_http_errors(server: Server, status: int) -> None:
    server.status = status
    fails(server.asset(), f"HTTP {status}")


def test_a_redirect_to_plain_http_is_refused(server: Server) -> None:
    server.location = "http://impasto.invalid/model.pth"
    fails(server.asset(), "redirects to http://impasto.invalid/model.pth, which is not https")


def test_a_redirect_on_this_computer_is_followed(server: Server) -> None:
    server.location = "/moved"
    assert fetch(server.asset()).read_bytes() == CONTENT


@pytest.mark.parametrize("target", ["http://127.0.0.1/x", "http://other.invalid/x", "ftp://other.invalid/x"])
def test_https_redirects_to_https_only(target: str) -> None:
    request = urllib.request.Request("https://impasto.invalid/x")
    handler = downloads._SecureRedirects()
    with pytest.raises(urllib.error.URLError, match="not https"):
        handler.redirect_request(request, BytesIO(), 302, "", HTTPMessage(), target)
    followed = handler.redirect_request(request, BytesIO(), 302, "", HTTPMessage(), "https://other.invalid/x")
    assert followed is not None
    assert followed.full_url == "https://other.invalid/x"


def test_offline(cache: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    asset = Asset(name="model.pth", url=f"http://127.0.0.1:{port}/model.pth", size=3, sha256="0" * 64)
    message = fails(asset, "cannot download model.pth from http")
    assert asset.url in message
    assert f"put the file at {cache / 'model.pth'}" in message


def test_a_silent_server_times_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.05)
    server.delay_s = 0.3
    fails(server.asset(), "timed out")


def test_a_cache_that_cannot_be_made(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(WeightsError, match=r"cannot write model\.pth .* set IMPASTO_CACHE"):
        fetch(server.asset())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_cache(server: Server, cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o500)
    fails(server.asset(), "Permission denied")
    cache.chmod(0o700)
    (cache / "model.pth").write_bytes(CONTENT)
    cache.chmod(0o500)
    assert fetch(server.asset()).read_bytes() == CONTENT
    cache.chmod(0o700)


def test_a_full_disk(server: Server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, hard))
    try:
        message = fails(server.asset(), r"cannot write model\.pth \(0 MB\)")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "set IMPASTO_CACHE to a folder with room" in message
    assert fetch(server.asset()).read_bytes() == CONTENT


def test_an_interrupt_keeps_what_came(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads, "CHUNK_BYTES", 1000)
    with pytest.raises(KeyboardInterrupt):
        fetch(server.asset(), progress=interrupt)
    assert (cache / "model.pth.part").stat().st_size == 1000
    assert fetch(server.asset()).read_bytes() == CONTENT
    assert server.requests == ["", "bytes=1000-"]


def test_several_at_once_download_once(server: Server) -> None:
    server.delay_s = 0.05
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(server.asset()), range(4)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../model.pth"),
        ("name", ""),
        ("name", ".."),
        ("url", "http://impasto.invalid/model.pth"),
        ("url", "file:///etc/passwd"),
        ("url", "http://127.0.0.1.impasto.invalid/x"),
        ("sha256", ""),
        ("sha256", "ABCDEF01"),
        ("sha256", "abcdef0"),
    ],
)
def test_assets_that_cannot_be_trusted(field: str, value: str) -> None:
    good = {"name": "model.pth", "url": "https://impasto.invalid/model.pth", "sha256": "abcdef01"}
    with pytest.raises(ValueError, match=f"^{field} is "):
        Asset(size=1, **(good | {field: value}))


def test_cache_dir_follows_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IMPASTO_CACHE", "~/own")
    assert cache_dir() == tmp_path / "own"
    monkeypatch.delenv("IMPASTO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "impasto"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    for system, expected in {
        "linux": tmp_path / ".cache" / "impasto",
        "darwin": tmp_path / "Library" / "Caches" / "impasto",
        "win32": tmp_path / "AppData" / "Local" / "impasto",
    }.items():
        monkeypatch.delenv("LOCALAPPDATA", raising=False)
        monkeypatch.setattr(sys, "platform", system)
        assert cache_dir() == expected
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_dir() == tmp_path / "local" / "impasto"


def test_needs_no_pytorch() -> None:
    code = "import sys, impasto.downloads; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
