"""Files painted by Ray: on the cluster that this machine is in, on one by its address, or on one begun here for it.

A file is a task. The process that Ray gives it to keeps the networks compiled for the next one; where a process or a
machine dies, Ray gives its files to others.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Final

import ray
from ray.exceptions import RayError, TaskCancelledError

from impasto.errors import DeviceError, ImpastoError
from impasto.runtimes import processors, share_processors
from impasto.work import Job, Outcome, Work, paint_file

RETRIES: Final = 2
"""How often a file whose process has died is given to another."""
STORE_BYTES: Final = 100 << 20
"""For what Ray keeps in memory on a machine of its own: a style, and the names of files."""
ANSWER_S: Final = 10.0
"""Within which the machine of an address has to answer."""
AHEAD: Final = 2
"""Files that are given to Ray for each processor, so that none waits for the next."""
QUIET: Final = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""So that Ray reports nothing to its makers and gives no advice, unless the environment says otherwise."""


def paint(references: "list[ray.ObjectRef[Work]]", job: Job, memory: float | None) -> Outcome:
    """Paint a file in a process of Ray's; the reference, in a list so that it comes as one, leads to the work."""
    try:
        work = prepared(references[0])
    except ImpastoError as error:
        return Outcome(status="refused", error=str(error))
    return paint_file(work, job, memory)


@lru_cache(maxsize=1)
def prepared(reference: "ray.ObjectRef[Work]") -> Work:
    """Work with its networks compiled, kept in this process."""
    share_processors(1)
    work: Work = ray.get(reference)
    work.prepare()
    return work


class Cluster:
    """A Ray cluster that paints."""

    def __init__(self, work: Work, address: str, workers: int | None) -> None:
        """Join the cluster at an address or, if that is auto, the one of this machine; without one begin one here.

        Raises:
            DeviceError: There is none at the address.

        """
        self.own = not ray.is_initialized()
        begun = self.own and join(address, workers)
        self.workers = None if begun else workers
        gpus = 1 if work.options["device"] == "gpu" else 0
        self.task: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(paint)
        self.references = [ray.put(work)]
        most = most_beside()
        self.memory = work.share(min(workers or most, most))
        self.running: dict[Future[Outcome], tuple[Job, Any]] = {}

    @property
    def size(self) -> int:
        """How many files to give Ray at a time; machines may come and go."""
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return self.workers or AHEAD * max(1, int(resources.get("CPU", 1)))

    def submit(self, job: Job) -> "Future[Outcome]":
        """Have a file painted."""
        future: Future[Outcome] = Future()
        reference = self.task.remote(self.references, job, None if job.alone else self.memory)
        self.running[future] = job, reference

        def finish(answer: "Future[Outcome]") -> None:
            self.running.pop(future, None)
            future.set_result(outcome_of(answer, job))

        reference.future().add_done_callback(finish)
        return future

    def stop(self) -> None:
        """Have videos end at their next frame."""
        for job, reference in list(self.running.values()):
            if job.clip:
                with suppress(RayError):
                    ray.cancel(reference)

    def close(self, *, now: bool = False) -> None:  # noqa: ARG002 - Ray ends what it runs
        """Leave the cluster; one that was begun here ends."""
        if self.own:
            ray.shutdown()


def outcome_of(answer: "Future[Outcome]", job: Job) -> Outcome:
    """What came of a file, where Ray lost it too."""
    try:
        return answer.result()
    except TaskCancelledError:
        return Outcome(status="stopped")
    except Exception as error:  # Ray's own, and those of what it is built on  # noqa: BLE001
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        return Outcome(status="died", error=f"{job.source}: the process that painted it died ({reason})")


def most_beside() -> int:
    """Files that one machine of the cluster paints at a time, at most."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return max(1, *(int(node["Resources"].get("CPU", 1)) for node in nodes if node["Alive"]))


def join(address: str, workers: int | None) -> bool:
    """Connect to a cluster; whether it was begun here. Raises DeviceError."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    told: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
    with own_signals():
        try:
            check_address(address)
            ray.init(address, **told)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            if address != "auto":
                reason = " ".join(str(error).split())
                raise DeviceError(f"no Ray cluster at {address} ({reason}); ray start begins one") from error
        else:
            return False
        ray.init("local", num_cpus=workers or processors(), object_store_memory=STORE_BYTES, **told)
    return True


def check_address(address: str) -> None:
    """Raise an OSError where nobody listens at an address, for which Ray would wait minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()


@contextmanager
def own_signals() -> Iterator[None]:
    """Keep what this program does when it is asked to stop, which Ray would put its own in place of."""
    numbers = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
