"""The queue of jobs by itself, with processes that do what those of ours never should."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from impasto.web import jobs as module
from impasto.web.jobs import Job, Jobs
from impasto.web.metrics import Metrics
from impasto.web.settings import ServeConfig
from impasto.web.store import Store

ODD = """
import pathlib, sys
for line in ('5', '[]', 'null', '"error"', '{', '[' * 30_000, '', '{"progress": 0.5}'):
    print(line)
pathlib.Path(sys.argv[1], 'painting.png').touch()
"""
ENDLESS = "import time; print('x' * 200_000, flush=True); time.sleep(60)"


def served(folder: Path, talk: Callable[[Jobs], Coroutine[Any, Any, None]]) -> Jobs:
    """Jobs in a folder, at work while a conversation lasts."""

    async def run() -> Jobs:
        jobs = Jobs(ServeConfig(), Store(folder, 1e9), Metrics())
        jobs.start()
        try:
            await asyncio.wait_for(talk(jobs), 60)
        finally:
            await jobs.stop()
        return jobs

    return asyncio.run(run())


def submit(jobs: Jobs) -> Job:
    return jobs.submit(jobs.store.new(), "optimisation", {}, "owner", "client")


async def ended(job: Job) -> None:
    while not job.has_ended:
        await job.changed.wait()


def test_what_a_process_says_never_stops_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = [ENDLESS, ODD]
    monkeypatch.setattr(module, "LINE_BYTES", 1 << 16)
    monkeypatch.setattr(module, "command", lambda _kind, folder, _room: [sys.executable, "-c", codes.pop(0), folder])

    async def talk(jobs: Jobs) -> None:
        endless, odd = submit(jobs), submit(jobs)
        await ended(endless)
        assert endless.state == "failed"
        assert endless.process is None
        assert json.loads((tmp_path / endless.id / "job.json").read_text())["state"] == "failed"
        await ended(odd)
        assert (odd.state, odd.step, odd.error) == ("done", {"progress": 0.5}, "")

    served(tmp_path, talk)


def test_a_job_that_is_cancelled_while_its_process_starts_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def talk(jobs: Jobs) -> None:
        async def slowly(*_: str, **options: Any) -> asyncio.subprocess.Process:
            process = await start(sys.executable, "-c", "import time; time.sleep(60)", **options)
            started.append(process)
            await jobs.cancel(job)
            return process

        monkeypatch.setattr(asyncio, "create_subprocess_exec", slowly)
        job = submit(jobs)
        await ended(job)
        while not started or started[0].returncode is None:
            await asyncio.sleep(0.01)
        assert (job.state, jobs.all) == ("cancelled", {})

    served(tmp_path, talk)
    assert not [*tmp_path.iterdir()]


def test_a_temporary_folder_that_was_tidied_away_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "impasto", 1000)
    store.folder.rmdir()
    assert (store.folders(), store.size(), store.free()) == ([], 0, 1000)
    made = store.new()
    assert store.folders() == [made]
