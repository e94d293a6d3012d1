"""What has been painted into a folder: a file of JSON lines in it, one for each file that was painted or failed.

Lines are only ever added, each by one write, so that nothing that stops a run loses a line that is there, and runs
beside each other do not lose each other's. Of one output the last line holds. In a store of objects, where nothing can
be added to a file, the whole is written anew every few seconds.
"""

import json
import os
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from impasto import storage
from impasto.errors import ImageError
from impasto.files import check_write

NAME: Final = "manifest.jsonl"
FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
EVERY_S: Final = 5.0
"""Between two writes to a store; what is finished since the last is painted again after a kill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """What came of one file."""

    input: str
    """Its name, below the folder that it is from."""
    output: str
    """Name of the painting, below the folder of the manifest."""
    status: str
    """done or failed."""
    error: str = ""
    seconds: float = 0.0
    sha256: str = ""
    """Of the input; empty where it could not be read."""
    configuration: str = ""
    """Hash of all else that decides the painting: style, options, masks."""
    stamp: str = ""
    """Size and time of the input: while they stay it is not read again."""
    bytes: int = 0
    """Size of the painting's file."""
    width: int = 0
    """Of a painted photo, in pixels."""
    height: int = 0
    device: str = ""
    precision: str = ""


class Manifest:
    """The manifest of an output folder, open to be added to."""

    def __init__(self, folder: str) -> None:
        """Open it, or begin it; raises ImageError where the folder cannot be read or written."""
        self.place = storage.join(folder, NAME)
        self.remote = storage.is_address(folder)
        self.written = time.monotonic()
        self.file: int | None = None
        if not self.remote:
            try:
                Path(folder).mkdir(parents=True, exist_ok=True)
                check_write(self.place)
                self.file = os.open(self.place, FLAGS, 0o666)
            except OSError as error:
                raise ImageError(f"cannot write {self.place}: {error.strerror}") from error
        data = self.read()
        self.broken = bool(data) and not data.endswith(b"\n")
        """Whether the last line was cut off, so that the next must not be added to it."""
        self.latest = {line.output: line for line in map(parse, data.splitlines()) if line}
        self.waiting = False

    def read(self) -> bytes:
        """All that there is."""
        if not self.remote:
            return Path(self.place).read_bytes()
        return storage.read_bytes(self.place) if storage.exists(self.place) else b""

    def add(self, line: FileResult) -> None:
        """Add a line; raises ImageError."""
        self.latest[line.output] = line
        if self.file is None:
            self.waiting = True
            self.flush(EVERY_S)
            return
        data = b"\n" * self.broken + to_bytes(line)
        try:
            while data:  # all at once, but where the disk has just become full
                data = data[os.write(self.file, data) :]
        except OSError as error:
            self.broken = True
            raise ImageError(f"cannot write {self.place}: {error.strerror}") from error
        self.broken = False

    def flush(self, every_s: float = 0.0) -> None:
        """Write to the store what waits, unless that was done less than so many seconds ago."""
        if self.waiting and time.monotonic() - self.written >= every_s:
            storage.write_bytes(self.place, b"".join(map(to_bytes, self.latest.values())))
            self.waiting, self.written = False, time.monotonic()

    def close(self) -> None:
        """Write what waits, and close the file."""
        self.flush()
        if self.file is not None:
            os.close(self.file)


def to_bytes(line: FileResult) -> bytes:
    """A line, in ASCII whatever its names are; what is empty is left out."""
    return json.dumps({name: value for name, value in asdict(line).items() if value not in ("", 0)}).encode() + b"\n"


def parse(data: bytes) -> FileResult | None:
    """A line; None of what is broken off or none."""
    try:
        told: dict[str, Any] = json.loads(data)
        return FileResult(**{field.name: told[field.name] for field in fields(FileResult) if field.name in told})
    except (ValueError, TypeError):
        return None
