import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from impasto.errors import ImageError
from impasto.sources import find, is_clip, is_many, matches, painted_name, pattern_parts, split

NAMES = ["a.jpg", "b.PNG", "notes.txt", "raw/c.jpg", "raw/old/d.webp", "raw/old/e.mp4", "z/a.jpg"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own, with files in folders below photos."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        make(f"photos/{name}")


def make(name: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def found(*inputs: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = (), output: str = "out") -> list[str]:
    return [entry.name for entry in find(inputs, include, exclude, output)]


def test_pictures_and_videos_of_all_folders_in_order() -> None:
    assert found("photos") == ["a.jpg", "b.PNG", "raw/c.jpg", "raw/old/d.webp", "raw/old/e.mp4", "z/a.jpg"]
    assert [entry.place for entry in find(["photos/"])][2] == str(Path("photos", "raw", "c.jpg"))
    assert found(str(Path("photos").resolve())) == found("photos") == found("./photos/.")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("photos/*.jpg", ["a.jpg"]),
        ("photos/*.png", ["b.PNG"]),  # letters of any case
        ("photos/**/*.jpg", ["a.jpg", "raw/c.jpg", "z/a.jpg"]),
        ("photos/r*/*.jpg", ["raw/c.jpg"]),
        ("photos/[rz]*", ["raw/c.jpg", "raw/old/d.webp", "raw/old/e.mp4", "z/a.jpg"]),  # folders, with what is in them
        ("p*/raw/**/?.mp4", ["photos/raw/old/e.mp4"]),
        ("photos/raw/*/d*", ["old/d.webp"]),
        ("photos/*.gif", []),
        ("nothing*/here", []),
    ],
)
def test_patterns(pattern: str, names: list[str]) -> None:
    assert is_many(pattern)
    assert found(pattern) == names


def test_a_file_with_wildcards_in_its_name_is_that_file() -> None:
    make("[a]*.jpg")
    make("a.jpg")
    assert split("[a]*.jpg") == ("[a]*.jpg", [])
    assert not is_many("[a]*.jpg")
    assert found("[a]*.jpg") == ["[a]*.jpg"]


def test_patterns_do_not_look_where_nothing_can_match(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    scan = os.scandir

    def spy(path: Path) -> Any:
        looked.append(path.name)
        return scan(path)

    monkeypatch.setattr(os, "scandir", spy)
    assert found("photos/*.jpg") == ["a.jpg"]
    assert looked == ["photos"]


@pytest.mark.parametrize(
    ("include", "exclude", "names"),
    [
        (("*.jpg",), (), ["a.jpg", "raw/c.jpg", "z/a.jpg"]),
        (("a.*", "*.mp4"), (), ["a.jpg", "raw/old/e.mp4", "z/a.jpg"]),
        (("*.txt",), (), ["notes.txt"]),  # what is asked for by name needs no suffix of a picture
        (("raw/*.jpg",), (), ["raw/c.jpg"]),
        ((), ("raw",), ["a.jpg", "b.PNG", "z/a.jpg"]),
        ((), ("old/",), ["a.jpg", "b.PNG", "raw/c.jpg", "z/a.jpg"]),
        ((), ("raw/old", "*.png"), ["a.jpg", "raw/c.jpg", "z/a.jpg"]),
        (("*.jpg",), ("z",), ["a.jpg", "raw/c.jpg"]),
        ((), ("**/*.*",), []),
    ],
)
def test_what_is_included_and_left_out(include: tuple[str, ...], exclude: tuple[str, ...], names: list[str]) -> None:
    assert found("photos", include=include, exclude=exclude) == names


def test_what_is_hidden_and_the_output_are_left_out() -> None:
    make("photos/.hidden.jpg")
    make("photos/.thumbs/a.jpg")
    make("photos/out/a-candy.jpg")
    assert "out/a-candy.jpg" not in found("photos", output="photos/out")
    assert "out/a-candy.jpg" in found("photos")
    assert not any(name.rpartition("/")[2].startswith(".") for name in found("photos"))


def test_links_are_followed_once() -> None:
    Path("photos/raw/up").symlink_to("..", target_is_directory=True)
    Path("photos/self").symlink_to("self")
    Path("photos/gone.jpg").symlink_to("nowhere.jpg")
    make("elsewhere/x.jpg")
    Path("photos/linked").symlink_to("../elsewhere", target_is_directory=True)
    Path("photos/one.jpg").symlink_to("../elsewhere/x.jpg")
    names = found("photos")
    assert names == ["a.jpg", "b.PNG", "linked/x.jpg", "one.jpg", "raw/c.jpg", *NAMES[4:]]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_no_picture() -> None:
    os.mkfifo("photos/pipe.jpg")
    assert "pipe.jpg" not in found("photos")


def test_several_folders_and_files_keep_apart() -> None:
    make("more/a.jpg")
    assert found("photos/z", "more") == ["more/a.jpg", "z/a.jpg"]
    assert found("photos/z/a.jpg", "photos/z/a.jpg") == ["a.jpg"]
    assert found("missing.jpg") == ["missing.jpg"]  # reading it tells


@pytest.mark.parametrize("name", ["two words.jpg", "- dash.jpg", "new\nline.jpg", "絵.jpg", "a\udcffb.jpg"])
def test_odd_names(name: str) -> None:
    make(f"odd/{name}")
    assert found("odd") == [name]
    assert painted_name(name, "candy", clip=False) == f"{name[:-4]}-candy.jpg"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything")
def test_a_folder_that_cannot_be_read() -> None:
    Path("photos/raw").chmod(0)
    with pytest.warns(UserWarning, match="passed over"):
        assert found("photos") == ["a.jpg", "b.PNG", "z/a.jpg"]
    Path("photos/raw").chmod(0o755)
    Path("photos").chmod(0)
    with pytest.raises(ImageError, match="cannot read photos"):
        found("photos")
    Path("photos").chmod(0o755)


@pytest.mark.parametrize(
    ("path", "pattern", "partly", "expected"),
    [
        ("a/b", "**", False, True),
        ("a/b", "a", False, True),
        ("a/b", "b", False, True),
        ("a/b", "b/a", False, False),
        ("a", "a/b", False, False),
        ("a", "a/b", True, True),
        ("c", "a/b", True, False),
        ("a/x/y/b", "a/**/b", False, True),
        ("a/b", "a/**/b", False, True),
    ],
)
def test_matches(path: str, pattern: str, partly: bool, expected: bool) -> None:
    assert matches(path.split("/"), pattern_parts(pattern), partly=partly) == expected


def test_pictures_that_move_are_videos() -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (0, 99, 200)]
    frames[0].save("moves.gif", save_all=True, append_images=frames[1:])
    frames[0].save("still.gif")
    assert [is_clip(name) for name in ("moves.gif", "still.gif", "a.mp4", "a.jpg", "no.gif")] == [
        True, False, True, False, False,
    ]  # fmt: skip
