"""Files fetched from the network into a cache: size and sha256 known beforehand, resumed where they stopped.

A file appears under its name only after its checksum was right. Downloads go through https; nothing needs PyTorch.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from impasto.errors import WeightsError

if TYPE_CHECKING:
    from email.message import Message

Progress = Callable[[int, int], None]
"""Called with the bytes there are and the bytes there will be."""

CHUNK_BYTES: Final = 1 << 20
TIMEOUT_S: Final = 30.0
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A public file: where it is, and what tells that it came whole.

    Raises:
        ValueError: The name is no plain file name, the address is not https, or `sha256` is no checksum.

    """

    name: str
    """File name in the cache."""
    url: str
    """https; http only where the host is this computer."""
    size: int
    """Bytes."""
    sha256: str
    """64 hexadecimal digits, or the first 8 or more where the publisher tells no more."""

    def __post_init__(self) -> None:
        if self.name in ("", "..") or Path(self.name).name != self.name:
            raise ValueError(f"name is {self.name!r}; it must be a plain file name")
        if not _is_secure(self.url) and not _is_loopback(self.url):
            raise ValueError(f"url is {self.url!r}; it must begin with https://")
        if not re.fullmatch("[0-9a-f]{8,64}", self.sha256):
            raise ValueError(f"sha256 is {self.sha256!r}; it must be 8 to 64 lower-case hexadecimal digits")


def cache_dir() -> Path:
    """Folder of downloaded files: ``IMPASTO_CACHE``, else the user's cache folder; it need not exist yet."""
    if own := os.environ.get("IMPASTO_CACHE"):
        return Path(own).expanduser()
    if (xdg := Path(os.environ.get("XDG_CACHE_HOME", ""))).is_absolute():
        return xdg / "impasto"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "impasto"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "impasto"
    return Path.home() / ".cache" / "impasto"


def fetch(asset: Asset, *, progress: Progress | None = None) -> Path:
    """Path of the asset's file in the cache, downloaded first where it is not there, checked in any case.

    A file that somebody put there by hand is hashed once. A download that stops goes on from its ``.part`` file at the
    next call; when several processes ask at once, one downloads and the others wait.

    Raises:
        WeightsError: Offline, refused by the server, not the file that was promised, or the cache cannot be written.

    """
    path = cache_dir() / asset.name
    with _translated(asset, path):
        if not _is_verified(path, asset):
            with _lock(path):
                if not _is_verified(path, asset):  # another process may have brought it while this one waited
                    _download(asset, path, progress)
    return path


def check_asset(path: Path, asset: Asset) -> None:
    """Raise a WeightsError where a file that somebody brought is not the asset."""
    try:
        digest = _sha256(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot read {asset.name} ({_reason(error)})") from error
    if not digest.startswith(asset.sha256):
        raise WeightsError(f"{path}: another file than {asset.name} (sha256 {digest}, not {asset.sha256})")


def _is_verified(path: Path, asset: Asset) -> bool:
    """Whether `path` is the asset; a note beside the file saves hashing half a gigabyte at every start."""
    if not path.is_file() or path.stat().st_size != asset.size:
        return False
    with contextlib.suppress(OSError):
        if _note(path).read_bytes() == _stamp(path, asset):
            return True
    if not _sha256(path).startswith(asset.sha256):
        return False
    _write_note(path, asset)
    return True


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.verified")


def _stamp(path: Path, asset: Asset) -> bytes:
    return f"{asset.sha256} {path.stat().st_mtime_ns}".encode()


def _write_note(path: Path, asset: Asset) -> None:
    """Remember that `path` was right; in a read-only cache it is hashed every time instead."""
    with contextlib.suppress(OSError):
        _note(path).write_bytes(_stamp(path, asset))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def _translated(asset: Asset, path: Path) -> Iterator[None]:
    """Turn what the file system and the network raise into one line that helps; the network's come as URLError."""
    try:
        yield
    except (urllib.error.URLError, http.client.HTTPException) as error:
        raise WeightsError(
            f"cannot download {asset.name} from {asset.url} ({_reason(error)}); try again, or put the file at {path}"
        ) from error
    except OSError as error:
        raise WeightsError(
            f"cannot write {asset.name} ({asset.size / 1e6:.0f} MB) in {path.parent} ({_reason(error)}); "
            "set IMPASTO_CACHE to a folder with room that you may write to"
        ) from error


def _reason(error: Exception) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(getattr(error.reason, "strerror", None) or error.reason)
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the file's download for this process; the system lets go of it should the process die."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("a") as stream:
        if sys.platform == "win32":
            import msvcrt

            while True:
                with contextlib.suppress(OSError):  # gives up after ten seconds, and is asked again
                    msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
                    break
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _download(asset: Asset, path: Path, progress: Progress | None) -> None:
    """Fill ``<path>.part``, check it and rename it; a ``.part`` that can come to nothing is deleted."""
    part = path.with_name(f"{path.name}.part")
    done = part.stat().st_size if part.exists() else 0
    if done > asset.size:
        part.unlink()
        done = 0
    if done < asset.size:
        _receive(asset, part, done, progress)
    if not (digest := _sha256(part)).startswith(asset.sha256):
        part.unlink()
        raise WeightsError(
            f"{asset.url} gave another file than expected (sha256 {digest}, not {asset.sha256}); "
            f"the download was deleted, try again or put the right file at {path}"
        )
    part.replace(path)
    _write_note(path, asset)


def _receive(asset: Asset, part: Path, done: int, progress: Progress | None) -> None:
    """Append what is missing to `part`; it stays for the next try when the connection is cut."""
    with _connect(asset, part, done) as response, part.open("ab") as stream:
        if response.status != http.client.PARTIAL_CONTENT:  # the server sends all of it again
            stream.truncate(done := 0)
        if response.length not in (None, asset.size - done):
            stream.truncate(0)
            raise WeightsError(f"{asset.url} is another file: {done + response.length} bytes, not {asset.size}")
        while chunk := _read(response):
            done += len(chunk)
            if done > asset.size:
                stream.truncate(0)
                raise WeightsError(f"{asset.url} is another file: more than the {asset.size} bytes expected")
            stream.write(chunk)
            if progress is not None:
                progress(done, asset.size)
        stream.flush()
        os.fsync(stream.fileno())
    if done < asset.size:
        raise urllib.error.URLError(f"the connection ended after {done} of {asset.size} bytes, which are kept")


def _connect(asset: Asset, part: Path, done: int) -> http.client.HTTPResponse:
    """Ask for the file from byte `done` on."""
    request = urllib.request.Request(asset.url, headers={"User-Agent": "impasto"})  # noqa: S310 (checked in Asset)
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        response: http.client.HTTPResponse = urllib.request.build_opener(_SecureRedirects).open(
            request, None, TIMEOUT_S
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()  # the server's file is shorter than ours: begin again next time
        raise
    except urllib.error.URLError:
        raise
    except OSError as error:
        raise urllib.error.URLError(error) from error
    return response


def _read(response: http.client.HTTPResponse) -> bytes:
    """Next piece; a broken connection is told from a broken disk by its type."""
    try:
        return response.read(CHUNK_BYTES)
    except OSError as error:
        raise urllib.error.URLError(error) from error


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to https only (and from this computer to itself)."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if not _is_secure(newurl) and not (_is_loopback(req.full_url) and _is_loopback(newurl)):
            fp.close()
            raise urllib.error.URLError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _is_secure(url: str) -> bool:
    return urllib.parse.urlsplit(url).scheme == "https"


def _is_loopback(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme == "http" and parts.hostname in LOOPBACK
