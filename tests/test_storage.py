import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto import storage
from impasto.errors import ImageError, MissingExtraError
from impasto.sources import find, is_many

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    """Begin and end without anything in fsspec's memory."""
    clear()
    yield
    clear()


def clear() -> None:
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]


def test_bytes_go_out_and_come_back() -> None:
    storage.write_bytes("memory://out/deep/a.jpg", b"one")
    storage.write_bytes("memory://out/deep/a.jpg", b"other")
    assert storage.read_bytes("memory://out/deep/a.jpg") == b"other"
    assert storage.sizes("memory://out")("deep/a.jpg") == 5
    assert storage.sizes("memory://out")("deep/b.jpg") is None
    assert storage.sizes("memory://nothing")("a.jpg") is None


def test_files_below_an_address() -> None:
    for name in ("a.jpg", "raw/b.png", "raw/.hidden.png", "notes.txt", "out/c.jpg"):
        storage.write_bytes(f"memory://photos/{name}", b"x")
    assert is_many("memory://photos")
    names = [entry.name for entry in find(["memory://photos"], output="memory://photos/out")]
    assert names == ["a.jpg", "raw/b.png"]
    assert [entry.name for entry in find(["memory://photos/**/*.png"])] == ["raw/b.png"]
    entry = find(["memory://photos/a.jpg"])[0]
    assert (entry.name, entry.size, storage.read_bytes(entry.place)) == ("a.jpg", 1, b"x")


def test_a_changed_file_has_another_stamp() -> None:
    storage.write_bytes("memory://photos/a.jpg", b"x")
    before = find(["memory://photos"])[0]
    assert find(["memory://photos"])[0].stamp == before.stamp
    storage.write_bytes("memory://photos/a.jpg", b"y")
    assert find(["memory://photos"])[0].stamp != before.stamp


@pytest.mark.parametrize("work", [storage.read_bytes, lambda place: list(storage.walk(place, lambda _: True))])
def test_what_is_not_there_is_told(work: object) -> None:
    assert callable(work)
    with pytest.raises(ImageError, match=r"cannot read memory://nothing/a\.jpg: there is no such"):
        work("memory://nothing/a.jpg")


def test_a_store_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no\ncredentials")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", fail)
    with pytest.raises(ImageError, match=r"cannot write memory://out/a\.jpg: no credentials"):
        storage.write_bytes("memory://out/a.jpg", b"x")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="odd://a: no such kind of address"):
        storage.exists("odd://a")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'impasto\[storage\]'"):
        storage.exists("memory://a")


def test_file_addresses_are_paths(tmp_path: Path) -> None:
    assert storage.local(f"file://{tmp_path}/a b") == f"{tmp_path}/a b"
    assert not storage.is_address(storage.local("file:///a"))
    assert not storage.is_address("C:\\photos")
    assert storage.join("s3://bucket/", "a/b.jpg") == "s3://bucket/a/b.jpg"
    assert storage.join(str(tmp_path), "a/b.jpg") == str(tmp_path / "a" / "b.jpg")
