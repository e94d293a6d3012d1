"""Where files are: folders of this machine, and addresses such as ``s3://bucket/photos`` through fsspec.

A place is the text of a path or an address. What is asked of both is the same few things; fsspec and the packages of
its stores are needed for addresses alone.
"""

import contextlib
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from impasto.errors import ImageError, MissingExtraError
from impasto.files import atomic_write

ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
STAMPS: Final = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "updated", "created")
"""What stores call that which changes with a file."""

Looked = Callable[[tuple[str, ...]], bool]
"""Whether to look into a folder, by the names that lead to it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a folder."""

    place: str
    """Path or address."""
    name: str
    """Path below the folder, with slashes."""
    size: int
    stamp: str
    """What changes when the file does."""
    identity: tuple[int, int] | None = None
    """Device and number of a local file, the same by every path."""


def local(place: str) -> str:
    """A ``file://`` address as a path; other places as they are."""
    return place.partition("://")[2] or os.sep if place.lower().startswith(("file://", "local://")) else place


def is_address(place: str) -> bool:
    """Whether a place is for fsspec."""
    return bool(ADDRESS.match(place))


def of_one_process(place: str) -> bool:
    """Whether only this process can see a place: fsspec's memory."""
    return place.startswith("memory://")


def join(folder: str, name: str) -> str:
    """Place of a file below a folder."""
    return f"{folder.rstrip('/')}/{name}" if is_address(folder) else str(Path(folder) / name)


def opened(address: str) -> tuple[Any, str]:
    """Store of an address, as fsspec has it, and the path in it.

    Raises:
        MissingExtraError: fsspec, or the package of this store, is not installed.
        ValueError: There is no such kind of address.

    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingExtraError(f"{address}: an address needs fsspec: pip install 'impasto[storage]'") from error
    try:
        store, path = url_to_fs(address)
    except ImportError as error:
        raise MissingExtraError(f"{address}: this kind of address needs a package: {error}") from error
    except ValueError as error:
        raise ValueError(f"{address}: no such kind of address ({error})") from error
    return store, str(path)


@contextlib.contextmanager
def telling(address: str, what: str) -> Iterator[None]:
    """Turn whatever a store raises into one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise ImageError(f"cannot {what} {address}: there is no such file or folder") from error
    except (ImageError, MissingExtraError):
        raise
    except Exception as error:  # stores raise what their packages do
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"cannot {what} {address}: {reason}") from error


def is_folder(place: str) -> bool:
    """Whether there is a folder at a place."""
    if not is_address(place):
        return Path(place).is_dir()
    store, path = opened(place)
    with telling(place, "read"):
        return bool(store.isdir(path))


def exists(place: str) -> bool:
    """Whether there is anything at a place."""
    if not is_address(place):
        try:
            return Path(place).exists()
        except OSError:  # too long for a path
            return False
    store, path = opened(place)
    with telling(place, "read"):
        return bool(store.exists(path))


def identity_of(place: str) -> tuple[int, int] | None:
    """Device and number of what is at a path; None where there is nothing, or at an address."""
    if is_address(place):
        return None
    with contextlib.suppress(OSError):
        return identity(Path(place).stat())
    return None


def identity(status: os.stat_result) -> tuple[int, int] | None:
    """Device and number of a file, where its system has such numbers."""
    return (status.st_dev, status.st_ino) if status.st_ino else None


def entry(place: str) -> Entry:
    """The file at a place, called by its own name; one that is not there has no stamp."""
    name = place.rstrip("/").rpartition("/")[2] if is_address(place) else Path(place).name
    if not is_address(place):
        try:
            status = Path(place).stat()
        except OSError:
            return Entry(place, name, 0, "")  # reading it says what is wrong
        return Entry(place, name, status.st_size, stamp_of(status), identity(status))
    store, path = opened(place)
    with telling(place, "read"):
        if not store.exists(path):
            return Entry(place, name, 0, "")
        return remote_entry(place, name, store.info(path))


def stamp_of(status: os.stat_result) -> str:
    """What changes when a local file does."""
    return f"{status.st_size} {status.st_mtime_ns}"


