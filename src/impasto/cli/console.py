"""What a command says on its terminal."""

import contextlib
import json
import os
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from impasto.downloads import Progress


def tell(message: str) -> None:
    """Print one line on standard error, whatever is in the message."""
    print("impasto:", printable(" ".join(message.split())), file=sys.stderr)


def printable(text: str) -> str:
    """Text with what would move the cursor, or cannot be printed at all, written as an escape."""
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def forget_stdout() -> None:
    """Send what standard output still holds nowhere, since flushing it at exit would fail once more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def download_bar() -> "Progress":
    """What shows a download on standard error while it lasts, from the bytes that are there and those in all."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = ("fetching the loss network", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("")

    def update(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    return update
