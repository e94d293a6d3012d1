"""Files that exist whole or not at all: pictures, styles and checkpoints are all written through `atomic_write`."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPORARY: Final = ".impasto-{}.tmp"
"""Short: a name may be near the system's limit."""

OLD_S: Final = 600.0
"""After which a temporary file that nobody has written to is what a process that was killed left behind."""


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary stream whose content becomes the file ``path`` when the block ends, and only if it ends well.

    The bytes go to a hidden temporary file in the same folder, reach the disk, and are then renamed, so a reader sees
    the old file or the new one. When the block raises, an interrupt included, the temporary file is removed and
    ``path`` stays as it was. A replaced file keeps its permission bits, a new one gets those of the umask; a symbolic
    link is followed. A device or a pipe (``/dev/null``, ``/dev/stdout``) is not renamed over but written straight.

    Raises:
        OSError: The folder is missing or read-only, ``path`` is a folder, the disk is full; nothing is translated.

    """
    target = Path(path)
    if target.exists() and not target.is_file():
        with target.open("wb") as stream:  # raises IsADirectoryError where it is a folder
            yield stream
        return
    target, temporary = _places(target)
    try:
        with _create(temporary, target) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):  # where the folder is missing there is nothing to remove
            temporary.unlink()
        raise


def check_write(path: str | Path) -> None:
    """Raise the OSError with which `atomic_write` would not even begin."""
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if target.exists() and not target.is_file():
        return
    target, temporary = _places(target)
    _create(temporary, target).close()
    temporary.unlink()


def stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file does; of one that is not there, nothing."""
    try:
        status = path.stat()
    except OSError:
        return ()  # reading it says what is wrong
    return status.st_mtime_ns, status.st_size, status.st_ino


def remove_temporary(folder: Path, age_s: float = OLD_S) -> None:
    """Remove, in a folder and those in it, what `atomic_write` was writing so long ago when its process was killed."""
    for path in folder.rglob(TEMPORARY.format("*")):
        with contextlib.suppress(OSError):  # another one removes it too, or may not
            if time.time() - path.stat().st_mtime > age_s:
                path.unlink()


def _places(target: Path) -> tuple[Path, Path]:
    """The file itself, behind a symbolic link, and a temporary one beside it."""
    target = target.resolve()
    return target, target.with_name(TEMPORARY.format(os.urandom(8).hex()))


def _create(temporary: Path, target: Path) -> BinaryIO:
    """Create ``temporary`` with the permissions of the umask; a failure names ``target``, the file its user knows."""
    try:
        return temporary.open("xb")
    except OSError as error:
        error.filename = str(target)
        raise
