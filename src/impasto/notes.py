"""Warnings of one piece of work, told apart from those of others that are done beside it in other threads."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

_lock = threading.Lock()
_own = threading.local()
_open: dict[int, list[str]] = {}
"""Texts by the number of their list."""
_caught = ExitStack()
"""What is put back when the last list is closed."""


@contextmanager
def noted() -> Iterator[list[str]]:
    """Collect the texts of user warnings that this thread gives inside; nothing of them is shown.

    `warnings.catch_warnings` is for the whole process. Warnings of threads that have no list of their own go to all.
    """
    texts: list[str] = []
    with _lock:
        if not _open:
            _caught.enter_context(warnings.catch_warnings())
            warnings.simplefilter("always")
            warnings.showwarning = keep
        _open[id(texts)] = texts
    before, _own.texts = getattr(_own, "texts", None), texts
    try:
        yield texts
    finally:
        _own.texts = before
        with _lock:
            del _open[id(texts)]
            if not _open:
                _caught.close()


def keep(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Put a warning into the list of this thread, or into those of all."""
    if not issubclass(category, UserWarning):
        return
    with _lock:
        own = getattr(_own, "texts", None)
        for texts in _open.values() if own is None else (own,):
            texts.append(str(message))
