"""Jobs: long work that waits, runs, is watched, cancelled, and whose results go after a while."""

import asyncio
import contextlib
import json
import math
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from impasto.files import atomic_write
from impasto.web.metrics import Metrics
from impasto.web.refusal import Refusal
from impasto.web.settings import ServeConfig
from impasto.web.store import Store
from impasto.web.workers import command, environment
from impasto.web.works import INTERRUPTED, KINDS, ORDER, PICTURE_TYPES

FILE = "job.json"
ENDED = ("done", "failed", "cancelled")
STATES = ("waiting", "running", *ENDED)
CURVE = 400
"""Points of a curve; when there are more, every other is left out."""
EVERY_S = 0.25
"""Between events, at least."""
SWEEP_S = 15.0
"""Between looks for what has expired."""
STOP_S = 20.0
"""In which work must save its state when it is stopped."""
ALIVE_S = 15.0
"""Between signs of life where nothing happens."""
LINE_BYTES = 1 << 20
"""Of what a job's process says at once, at most."""
ENDS = {14: "the work came to a standstill; a file may be broken"}
"""What is told of a process by the signal that ended it; 14 is SIGALRM, which Windows has not."""


@dataclass
class Job:
    """One piece of long work and how far it is."""

    id: str
    owner: str
    client: str
    """Address that it came from."""
    kind: str
    name: str = ""
    """Of the style that it makes."""
    state: str = "waiting"
    created: float = field(default_factory=time.time)
    ended: float | None = None
    step: dict[str, Any] = field(default_factory=dict)
    """What the last step said."""
    curve: list[list[float]] = field(default_factory=list)
    """Step, loss, content and style, of some of the steps."""
    error: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event, repr=False, compare=False)
    process: asyncio.subprocess.Process | None = field(default=None, repr=False, compare=False)
    stride: int = 1

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ENDED

    def public(self, *, place: int = 0, keep_s: float = 0.0) -> dict[str, Any]:
        """What its owner is told."""
        step = {name: value for name, value in self.step.items() if name != "picture"}
        told: dict[str, Any] = {"id": self.id, "kind": self.kind, "name": self.name, "state": self.state, **step}
        told["progress"] = 1.0 if self.state == "done" else float(step.get("progress", 0.0))
        told |= {"has_picture": bool(self.step.get("picture")), "error": self.error, "ahead": place}
        told["created"] = round(self.created, 3)
        told["expires"] = round(self.ended + keep_s, 3) if self.ended else None
        return told

    def note(self, step: Mapping[str, Any]) -> None:
        """Take in what a step says."""
        self.step = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in step.items()}
        count = int(step.get("step", 0))
        if count % self.stride == 0 and self.step.get("loss") is not None:
            self.curve.append([count, *(step[name] for name in ("loss", "content", "style"))])
        if len(self.curve) > CURVE:
            self.curve = self.curve[1::2]
            self.stride *= 2
        self.tell()

    def hear(self, line: bytes) -> None:
        """Take in a line that the job's process has written: a step, or what went wrong; others are left out."""
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(said, dict):
            return
        if "error" in said:
            self.error = str(said["error"])
        else:
            self.note(said)

    def tell(self) -> None:
        """Wake those who watch."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def save(self, folder: Path) -> None:
        """Write it beside its files, for a server that starts again."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("changed", "process")}
        with atomic_write(folder / FILE) as stream:
            stream.write(json.dumps(values).encode())

    @classmethod
    def load(cls, folder: Path) -> "Job":
        """Read what `save` wrote; raises ValueError, OSError or TypeError where it did not."""
        return cls(**json.loads((folder / FILE).read_text("utf-8")))


