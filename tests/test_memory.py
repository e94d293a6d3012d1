"""What the process does with memory."""

import subprocess
import sys
from pathlib import Path

import pytest

from impasto import memory
from impasto.memory import container_memory, free_memory, resident_memory, total_memory

FAULTS = """
import resource, sys
import numpy as np
from impasto.memory import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
def step():
    arrays = [np.ones(3_000_000) for _ in range(4)]
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's C library")
def test_memory_that_is_kept_is_not_cleared_again() -> None:
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("keep", "no")
    )
    assert kept < given_back / 10


@pytest.mark.skipif(sys.platform != "linux", reason="of what Linux tells")
def test_memory_is_told() -> None:
    assert 1e7 < resident_memory() < total_memory()
    assert 1e6 < free_memory() <= total_memory()


def test_a_container_s_limit_is_heeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("most", "3e9"), ("used", "1e9"), ("none", "max")):
        (tmp_path / name).write_text(text)
    groups = ((tmp_path, "most", "used"), (tmp_path, "none", "used"), (tmp_path, "missing", "used"))
    monkeypatch.setattr(memory, "CONTROL_GROUPS", groups)
    assert container_memory() == [2e9]
    assert free_memory() <= 2e9
