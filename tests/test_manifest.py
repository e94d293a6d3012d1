import json
import os
from pathlib import Path

import pytest

from impasto import manifest as module
from impasto import storage
from impasto.errors import ImageError
from impasto.manifest import FileResult, Manifest


def result(name: str, status: str = "done") -> FileResult:
    return FileResult(input=name, output=f"{name}-candy.jpg", status=status, bytes=3)


def test_lines_are_there_when_it_is_opened_again(tmp_path: Path) -> None:
    odd = "a\n絵\udcff"
    first = Manifest(str(tmp_path / "new" / "out"))
    first.add(result(odd))
    first.add(result("b", "failed"))
    first.add(result("b"))
    first.close()
    again = Manifest(str(tmp_path / "new" / "out"))
    assert again.latest == {line.output: line for line in (result(odd), result("b"))}
    again.close()
    lines = Path(again.place).read_bytes().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["done", "failed", "done"]


@pytest.mark.parametrize("end", [b'{"input": "b", "out', b"\0\0\0", b"[1]\n3\nnull\n{}\n", b"\xff\xfe"])
def test_what_is_broken_is_passed_over_and_not_added_to(tmp_path: Path, end: bytes) -> None:
    first = Manifest(str(tmp_path))
    first.add(result("a"))
    first.close()
    with Path(first.place).open("ab") as stream:
        stream.write(end)
    again = Manifest(str(tmp_path))
    assert list(again.latest) == ["a-candy.jpg"]
    again.add(result("c"))
    again.close()
    assert list(Manifest(str(tmp_path)).latest) == ["a-candy.jpg", "c-candy.jpg"]


def test_two_at_once_lose_nothing(tmp_path: Path) -> None:
    one, other = Manifest(str(tmp_path)), Manifest(str(tmp_path))
    for i in range(50):
        (one, other)[i % 2].add(result(str(i)))
    one.close()
    other.close()
    assert len(Manifest(str(tmp_path)).latest) == 50


def test_a_disk_that_becomes_full_and_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest(str(tmp_path))
    write, calls = os.write, []

    def half(file: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return write(file, data[:10] if len(calls) == 1 else data)

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(ImageError, match="No space left"):
        manifest.add(result("a"))
    manifest.add(result("b"))
    manifest.close()
    assert list(Manifest(str(tmp_path)).latest) == ["b-candy.jpg"]


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ImageError, match="cannot write"):
        Manifest(str(tmp_path / "file"))


def test_a_store_gets_it_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    folder = "memory://manifest-test/out"
    manifest = Manifest(folder)
    manifest.add(result("a"))
    assert not storage.exists(manifest.place)
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    manifest.add(result("b"))
    assert storage.read_bytes(manifest.place).count(b"\n") == 2
    monkeypatch.undo()
    manifest.add(result("c"))
    manifest.close()
    assert list(Manifest(folder).latest) == ["a-candy.jpg", "b-candy.jpg", "c-candy.jpg"]
