"""A server to test with, `impasto serve` in a process of its own on a free port, and what it is asked."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import numpy.typing as npt
from PIL import Image
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from conftest import write_engines

ENGINES = """from pathlib import Path
import impasto.paintings
impasto.paintings.engines_folder = lambda: Path({!r})
"""
"""What Python runs first where it is in a folder of its path, called sitecustomize.py."""
Pixels = npt.NDArray[np.uint8]


class Server:
    """`impasto serve` in a process of its own."""

    def __init__(self, *options: str, **environment: str) -> None:
        command = [sys.executable, "-m", "impasto", "serve", "--port", "0", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        assert self.process.stdout
        self.shown = self.process.stdout.readline().strip()
        self.port = urlsplit(self.shown).port or 0
        self.url = f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, **options)

    def live(self, origin: str | None = None) -> ClientConnection:
        return connect(f"ws{self.url[4:]}/v1/live", origin=None if origin is None else Origin(origin))

    def wait(self) -> None:
        """Until it can paint."""
        with self.client() as client:
            deadline = time.monotonic() + 30
            while client.get("/ready").status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def send(self, data: bytes, seconds: float = 10) -> bytes:
        """Answer to bytes that may not be HTTP."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as plain:
            with contextlib.suppress(ConnectionError):
                plain.sendall(data)
            with contextlib.suppress(TimeoutError, ConnectionError):
                while b"\r\n\r\n" not in answer and (part := plain.recv(65536)):
                    answer += part
        return answer

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; returns its exit code. What it said on standard error is then in `said`."""
        self.process.send_signal(number)
        self.said = self.process.communicate(timeout=40)[1]
        return self.process.returncode


@contextlib.contextmanager
def serving(*options: str, **environment: str) -> Iterator[Server]:
    server = Server(*options, **environment)
    try:
        server.wait()
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def with_engines(folder: Path) -> dict[str, str]:
    """Environment in which a server, and its processes, find engines that paint a painting's mean colour."""
    write_engines(folder)
    (folder / "sitecustomize.py").write_text(ENGINES.format(str(folder)))
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}


def encoded(pixels: Pixels, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def refused(answer: httpx.Response, status: int, code: str = "", *words: str) -> str:
    assert answer.status_code == status, answer.text[:500]
    error = answer.json()["error"]
    assert error["code"] == code or not code
    assert error["message"]
    assert all(word in error["message"] for word in words), error["message"]
    return str(error["message"])


def follow(client: httpx.Client, job: str, until: str = "") -> list[dict[str, Any]]:
    """Events of a job, to its end or to a state's first step."""
    told = []
    with client.stream("GET", f"/v1/jobs/{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                told.append(json.loads(line[6:]))
                if until and told[-1]["state"] == until and told[-1].get("step"):
                    break
    return told
