"""Those who paint the files of a folder: processes beside each other, or a thread of this one.

What is painted comes from anybody. A file that kills its process costs that file alone; and a process says what came of
it as JSON. Pickled is only what the process that asks sends to those that it started itself.
"""

import contextlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from threading import Lock
from typing import Any, Final

from impasto import errors
from impasto.errors import DeviceError, ImpastoError
from impasto.memory import keep_memory
from impasto.runtimes import share_processors
from impasto.work import Job, Outcome, Work, paint_file, stopping

END_S: Final = 10.0
"""Within which a process that has nothing to do ends."""


def serve() -> None:
    """Be a process of `Processes`: paint one file after another until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what a library prints is no answer
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())

    def answer(told: Mapping[str, Any]) -> None:
        answers.write(json.dumps(told) + "\n")
        answers.flush()

    keep_memory()
    work, threads, memory = pickle.load(sys.stdin.buffer)  # noqa: S301 - of the process that started this one
    share_processors(threads)
    try:
        work.prepare()
    except ImpastoError as error:
        answer({"error": str(error), "kind": type(error).__name__})
        return
    answer({})
    for line in sys.stdin.buffer:
        answer(asdict(paint_file(work, Job(**json.loads(line)), memory)))


class Painter:
    """One such process; it is started when it is first needed, and again when it has died."""

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.process: subprocess.Popen[bytes] | None = None

    def paint(self, job: Job) -> Outcome:
        """Have a file painted; blocks. Raises ImpastoError where no process can paint at all."""
        process = self.started()
        try:
            answer = exchange(process, json.dumps(asdict(job)).encode() + b"\n")
        except (EOFError, OSError):
            return Outcome(status="died", error=f"{job.source}: the process that painted it {died(process)}")
        return Outcome(**answer | {"notes": tuple(answer["notes"])})

    def started(self) -> subprocess.Popen[bytes]:
        """The process, ready to paint."""
        if self.process and self.process.poll() is None:
            return self.process
        self.close(0)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "impasto.painters"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
            },
            start_new_session=True,  # a terminal's Ctrl-C is for the process that asks
        )
        try:
            answer = exchange(self.process, self.message)
        except (EOFError, OSError) as error:
            raise DeviceError(f"a process to paint in does not start: it {died(self.process)}") from error
        if answer:
            raise getattr(errors, answer["kind"])(answer["error"])
        return self.process

    def stop(self) -> None:
        """Have it end a video at its next frame."""
        if self.process:
            self.process.terminate()

    def close(self, seconds: float) -> None:
        """End the process, which has nothing to do or only so many seconds left."""
        if not self.process:
            return
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]


def died(process: subprocess.Popen[bytes]) -> str:
    """How a process ended, in words."""
    code = process.wait()
    return f"was ended by signal {-code}; was there memory enough?" if code < 0 else f"ended with {code}"


def exchange(process: subprocess.Popen[bytes], message: bytes) -> dict[str, Any]:
    """Send a message and read the answer; raises EOFError or OSError where the process has died."""
    process.stdin.write(message)  # type: ignore[union-attr]
    process.stdin.flush()  # type: ignore[union-attr]
    line = process.stdout.readline()  # type: ignore[union-attr]
    if not line.endswith(b"\n"):
        raise EOFError
    answer: dict[str, Any] = json.loads(line)
    return answer


class Processes:
    """Processes that paint beside each other, `threads` processors each."""

    def __init__(self, work: Work, count: int, threads: int, memory: float | None) -> None:
        message = pickle.dumps((work, threads, memory))
        self.size = count
        self.painters = [Painter(message) for _ in range(count)]
        self.free: queue.SimpleQueue[Painter] = queue.SimpleQueue()
        for painter in self.painters:
            self.free.put(painter)
        self.threads = ThreadPoolExecutor(count, "impasto-painter")

    def submit(self, job: Job) -> "Future[Outcome]":
        """Have a free process paint a file."""
        return self.threads.submit(self.paint, job)

    def paint(self, job: Job) -> Outcome:
        """Have a free process paint a file; blocks."""
        painter = self.free.get()
        try:
            return painter.paint(job)
        finally:
            self.free.put(painter)

    def stop(self) -> None:
        """Have videos end at their next frame; photos are finished."""
        for painter in self.painters:
            painter.stop()

    def close(self, *, now: bool = False) -> None:
        """End the processes."""
        for painter in self.painters:
            painter.close(0 if now else END_S)
        self.threads.shutdown(cancel_futures=True)


class Here:
    """A thread of this process in place of others, for what they cannot see."""

    size = 1

    def __init__(self, work: Work) -> None:
        self.work = work
        self.lock = Lock()
        self.threads = ThreadPoolExecutor(1, "impasto-painter")

    def submit(self, job: Job) -> "Future[Outcome]":
        """Paint a file."""
        return self.threads.submit(paint_file, self.work, job)

    def stop(self) -> None:
        """Have a video end at its next frame."""
        stopping.set()

    def close(self, *, now: bool = False) -> None:
        """End the thread."""
        self.threads.shutdown(wait=not now, cancel_futures=True)
        stopping.clear()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # the one that asked is gone, and what was asked is done
        serve()
