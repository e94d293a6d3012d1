"""Processes beside the server, which answer messages: started, watched by the clock, and replaced when they die."""

import asyncio
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from impasto.web.frames import BrokenFrameError, Bytes, read_frame, write_frame
from impasto.web.settings import ServeConfig

START_S = 60.0
"""Within which a process must be ready."""
KEPT = ("LANG", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "XDG_CACHE_HOME", "HOME")
"""Of the environment that processes get: they need no more, and are to see no secrets."""


class WorkerDiedError(Exception):
    """A process ended before it had answered, or was ended because it took too long."""


def environment() -> dict[str, str]:
    """Environment of a process."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}


def command(*arguments: str) -> list[str]:
    """What starts a process of ours."""
    return [sys.executable, "-m", "impasto.web.children", *arguments]


class Worker:
    """One process, and the pipes to it. A call blocks; calls from several threads wait for each other."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.is_ready = False
        self.closed = False

    def launch(self) -> None:
        """Start the process and do not wait for it; for before it is used."""
        with self.lock:
            self._launch()

    def start(self) -> None:
        """Start the process unless it runs; returns when it is ready."""
        with self.lock:
            self._started()

    def _launch(self) -> subprocess.Popen[bytes]:
        if self.closed:
            raise WorkerDiedError("the server stops")
        if self.process is None or self.process.poll() is not None:
            self.stop()
            self.process = subprocess.Popen(  # noqa: S603 - of our own making
                command(*self.arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment(),
                start_new_session=True,  # so that it is ended with what it forked, and not by the terminal's Ctrl-C
            )
        return self.process

    def _started(self) -> subprocess.Popen[bytes]:
        process = self._launch()
        if not self.is_ready:
            self._exchange(process, None, (), START_S, 0)
            self.is_ready = True
        return process

    def call(
        self, head: Mapping[str, Any], *payload: Bytes, seconds: float, limit: int
    ) -> tuple[dict[str, Any], bytearray]:
        """Send a message and return the answer, of at most `limit` bytes.

        Raises:
            WorkerDiedError: The process has ended, took more than `seconds`, or sent what is no answer.

        """
        with self.lock:
            return self._exchange(self._started(), head, payload, seconds, limit)

    def _exchange(
        self,
        process: subprocess.Popen[bytes],
        head: Mapping[str, Any] | None,
        payload: tuple[Bytes, ...],
        seconds: float,
        limit: int,
    ) -> tuple[dict[str, Any], bytearray]:
        """Write a message, if any, and read one."""
        assert process.stdin  # noqa: S101 - both are pipes
        assert process.stdout  # noqa: S101
        watch = threading.Timer(seconds, kill, [process])
        watch.start()
        try:
            if head is not None:
                write_frame(process.stdin, head, *payload)  # type: ignore[arg-type]
            answer = read_frame(process.stdout, limit)  # type: ignore[arg-type]
        except (OSError, BrokenFrameError) as error:
            self.stop()
            raise WorkerDiedError(str(error)) from error
        finally:
            watch.cancel()
        if answer is None:
            self.stop()
            raise WorkerDiedError("it has ended")
        return answer

    def stop(self) -> None:
        """End the process; the next call starts another."""
        if self.process is not None:
            kill(self.process)
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
            self.process = None
            self.is_ready = False

    def retire(self) -> None:
        """End the process once it has answered; the next call starts another."""
        with self.lock:
            self.stop()

    def close(self) -> None:
        """End the process for good, from any thread, at once."""
        self.closed = True
        if process := self.process:
            kill(process)
        with self.lock:
            self.stop()


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it forked."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


class Pool:
    """Processes that do the same, called without blocking the event loop."""

    def __init__(self, count: int, *arguments: str) -> None:
        self.workers = [Worker(*arguments) for _ in range(count)]
        self.free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self.workers:
            self.free.put(worker)
        self.threads = ThreadPoolExecutor(count, arguments[0])

    def launch(self) -> None:
        """Start all processes and wait for none."""
        for worker in self.workers:
            worker.launch()

    def start(self) -> None:
        """Start all processes; returns when they are ready."""
        for worker in self.workers:
            worker.start()

    async def call(
        self, head: Mapping[str, Any], *payload: Bytes, seconds: float, limit: int
    ) -> tuple[dict[str, Any], bytearray]:
        """Have a free process answer a message; see `Worker.call`."""

        def run() -> tuple[dict[str, Any], bytearray]:
            worker = self.free.get()
            try:
                return worker.call(head, *payload, seconds=seconds, limit=limit)
            finally:
                self.free.put(worker)

        return await asyncio.get_running_loop().run_in_executor(self.threads, run)

    def retire(self) -> None:
        """End all processes once they have answered; the next calls start others."""
        for worker in self.workers:
            worker.retire()

    def close(self) -> None:
        """End all processes."""
        for worker in self.workers:
            worker.close()
        self.threads.shutdown(wait=False, cancel_futures=True)


class Processes:
    """Those beside a server: some decode uploads, one paints. They start at once, while the server is still loaded."""

    def __init__(self, settings: ServeConfig) -> None:
        self.decoders = Pool(settings.decoders, "decode", str(settings.decode_mb), str(settings.decode_seconds))
        self.brush = Pool(1, "paint")
        self.brush.launch()
        self.decoders.launch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all of them."""
        self.brush.close()
        self.decoders.close()