def remote_entry(place: str, name: str, info: dict[str, Any]) -> Entry:
    """A file of a store, by what the store says of it."""
    told = [str(info[key]) for key in STAMPS if info.get(key) is not None]
    return Entry(place, name, int(info.get("size") or 0), " ".join([str(info.get("size")), *told]))


def walk(folder: str, looked: Looked, leave_out: str | None = None) -> Iterator[Entry]:
    """Files below a folder, but for what is hidden and the folder `leave_out`; in no order.

    Links are followed, and no folder is gone through twice.

    Raises:
        ImageError: The folder cannot be read; one in it that cannot is passed over with a warning.

    """
    if is_address(folder):
        yield from walk_address(folder, leave_out)
        return
    seen = {identity_of(leave_out)} if leave_out and not is_address(leave_out) else set()
    waiting: list[tuple[Path, tuple[str, ...]]] = [(Path(folder), ())]
    while waiting:
        place, parts = waiting.pop()
        try:
            number = identity(place.stat())
            if number is not None and number in seen:
                continue
            seen.add(number)
            inside = sorted(os.scandir(place), key=lambda found: found.name)
        except OSError as error:
            if not parts:
                raise ImageError(f"cannot read {place}: {error.strerror}") from error
            warnings.warn(f"{place}: passed over, the folder cannot be read ({error.strerror})", stacklevel=2)
            continue
        for found in inside:
            if found.name.startswith("."):
                continue
            below = (*parts, found.name)
            with contextlib.suppress(OSError):  # a link that leads nowhere, a file that has just gone
                status = place.joinpath(found.name).stat()
                if stat.S_ISREG(status.st_mode):
                    yield Entry(found.path, "/".join(below), status.st_size, stamp_of(status), identity(status))
                elif stat.S_ISDIR(status.st_mode) and looked(below):
                    waiting.append((place / found.name, below))


def walk_address(folder: str, leave_out: str | None) -> Iterator[Entry]:
    """Files of a store below an address; its listing has them all at once."""
    store, root = opened(folder)
    with telling(folder, "read"):
        store.invalidate_cache()
        files: dict[str, dict[str, Any]] = store.find(root, detail=True)
        if not files and not store.exists(root):
            raise FileNotFoundError(folder)
    outside = opened(leave_out)[1].rstrip("/") + "/" if leave_out and is_address(leave_out) else None
    for path, info in files.items():
        name = path.removeprefix(root.rstrip("/") + "/")
        if any(part.startswith(".") for part in name.split("/")) or (outside and path.startswith(outside)):
            continue
        yield remote_entry(join(folder, name), name, info)


def read_bytes(place: str) -> bytes:
    """Bytes of a file at an address; raises ImageError."""
    store, path = opened(place)
    with telling(place, "read"):
        return bytes(store.cat_file(path))


def write_bytes(place: str, data: bytes) -> None:
    """Write a file at an address; stores of objects have it whole or not at all. Raises ImageError."""
    store, path = opened(place)
    with telling(place, "write"):
        if "/" in path.strip("/"):
            store.makedirs(path.rpartition("/")[0], exist_ok=True)
        store.pipe_file(path, data)


@contextlib.contextmanager
def opened_file(place: str) -> Iterator[BinaryIO]:
    """A file at a place, as a stream to read a part of."""
    if not is_address(place):
        with Path(place).open("rb") as stream:
            yield stream
        return
    store, path = opened(place)
    with telling(place, "read"), store.open(path, "rb") as stream:
        yield stream


def write_text(place: str, text: str) -> None:
    """Write a small file whole or not at all; raises OSError of a path and ImageError of an address."""
    if is_address(place):
        write_bytes(place, text.encode())
        return
    with atomic_write(place) as stream:
        stream.write(text.encode())


def sizes(folder: str) -> Callable[[str], int | None]:
    """What gives the size of a file below a folder by its name, and None of one that is not there."""
    if is_address(folder):
        known = {found.name: found.size for found in walk_address(folder, None)} if exists(folder) else {}
        return known.get

    def size(name: str) -> int | None:
        try:
            return Path(folder, name).stat().st_size
        except (OSError, ValueError):
            return None

    return size
