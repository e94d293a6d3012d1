"""Those who paint the files of a folder: processes beside each other, or a thread of this one.

What is painted comes from anybody. A file that kills its process costs that file alone; and a process says what came of
it as JSON. Pickled is only what the process that asks sends to those that it started itself.
"""

import contextlib
import itertools
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from threading import Lock, Thread
from typing import Any, Final

from impasto import errors
from impasto.errors import DeviceError, ImpastoError
from impasto.memory import keep_memory
from impasto.runtimes import share_processors
from impasto.work import Job, Outcome, Work, paint_file, stopping

END_S: Final = 10.0
"""Within which a process that has nothing to do ends."""


def serve() -> None:
    """Be a process of `Processes`: paint file after file, so many at a time, until standard input ends."""
    answers, lock = os.fdopen(os.dup(1), "w", encoding="ascii"), Lock()
    os.dup2(2, 1)  # what a library prints is no answer
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())

    def answer(told: Any) -> None:
        with lock:
            answers.write(json.dumps(told) + "\n")
            answers.flush()

    keep_memory()
    work, threads, memory, abreast = pickle.load(sys.stdin.buffer)  # noqa: S301 - of the process that started this one
    share_processors(threads)
    try:
        work.prepare()
    except ImpastoError as error:
        answer({"error": str(error), "kind": type(error).__name__})
        return
    answer({})

    def paint(number: int, job: dict[str, Any]) -> None:
        try:
            answer([number, asdict(paint_file(work, Job(**job), memory))])
        except BrokenPipeError:
            pass  # the one that asked is gone, and what was asked is done
        except BaseException:  # whatever it is: its answer is waited for until the process has died  # noqa: BLE001
            traceback.print_exc()
            os._exit(1)

    with ThreadPoolExecutor(abreast) as painting:
        for line in sys.stdin.buffer:
            painting.submit(paint, *json.loads(line))
        stopping.set()  # who asked may be gone: nobody waits for the rest of a video, and another may paint it


class Child:
    """A process that paints, from its start to its end."""

    def __init__(self) -> None:
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
        self.lock = Lock()
        self.asked: dict[int, Future[dict[str, Any]]] = {}
        """Answers that are to come, by their number; those that cannot come any more are EOFErrors."""
        self.numbers = itertools.count()
        self.alive = True
        self.listener = Thread(target=self.listen, name="impasto-listener", daemon=True)

    def begin(self, message: bytes) -> None:
        """Tell it what to paint by; raises ImpastoError where it cannot."""
        try:
            self.send(message)
            answer = json.loads(self.process.stdout.readline())  # type: ignore[union-attr]
        except (OSError, ValueError) as error:
            self.close(END_S)  # it is ending; killed it would tell nothing of why
            raise DeviceError(f"a process to paint in does not start: it {died(self.process)}") from error
        if answer:
            raise getattr(errors, answer["kind"])(answer["error"])
        self.listener.start()

    def send(self, message: bytes) -> None:
        """Send it something; raises OSError where it has died."""
        self.process.stdin.write(message)  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]

    def ask(self, job: Job) -> "Future[dict[str, Any]]":
        """Have a file painted."""
        future: Future[dict[str, Any]] = Future()
        with self.lock:
            number = next(self.numbers)
            self.asked[number] = future
            with contextlib.suppress(OSError):  # which the listener sees, too
                self.send(json.dumps([number, asdict(job)]).encode() + b"\n")
            if not self.alive:
                self.end()
        return future

    def listen(self) -> None:
        """Hand on what it answers, until it has died, or speaks nonsense."""
        with contextlib.suppress(Exception):  # nonsense, or no memory for it: all that is asked has to be answered
            for line in self.process.stdout:  # type: ignore[union-attr]
                number, answer = json.loads(line)
                self.asked.pop(number).set_result(answer)
        self.process.kill()
        with self.lock:
            self.alive = False
            self.end()

    def end(self) -> None:
        """Answer all that is asked: nothing will come any more."""
        while self.asked:
            self.asked.popitem()[1].set_exception(EOFError())

    def close(self, seconds: float) -> None:
        """End the process, which has nothing to do or only so many seconds left."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.listener.ident:
            self.listener.join()
        self.process.stdout.close()  # type: ignore[union-attr]


class Painter:
    """One such process; it is started when it is first needed, and again when it has died."""

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.child: Child | None = None
        self.error: BaseException | None = None
        """Why none can be started; it is not tried again."""
        self.lock = Lock()

    def paint(self, job: Job) -> Outcome:
        """Have a file painted; blocks. Raises ImpastoError where no process can paint at all."""
        child = self.started()
        try:
            answer = child.ask(job).result()
        except EOFError:
            return Outcome(status="died", error=f"{job.source}: the process that painted it {died(child.process)}")
        return Outcome(**answer | {"notes": tuple(answer["notes"])})

    def started(self) -> Child:
        """The process, ready to paint."""
        with self.lock:
            if self.error:
                raise self.error
            if self.child and not self.child.alive:
                self.close(0)
            if child := self.child:
                return child
            self.child = child = Child()  # which can be stopped from here on
            try:
                child.begin(self.message)
            except BaseException as error:
                self.error = error
                self.close(0)
                raise
            return child

    def stop(self) -> None:
        """Have it end a video at its next frame."""
        if child := self.child:
            child.process.terminate()

    def close(self, seconds: float) -> None:
        """End the process, which has nothing to do or only so many seconds left."""
        child, self.child = self.child, None
        if child:
            child.close(seconds)


def died(process: subprocess.Popen[bytes]) -> str:
    """How a process ended, in words."""
    code = process.wait()
    return f"was ended by signal {-code}; was there memory enough?" if code < 0 else f"ended with {code}"


class Processes:
    """Processes that paint beside each other, `threads` processors each, `abreast` photos at a time.

    `memory`: bytes that each photo may take.
    """

    def __init__(self, work: Work, count: int, threads: int, memory: float | None, abreast: int = 1) -> None:
        message = pickle.dumps((work, threads, memory, abreast))
        self.size = count * abreast
        self.painters = [Painter(message) for _ in range(count)]
        self.free: queue.SimpleQueue[Painter] = queue.SimpleQueue()
        for painter in abreast * self.painters:
            self.free.put(painter)
        self.threads = ThreadPoolExecutor(self.size, "impasto-painter")

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