class Jobs:
    """All jobs of a server, of which one runs at a time."""

    def __init__(self, settings: ServeConfig, store: Store, metrics: Metrics) -> None:
        self.settings = settings
        self.store = store
        self.metrics = metrics
        self.keep_s = settings.keep_minutes * 60
        self.all: dict[str, Job] = {}
        self.coming: list[tuple[str, str]] = []
        """Owner and client of jobs whose files are on their way."""
        self.work = asyncio.Event()
        self.stopping = False
        self.tasks: list[asyncio.Task[None]] = []

    # ------------------------------------------------------------------------------------------------ from requests

    def check_room(self, owner: str, client: str, needed: int) -> None:
        """Raise a Refusal where a client may not have another job now."""
        there = [(job.owner, job.client) for job in self.all.values() if not job.has_ended] + self.coming
        if len(there) >= self.settings.queue:
            raise Refusal(429, "busy", "too many jobs wait; try again later", retry_s=60)
        if sum(owner == whose or client == whence for whose, whence in there) >= self.settings.client_jobs:
            raise Refusal(429, "busy", "you have as many jobs as you may; cancel one, or wait", retry_s=60)
        self.store.check_room(needed)

    @contextlib.contextmanager
    def place(self, owner: str, client: str, needed: int) -> Iterator[None]:
        """Keep a place, and room for files, for a job that is on its way; raises Refusal where there is none."""
        self.check_room(owner, client, needed)
        self.coming.append((owner, client))
        try:
            with self.store.promise(needed):
                yield
        finally:
            self.coming.remove((owner, client))

    def submit(self, folder: Path, kind: str, order: Mapping[str, Any], owner: str, client: str) -> Job:
        """Queue what is ordered; its pictures are in the folder already."""
        (folder / ORDER).write_text(json.dumps(order), "utf-8")
        job = Job(folder.name, owner, client, kind, str(order.get("name", "")))
        job.save(folder)
        self.all[job.id] = job
        self.work.set()
        return job

    def find(self, name: str, owner: str) -> Job:
        """A client's job; raises Refusal for another's as for none."""
        job = self.all.get(name)
        if job is None or job.owner != owner:
            raise Refusal(404, "unknown_job", "there is no such job of yours; it may have expired")
        return job

    def of(self, owner: str) -> list[Job]:
        """A client's jobs, the newest first."""
        return sorted((job for job in self.all.values() if job.owner == owner), key=lambda job: -job.created)

    def told(self, job: Job) -> dict[str, Any]:
        """What its owner is told, with its place in the queue."""
        waiting = [other for other in self.all.values() if other.state == "waiting"]
        ahead = sum(other.created < job.created for other in waiting) + any(
            other.state == "running" for other in self.all.values()
        )
        return job.public(place=ahead if job.state == "waiting" else 0, keep_s=self.keep_s)

    def styles_of(self, owner: str) -> dict[str, tuple[Path, str]]:
        """Styles that a client has trained: file and name of each, by job."""
        done = [job for job in self.of(owner) if job.kind == "training" and job.state == "done"]
        return {job.id: (self.store.folder / job.id / KINDS["training"].result, job.name) for job in done}

    def result(self, job: Job) -> tuple[Path, str]:
        """File that a job has made, and its type; raises Refusal where it has not."""
        if job.state != "done":
            words = job.error or f"the job is {job.state}; its result comes when it is done"
            raise Refusal(409, "not_done", words)
        kind = KINDS[job.kind]
        return self.store.folder / job.id / kind.result, kind.media_type

    def picture(self, job: Job) -> tuple[Path, str]:
        """Picture of how far a job is, and its type; raises Refusal where there is none yet."""
        name = "painting.png" if job.kind == "optimisation" and job.state == "done" else job.step.get("picture")
        path = self.store.folder / job.id / str(name)
        if not name or not path.is_file():
            raise Refusal(404, "no_picture", "there is no picture yet")
        return path, PICTURE_TYPES[path.suffix]

    async def cancel(self, job: Job) -> None:
        """End a job and delete its files."""
        job.state, job.ended = "cancelled", time.time()
        self.all.pop(job.id, None)
        await self._end(job, signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        self.store.remove(self.store.folder / job.id)
        job.tell()

    async def events(self, job: Job) -> AsyncIterator[str]:
        """What happens to a job, as server-sent events, until it has ended or the server stops."""
        while True:
            changed = job.changed
            yield f"event: {job.state}\ndata: {json.dumps(self.told(job))}\n\n"
            if job.has_ended or self.stopping:
                return
            while True:
                try:
                    await asyncio.wait_for(changed.wait(), ALIVE_S)
                    break
                except TimeoutError:
                    yield ": still there\n\n"
            await asyncio.sleep(EVERY_S)

    # ----------------------------------------------------------------------------------------------- in the background

    def start(self) -> None:
        """Take up what an earlier server left, and begin to work."""
        for folder in self.store.folders():
            try:
                job = Job.load(folder)
            except (OSError, ValueError, TypeError):
                self.store.remove(folder)
                continue
            if not job.has_ended:
                job.state = "waiting"
            self.all[job.id] = job
        self.work.set()
        self.tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._sweep())]

    async def stop(self) -> None:
        """Stop what runs; it saves its state, and goes on where the folder outlasts the server."""
        self.stopping = True
        for job in self.all.values():
            job.tell()
        await asyncio.gather(*(self._end(job, signal.SIGTERM) for job in [*self.all.values()]))
        for task in self.tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for job in self.all.values():
            with contextlib.suppress(OSError):
                job.save(self.store.folder / job.id)

    async def _run(self) -> None:
        """Do one job after another."""
        while not self.stopping:
            waiting = sorted((j for j in self.all.values() if j.state == "waiting"), key=lambda job: job.created)
            if not waiting:
                self.work.clear()
                await self.work.wait()
                continue
            await self._do(waiting[0])

    async def _do(self, job: Job) -> None:
        """Do a job in a process of its own, which may use half of the room that is left."""
        folder, room = self.store.folder / job.id, self.store.free() // 2
        with self.store.promise(room):
            try:
                code = await self._process(job, folder, room)
            except (OSError, ValueError) as error:  # no process could be started, or it said what is no line
                job.error, code = " ".join(str(error).split()), 1
        if job.id in self.all:
            self._finish(job, code)
            with contextlib.suppress(OSError):
                job.save(folder)

    async def _process(self, job: Job, folder: Path, room: int) -> int:
        """Have a process do a job; returns its exit code."""
        job.state = "running"
        job.tell()
        process = await asyncio.create_subprocess_exec(
            *command(job.kind, str(folder.resolve()), str(room)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment() | {"OMP_WAIT_POLICY": "PASSIVE"},
            limit=LINE_BYTES,
            start_new_session=sys.platform != "win32",
        )
        assert process.stdout  # noqa: S101 - it is a pipe
        try:
            if job.has_ended or self.stopping:  # since: nobody could end it before it was there
                return INTERRUPTED
            job.process = process
            async for line in process.stdout:
                job.hear(line)
            return await process.wait()
        finally:
            job.process = None
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    def _finish(self, job: Job, code: int) -> None:
        """Note how a job's process ended."""
        folder = self.store.folder / job.id
        if self.stopping and code != 0:
            job.state = "waiting"  # for the server that comes next
        elif code == 0 and (folder / KINDS[job.kind].result).is_file():
            job.state, job.ended = "done", time.time()
        else:
            job.state, job.ended = "failed", time.time()
            job.error = job.error or ENDS.get(-code, "the work broke off; the machine may lack memory")
            if code not in (0, 1, INTERRUPTED):
                self.metrics.crashes.labels("work").inc()
        job.tell()

    async def _end(self, job: Job, number: signal.Signals) -> None:
        """End a job's process, by force where it takes too long."""
        process = job.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _sweep(self) -> None:
        """Delete what has expired, and count what there is."""
        while True:
            for job in [*self.all.values()]:
                if job.ended is not None and time.time() > job.ended + self.keep_s:
                    self.all.pop(job.id)
                    self.store.remove(self.store.folder / job.id)
            self.measure()
            await asyncio.sleep(min(SWEEP_S, self.keep_s / 4))

    def measure(self) -> None:
        """Set the counts of jobs and bytes."""
        states = Counter(job.state for job in self.all.values())
        for state in STATES:
            self.metrics.jobs.labels(state).set(states[state])
        self.metrics.disk.set(self.store.size())
