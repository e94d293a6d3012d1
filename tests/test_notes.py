"""Warnings of several pieces of work at a time."""

import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from impasto.notes import noted


def test_each_thread_has_its_own() -> None:
    """However they begin and end, and warnings are as they were after the last."""
    before, shown = list(warnings.filters), warnings.showwarning
    together = threading.Barrier(8)

    def work(number: int) -> list[str]:
        together.wait(20)
        with noted() as texts:
            together.wait(20)
            for turn in range(20):
                warnings.warn(f"{number} {turn}", stacklevel=1)
            if number % 2:
                together.wait(20)
        if not number % 2:
            together.wait(20)
        return texts

    with ThreadPoolExecutor(8) as threads:
        found = [*threads.map(work, range(8))]
    assert found == [[f"{number} {turn}" for turn in range(20)] for number in range(8)]
    assert (list(warnings.filters), warnings.showwarning) == (before, shown)


def test_of_threads_without_any_they_go_to_all() -> None:
    def warn() -> None:
        warnings.warn("from a thread of its own", stacklevel=1)

    with noted() as texts:
        thread = threading.Thread(target=warn)
        thread.start()
        thread.join()
    assert texts == ["from a thread of its own"]


def test_lists_within_lists_and_what_is_no_users() -> None:
    with noted() as outer:
        warnings.warn("before", stacklevel=1)
        with noted() as inner:
            warnings.warn("inside", stacklevel=1)
        warnings.warn("an old way", DeprecationWarning, stacklevel=1)
        warnings.warn("after", stacklevel=1)
    assert (outer, inner) == (["before", "after"], ["inside"])


def test_an_error_closes_it(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        with noted():
            warnings.warn("not shown", stacklevel=1)
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - it has no words
        broken()
    with pytest.warns(UserWarning, match="shown"):
        warnings.warn("shown", stacklevel=1)
    assert (capsys.readouterr().err, sys.exc_info()) == ("", (None, None, None))
