from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from impasto.files import atomic_write, remove_temporary

if TYPE_CHECKING:
    from pathlib import Path

posix = pytest.mark.skipif(os.name != "posix", reason="permission bits, links and pipes are POSIX's")


def write(path: Path, data: bytes) -> None:
    with atomic_write(path) as stream:
        stream.write(data)


def test_only_old_temporary_files_are_removed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    names = [".impasto-0a.tmp", "sub/.impasto-1b.tmp", "sub/.impasto-new.tmp", "other.tmp", "sub/a.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (1, 1))
    os.utime(tmp_path / names[2])
    remove_temporary(tmp_path, 60)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == sorted(names[2:])


def test_a_new_file_holds_the_bytes_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "a.bin", b"paint")
    assert (tmp_path / "a.bin").read_bytes() == b"paint"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_the_old_file_stands_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with atomic_write(str(path)) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_write(path) as stream:
            stream.write(b"half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_at_the_last_flush_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write(tmp_path / "a.bin", b"x" * 100_000)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_the_bytes_reach_the_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "a.bin", []

    def record(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", record)
    write(path, b"x" * 1000)
    assert synced == [(1000, False)]


def test_a_missing_folder_is_named_by_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write(tmp_path / "missing" / "a.bin", b"")
    assert caught.value.filename == str(tmp_path.resolve() / "missing" / "a.bin")


def test_a_parent_that_is_a_file_keeps_its_own_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        write(tmp_path / "file" / "a.bin", b"")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"directory|denied"):
        write(tmp_path, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_name_at_the_length_limit_is_written(tmp_path: Path) -> None:
    write(tmp_path / ("n" * 255), b"x")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"x"


@posix
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    previous = os.umask(umask)
    try:
        write(tmp_path / "a.bin", b"")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == mode


@posix
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"private")
    path.chmod(0o600)
    write(path, b"still private")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@posix
def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a.bin")
    write(tmp_path / "link", b"first")
    write(tmp_path / "link", b"second")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a.bin").read_bytes() == b"second"
    assert len(list((tmp_path / "real").iterdir())) == 1


@posix
def test_a_pipe_is_written_straight_and_stays_a_pipe(tmp_path: Path) -> None:
    path, received = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: received.append(path.read_bytes()))
    reader.start()
    write(path, b"through")
    reader.join(timeout=10)
    assert received == [b"through"]
    assert path.is_fifo()


def test_the_module_imports_neither_pillow_nor_numpy() -> None:
    code = "import sys, impasto.files; sys.exit(bool({'PIL', 'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
