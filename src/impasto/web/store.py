"""Folders of jobs: random names, a bound on what they take together, and nothing of what clients call their files."""

import contextlib
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from impasto.errors import ImpastoError
from impasto.web.refusal import Refusal

JOB_ID = re.compile(r"job_[0-9a-f]{32}")
"""Of a job, and of the style that it has made: the name of its folder."""


class Store:
    """Where the files of jobs are."""

    def __init__(self, folder: Path | None, quota_bytes: float) -> None:
        self.is_temporary = folder is None
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="impasto-")) if folder is None else folder
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImpastoError(f"{folder}: cannot make the folder ({error.strerror})") from error
        self.quota = quota_bytes
        self.promised = 0
        """Bytes of files that are on their way, or that a job may yet write."""

    def new(self) -> Path:
        """Make a folder that nobody can guess."""
        path = self.folder / f"job_{secrets.token_hex(16)}"
        path.mkdir(mode=0o700, parents=True)  # a system that tidies up may have taken an empty temporary folder
        return path

    def folders(self) -> list[Path]:
        """Folders that there are."""
        return sorted(path for path in self.folder.glob("*") if JOB_ID.fullmatch(path.name) and path.is_dir())

    def size(self) -> int:
        """Bytes of all files."""
        return sum(bytes_in(folder) for folder in self.folders())

    def free(self) -> int:
        """Bytes that nobody has or is promised."""
        return max(0, int(self.quota) - self.size() - self.promised)

    def check_room(self, needed: int) -> None:
        """Raise a Refusal where files of so many bytes would not fit any more."""
        if needed > self.free():
            raise Refusal(429, "full", "there is no room for more jobs; try again later", retry_s=300)

    @contextlib.contextmanager
    def promise(self, needed: int) -> Iterator[None]:
        """Set so many bytes aside, for a while."""
        self.promised += needed
        try:
            yield
        finally:
            self.promised -= needed

    def remove(self, folder: Path) -> None:
        """Delete a job's folder."""
        shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Delete everything that is not to outlast the server."""
        if self.is_temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


def bytes_in(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # it may just have been renamed
            total += path.stat().st_size
    return total
