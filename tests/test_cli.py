import errno
import importlib
import io
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pytest
import torch
from cyclopts import App
from cyclopts.completion.detect import ShellDetectionError
from PIL import Image

import impasto
from conftest import STROKES, colors_model, write_checkpoint
from impasto import Picture, cli, doctor, styles
from impasto.cli.app import app, unbroken
from impasto.cli.console import clock, left
from impasto.config import TrainConfig
from impasto.images import WRITE_SUFFIXES, read_image, read_picture
from impasto.specs import StyleEntry
from impasto.web import workers

Pixels = npt.NDArray[np.uint8]
Noise = Callable[..., Pixels]
FIELDS = ["input", "output", "width", "height", "seconds", "style", "device", "precision"]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    def fails(self, code: int, *words: str) -> None:
        """Assert one line on standard error, with the words, nothing on standard output, and the exit code."""
        assert (self.code, self.out) == (code, "")
        assert self.err.startswith("impasto: ")
        assert self.err.count("\n") == 1
        for word in words:
            assert word in self.err


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line."""

    def call(*args: object) -> Done:
        with pytest.raises(SystemExit) as caught:
            cli.main([str(arg) for arg in args])
        assert isinstance(caught.value.code, int)
        return Done(caught.value.code, *capsys.readouterr())

    return call


@pytest.fixture
def photo(noise: Noise) -> Pixels:
    """Noise; photo.png in the working directory."""
    pixels = noise(20, 30)
    Image.fromarray(pixels).save("photo.png")
    return pixels


@pytest.fixture
def style(invert: Path) -> list[str]:
    """Options of the style that inverts exactly."""
    return ["--style", str(invert), "--precision", "float32"]


def names() -> list[str]:
    """Files in the working directory, hidden ones too."""
    return sorted(path.name for path in Path().iterdir())


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def impasto_process(*args: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "impasto", *map(str, args)]
    return subprocess.run(command, timeout=120, check=False, **{"capture_output": True, **options})


# ------------------------------------------------------------------------------------------------- results and names


def test_a_photo_becomes_a_painting(run: Run, photo: Pixels, style: list[str]) -> None:
    done = run("stylize", "photo.png", *style)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("photo-invert.png  30 x 20  invert  ")
    assert done.out.endswith(" s\n")
    np.testing.assert_array_equal(read_image("photo-invert.png"), 255 - photo)
    np.testing.assert_array_equal(read_image("photo.png"), photo)
    assert names() == ["photo-invert.png", "photo.png"]


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        *((suffix, suffix) for suffix in WRITE_SUFFIXES),
        (".JPG", ".JPG"),
        (".jfif", ".png"),
        (".bmp", ".png"),
        (".gif", ".png"),
        ("", ".png"),
        (".odd", ".png"),
    ],
)
def test_default_output_names(run: Run, photo: Pixels, style: list[str], suffix: str, expected: str) -> None:
    kind = {".jpg": "jpeg", ".jfif": "jpeg", ".tif": "tiff", "": "png", ".odd": "png"}
    Path("in").mkdir()
    Image.fromarray(photo).save(f"in/a.b{suffix}", kind.get(suffix.lower(), suffix[1:].lower()))
    done = run("stylize", f"in/a.b{suffix}", *style)
    stem = "a.b" if suffix else "a"  # the last part is the suffix
    expected = expected if suffix else ".png"
    assert (done.code, done.err) == (0, "")
    assert Path(f"in/{stem}-invert{expected}").is_file()
    with Image.open(f"in/{stem}-invert{expected}") as image:
        assert (image.format or "").lower() == WRITE_SUFFIXES[expected.lower()]


@pytest.mark.usefixtures("photo")
@pytest.mark.parametrize("name", ["two words.png", "smørrebrød 絵.png", "-dash.png", "$HOME;ls.png", "a\u202fb.png"])
def test_odd_names(run: Run, style: list[str], name: str) -> None:
    Path("photo.png").rename(name)
    done = run("stylize", *style, "--", name)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{name[:-4]}-invert.png  ")
    assert names() == sorted([name, f"{name[:-4]}-invert.png"])


@pytest.mark.usefixtures("photo")
@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[31mb.png", "a\udcffb.png"])
def test_names_that_move_the_cursor_are_printed_as_escapes(run: Run, style: list[str], name: str) -> None:
    Path("photo.png").rename(name)
    done = run("stylize", name, *style)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("a\\")
    assert done.out.count("\n") == 1
    assert run("stylize", f"no{name}", *style).err.count("\n") == 1


@pytest.mark.usefixtures("photo")
def test_a_terminal_that_cannot_show_a_name(style: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("photo.png").rename("絵.png")
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    with pytest.raises(SystemExit, match="0"):
        cli.main(["stylize", "絵.png", *style])
    assert shown.getvalue().startswith(b"\\u7d75-invert.png  30 x 20")


def test_several_inputs(run: Run, photo: Pixels, style: list[str]) -> None:
    Path("sub").mkdir()
    Image.fromarray(255 - photo).save("sub/photo.webp", lossless=True)
    done = run("stylize", "photo.png", "sub/photo.webp", *style)
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()] == ["photo-invert.png", "sub/photo-invert.webp"]


def test_an_output_file_and_an_output_folder(run: Run, photo: Pixels, style: list[str]) -> None:
    Path("out").mkdir()
    assert run("stylize", "photo.png", *style, "-o", "painted.TIFF").code == 0
    assert run("stylize", "photo.png", "painted.TIFF", *style, "--output", "out").code == 0
    np.testing.assert_array_equal(read_image("painted.TIFF"), 255 - photo)
    np.testing.assert_array_equal(read_image("out/photo-invert.png"), 255 - photo)
    np.testing.assert_array_equal(read_image("out/painted-invert.TIFF"), photo)


def test_an_older_output_is_replaced(run: Run, photo: Pixels, style: list[str]) -> None:
    Path("photo-invert.png").write_bytes(b"older")
    assert run("stylize", "photo.png", *style).code == 0
    np.testing.assert_array_equal(read_image("photo-invert.png"), 255 - photo)


def test_alpha_and_metadata_travel(run: Run, photo: Pixels, style: list[str]) -> None:
    alpha = np.maximum(photo[:, :, 0], 1)
    Image.fromarray(np.dstack([photo, alpha])).save("photo.png", dpi=(300, 300))
    assert run("stylize", "photo.png", *style).code == 0
    painted = read_picture("photo-invert.png")
    np.testing.assert_array_equal(painted.pixels, 255 - photo)
    np.testing.assert_array_equal(painted.alpha, alpha)
    assert painted.dpi == pytest.approx(300, abs=0.1)


def test_json_is_one_object_a_line(run: Run, photo: Pixels, style: list[str]) -> None:
    Image.fromarray(photo[:7]).save("é.jpg")
    done = run("stylize", "photo.png", "é.jpg", *style, "--json")
    assert (done.code, done.err) == (0, "")
    first, second = map(json.loads, done.out.splitlines())
    assert list(first) == list(second) == FIELDS
    assert 0 < first.pop("seconds") < 100
    assert first == {
        "input": "photo.png",
        "output": "photo-invert.png",
        "width": 30,
        "height": 20,
        "style": "invert",
        "device": "cpu",
        "precision": "float32",
    }
    assert (second["input"], second["output"], second["width"], second["height"]) == ("é.jpg", "é-invert.jpg", 30, 7)


@pytest.mark.usefixtures("photo")
def test_json_tells_the_size_of_the_output(run: Run, style: list[str]) -> None:
    done = run("stylize", "photo.png", *style, "--max-side", 15, "--json")
    result = json.loads(done.out)
    assert (result["width"], result["height"]) == (15, 10)
    assert read_image("photo-invert.png").shape == (10, 15, 3)


def test_options_reach_the_library(run: Run, photo: Pixels, style: list[str], noise: Noise) -> None:
    mask = noise(20, 30, seed=1)[:, :, 0]
    Image.fromarray(mask).save("mask.png")
    options = {"strength": 0.5, "colors": "match"}
    done = run("stylize", "photo.png", *style, "--strength", "0.5", "--colors", "match", "--mask", "mask.png")
    assert done.code == 0
    expected = impasto.stylize(photo, style[1], precision="float32", mask=mask, **options)  # type: ignore[arg-type]
    np.testing.assert_array_equal(read_image("photo-invert.png"), expected)


@pytest.mark.usefixtures("photo")
def test_quality_is_passed_on(run: Run, style: list[str]) -> None:
    for quality in (10, 95):
        assert run("stylize", "photo.png", *style, "-o", f"{quality}.jpg", "--quality", quality).code == 0
    assert Path("10.jpg").stat().st_size < Path("95.jpg").stat().st_size


# ------------------------------------------------------------------------------------------------- standard streams


@pytest.mark.parametrize("args", [["-"], ["-", "-o", "-"], ["photo.png", "--output=-"], ["photo.png", "-o=-"]])
def test_a_picture_to_stdout(
    photo: Pixels,
    style: list[str],
    args: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    stdin(monkeypatch, Path("photo.png").read_bytes())
    with pytest.raises(SystemExit, match="0"):
        cli.main(["stylize", *args, *style])
    out, err = capsysbinary.readouterr()
    assert err == b""
    np.testing.assert_array_equal(read_image(out), 255 - photo)
    assert names() == ["photo.png"]


def test_streams_of_a_process(photo: Pixels, style: list[str]) -> None:
    done = impasto_process("stylize", "-", *style, input=Path("photo.png").read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    np.testing.assert_array_equal(read_image(done.stdout), 255 - photo)


def test_stdin_to_a_file_and_a_folder(
    run: Run, photo: Pixels, style: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for output, name in (("a.webp", "a.webp"), (tmp_path, "stdin-invert.png")):
        stdin(monkeypatch, Path("photo.png").read_bytes())
        done = run("stylize", "-", *style, "-o", output, "--json")
        assert (done.code, done.err) == (0, "")
        assert json.loads(done.out)["input"] == "-"
        assert read_image(name).shape == photo.shape


@pytest.mark.parametrize(
    "args",
    [
        ["-", "--json"],
        ["-", "-o", "-", "--json"],
        ["-", "-"],
        ["-", "photo.png"],
        ["photo.png", "b.png", "-o", "-"],
    ],
)
@pytest.mark.usefixtures("photo")
def test_stdout_takes_one_thing(run: Run, style: list[str], args: list[str]) -> None:
    run("stylize", *args, *style).fails(2, "standard output takes one picture")


@pytest.mark.parametrize("data", [b"", b"nothing", b"\x89PNG\r\n\x1a\n"])
def test_bad_stdin(run: Run, style: list[str], monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    stdin(monkeypatch, data)
    run("stylize", "-", *style).fails(1, "cannot read the picture")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_silent(style: list[str], noise: Noise, tmp_path: Path, unbuffered: str) -> None:
    Image.fromarray(noise(300, 300)).save(tmp_path / "photo.png")  # more than a pipe holds
    reader, writer = os.pipe()

    def read_a_little() -> None:
        os.read(reader, 10)
        os.close(reader)

    thread = threading.Thread(target=read_a_little)
    thread.start()
    streams = {"stdout": writer, "stderr": subprocess.PIPE, "env": os.environ | {"PYTHONUNBUFFERED": unbuffered}}
    done = impasto_process("stylize", tmp_path / "photo.png", *style, "-o", "-", capture_output=False, **streams)
    os.close(writer)
    thread.join()
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("args", [["--help"], ["--version"]])
def test_a_full_stdout_is_told(args: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = impasto_process(*args, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert (done.returncode, done.stderr) == (1, b"impasto: standard output: No space left on device\n")


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="there is no /dev/stdin")
def test_a_pipe_by_its_name_is_read_once(style: list[str], photo: Pixels, invert: Path) -> None:
    done = impasto_process("stylize", "/dev/stdin", *style, "-o", "out.png", input=Path("photo.png").read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    assert np.array_equal(read_image("out.png"), impasto.stylize(photo, invert))


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
@pytest.mark.parametrize(
    ("closed", "args", "code", "err"),
    [
        (">&-", "styles", 0, ""),
        (">&- 2>&-", "styles", 0, ""),
        (">&- 2>&- <&-", "stylize nothing.png --style candy", 1, ""),
        ("<&-", "stylize - --style candy", 1, "impasto: cannot read the picture: the file is empty"),
    ],
)
def test_streams_that_are_closed_are_no_failure_of_their_own(closed: str, args: str, code: int, err: str) -> None:
    command = ["sh", "-c", f'exec "$0" -m impasto {args} {closed}', sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code
    assert done.stderr.startswith(err)
    assert done.stderr.count("\n") == bool(err)


# ------------------------------------------------------------------------------------- files that must not be harmed


def link(kind: str, target: str, name: str) -> str:
    """Another name of `target`, relative to the working directory."""
    if kind == "symbolic":
        Path(name).symlink_to(target)
    elif kind == "hard":
        Path(name).hardlink_to(target)
    return name if kind in ("symbolic", "hard") else f"../{Path.cwd().name}/{target}"


@pytest.mark.parametrize("kind", ["path", "symbolic", "hard"])
def test_an_input_is_never_written_over(run: Run, photo: Pixels, style: list[str], kind: str) -> None:
    data = Path("photo.png").read_bytes()
    run("stylize", "photo.png", *style, "-o", "photo.png").fails(2, "photo.png is one of the files that are read")
    run("stylize", "photo.png", *style, "-o", link(kind, "photo.png", "other.png")).fails(2, "choose another --output")
    assert Path("photo.png").read_bytes() == data
    assert photo.shape == read_image("photo.png").shape


def test_a_default_name_does_not_write_over_another_input(run: Run, photo: Pixels, style: list[str]) -> None:
    Image.fromarray(photo).save("photo-invert.png")
    run("stylize", "photo.png", "photo-invert.png", *style).fails(2, "photo-invert.png is one of the files")
    np.testing.assert_array_equal(read_image("photo-invert.png"), photo)


@pytest.mark.usefixtures("photo")
def test_mask_and_style_are_not_written_over(run: Run, invert_bytes: bytes) -> None:
    Image.new("L", (8, 8)).save("mask.png")
    Path("own.onnx").write_bytes(invert_bytes)
    Path("own.png").symlink_to("own.onnx")
    before = Path("mask.png").read_bytes()
    own = ["photo.png", "--style", "own.onnx"]
    run("stylize", *own, "--mask", "mask.png", "-o", "mask.png").fails(2, "mask.png is one of the files")
    run("stylize", *own, "-o", "own.png").fails(2, "own.png is one of the files")
    run("stylize", *own, "-o", "own.onnx").fails(2, "must end in one of .jpg")
    assert Path("mask.png").read_bytes() == before
    assert Path("own.onnx").read_bytes() == invert_bytes


@pytest.mark.usefixtures("photo")
def test_two_inputs_do_not_get_one_output(run: Run, style: list[str]) -> None:
    Path("a").mkdir()
    Path("a/photo.png").write_bytes(Path("photo.png").read_bytes())
    Path("out").mkdir()
    for args in (["a/photo.png", "-o", "out"], ["photo.png"], ["a/../photo.png"]):
        run("stylize", "photo.png", *args, *style).fails(2, "would both become")
    assert not list(Path("out").iterdir())


# ---------------------------------------------------------------------------------------------- failures of the world


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["missing.png"], ["cannot read missing.png", "no such file"]),
        (["photo.png/a.png"], ["there is no such file"]),
        (["empty.png"], ["cannot read empty.png", "empty"]),
        (["text.png"], ["cannot read text.png"]),
        (["cut.png"], ["cannot read cut.png", "broken or cut off"]),
        (["photo.png", "--mask", "missing.png"], ["cannot read missing.png"]),
        (["photo.png", "--mask", "text.png"], ["cannot read text.png"]),
        (["photo.png", "-o", "missing/a.png"], ["cannot write missing/a.png", "its folder does not exist"]),
        (["photo.png", "-o", "photo.png/a.png"], ["cannot write photo.png/a.png", "its folder does not exist"]),
        (["photo.png", "-o", f"{'x' * 300}.png"], ["x.png", "too long"]),
    ],
)
@pytest.mark.usefixtures("photo")
def test_what_cannot_be_read_or_written(run: Run, style: list[str], args: list[str], words: list[str]) -> None:
    Path("empty.png").write_bytes(b"")
    Path("text.png").write_text("not a picture")
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:200])
    before = names()
    run("stylize", *args, *style).fails(1, *words)
    assert names() == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_style", ["unknown style 'no_such_style'"]),
        ("missing.onnx", ["missing.onnx: cannot read the style file"]),
        ("a/b", ["a/b: cannot read the style file"]),
        ("photo.png", ["a picture, not a style file", "impasto train"]),
        ("text.onnx", ["text.onnx: not a readable ONNX file"]),
        ("empty.onnx", ["empty.onnx: not a readable ONNX file"]),
        ("cut.onnx", ["cut.onnx: not a readable ONNX file"]),
        ("folder.onnx", ["folder.onnx: cannot read the style file"]),
    ],
)
@pytest.mark.usefixtures("photo")
def test_styles_that_cannot_be_used(
    run: Run, tiny: Path, name: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("impasto.paintings.engines_folder", lambda: Path("no engines"))
    Path("text.onnx").write_text("not a style")
    Path("empty.onnx").write_bytes(b"")
    Path("cut.onnx").write_bytes(tiny.read_bytes()[:5000])
    Path("folder.onnx").mkdir()
    before = names()
    run("stylize", "photo.png", "--style", name).fails(1, *words)
    assert names() == before


@pytest.mark.parametrize(
    ("number", "word"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "not permitted")],
)
@pytest.mark.parametrize("where", ["impasto.files._create", "os.fsync"])
@pytest.mark.usefixtures("photo")
def test_a_disk_that_refuses(
    run: Run, style: list[str], monkeypatch: pytest.MonkeyPatch, number: int, word: str, where: str
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    Path("photo-invert.png").write_bytes(b"older")
    monkeypatch.setattr(where, refuse)
    run("stylize", "photo.png", *style).fails(1, "cannot write photo-invert.png", word)
    assert Path("photo-invert.png").read_bytes() == b"older"
    assert names() == ["photo-invert.png", "photo.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.usefixtures("photo")
def test_a_full_device(run: Run, style: list[str]) -> None:
    Path("full.png").symlink_to("/dev/full")
    run("stylize", "photo.png", *style, "-o", "full.png").fails(1, "cannot write full.png", "the disk is full")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.usefixtures("photo")
def test_a_read_only_folder(run: Run, style: list[str]) -> None:
    Path("out").mkdir(mode=0o555)
    run("stylize", "photo.png", *style, "-o", "out").fails(1, "not permitted")
    assert not list(Path("out").iterdir())


def test_a_batch_goes_on_and_sums_up(run: Run, photo: Pixels, style: list[str]) -> None:
    Image.fromarray(photo).save("last.png")
    done = run("stylize", "photo.png", "missing.png", "last.png", *style, "--json")
    assert done.code == 1
    assert [json.loads(line)["output"] for line in done.out.splitlines()] == ["photo-invert.png", "last-invert.png"]
    first, last = done.err.splitlines()
    assert "cannot read missing.png" in first
    assert last == "impasto: 1 of 3 pictures failed"
    assert names() == ["last-invert.png", "last.png", "photo-invert.png", "photo.png"]


@pytest.mark.usefixtures("photo")
def test_no_gpu(run: Run, style: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.runtimes.torch_gpu", lambda: None)
    monkeypatch.setattr("impasto.runtimes.openvino_devices", lambda: ["CPU"])
    run("stylize", "photo.png", *style, "--device", "gpu").fails(1, "--device cpu")


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "out of memory; try --max-side"),
        (OSError(errno.EIO, "Input/output error", "some file"), 1, "some file: Input/output error"),
    ],
)
@pytest.mark.usefixtures("photo")
def test_what_interrupts(
    run: Run, style: list[str], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, told: str
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(impasto, "stylize", fail)
    monkeypatch.setattr(cli, "forget_stdout", lambda: None)
    run("stylize", "photo.png", *style).fails(code, told)
    assert names() == ["photo.png"]


def test_an_interrupt_while_writing_leaves_nothing(
    run: Run, photo: Pixels, style: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    run("stylize", "photo.png", *style).fails(130, "interrupted")
    assert names() == ["photo.png"]
    assert photo.size


def test_a_warning_is_one_line(photo: Pixels, style: list[str]) -> None:
    Image.fromarray(photo).save("photo.png", icc_profile=b"broken" * 40)
    done = impasto_process("stylize", "photo.png", *style)
    assert done.returncode == 0
    assert done.stderr.startswith(b"impasto: warning: photo.png: the embedded colour profile is broken")
    assert done.stderr.count(b"\n") == 1


# -------------------------------------------------------------------------------------------------- mistakes in usage


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["photo.png", "--strength", "1.5"], "strength is 1.5"),
        (["photo.png", "--strength", "-1"], "strength is -1"),
        (["photo.png", "--strength", "nan"], "strength is nan"),
        (["photo.png", "--strength", "much"], "much"),
        (["photo.png", "--strength"], "--strength"),
        (["photo.png", "--colors", "blue"], "blue"),
        (["photo.png", "--device", "tpu"], "tpu"),
        (["photo.png", "--precision", "int8"], "--precision specified multiple times"),
        (["photo.png", "--max-side", "0"], "max_side is 0"),
        (["photo.png", "--max-side", "big"], "big"),
        (["photo.png", "--quality", "0"], "quality is 0"),
        (["photo.png", "--quality", "101"], "quality is 101"),
        (["photo.png", "--no-such-flag"], "--no-such-flag"),
        (["photo.png", "--stregth", "1"], "--strength"),
        (["photo.png", "--no-json"], "--no-json"),
        (["photo.png", "-o", "a.txt"], "must end in one of"),
        (["photo.png", "-o", "new/"], "must end in one of"),
        (["photo.png", "b.png", "-o", "a.png"], "existing folder"),
        (["."], "folders, patterns and addresses need --output"),
        ([], "no photograph given"),
    ],
)
@pytest.mark.usefixtures("photo")
def test_wrong_usage(run: Run, style: list[str], args: list[str], word: str) -> None:
    run("stylize", *args, *style).fails(2, word, "impasto stylize --help")
    assert names() == ["photo.png"]


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["stylize", "photo.png"], "--style"),
        (["frobnicate"], "frobnicate"),
        (["stylise"], "stylize"),
        (["--no-such-flag"], "--no-such-flag"),
        (["styles", "a.onnx", "extra"], "extra"),
        (["doctor", "--json=maybe"], "--json"),
        (["convert"], "CHECKPOINT is missing"),
        (["convert", "a.pth"], "--output"),
        (["convert", "a.pth", "-o", "a.pth"], "a style file ends in .onnx"),
        (["convert", "a.pth", "-o", "a.onnx", "--convention", "hsv"], "hsv"),
        (["train"], "PAINTINGS is missing"),
        (["train", "a.jpg", "--photos", ".", "-o", "a.png"], "a style file ends in .onnx"),
        (["train", "a.jpg", "--photos", ".", "-o", "a.onnx", "--steps", "0"], "steps is 0"),
        (["train", "--config", "missing.toml"], "--config is 'missing.toml'; there is no such file"),
        (["train", "--config"], "--config is ''"),
        (["train", "--config=broken.toml"], "TOML"),
    ],
)
def test_wrong_usage_of_other_commands(run: Run, args: list[str], word: str) -> None:
    Path("broken.toml").write_text("a = [")
    run(*args).fails(2, word)
    assert names() == ["broken.toml"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("stylize", "", "--style", "candy", "-o", "out"), "after stylize is empty"),
        (("stylize", "photo.png", "--style", "candy", "-o", ""), "after -o is empty"),
        (("stylize", "photo.png", "--style", "candy", "--output="), "--output= has an empty value"),
        (("stylize", "--style", "candy", "--", ""), "after -- is empty"),
        (("upscale", ""), "after upscale is empty"),
        (("redo", "photo.png", "-o", ""), "after -o is empty"),
    ],
)
@pytest.mark.usefixtures("photo")
def test_an_empty_argument_is_not_this_folder(run: Run, args: tuple[str, ...], words: str) -> None:
    run(*args).fails(2, words)
    assert [path.name for path in Path().iterdir()] == ["photo.png"]


# ------------------------------------------------------------------------------------------------------ other commands


def test_version_tells_the_engines_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = f"impasto {impasto.__version__}\nPython {platform.python_version()}\nOpenVINO {version('openvino')}\n"
    done = run("--version")
    assert (done.code, done.out[: len(first)], done.err) == (0, first, "")
    assert f"\nPyTorch {version('torch')}\n" in done.out
    monkeypatch.setattr(doctor, "ENGINES", {"OpenVINO": "openvino", "PyTorch": "no-such-package"})
    assert run("--version") == Done(0, first, "")


def test_a_server_whose_processes_cannot_start_names_what_cannot(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", "/opt/python")

    monkeypatch.setattr(workers, "Processes", refused)
    run("serve").fails(1, "/opt/python: Permission denied")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_shell_completes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    Path("home").mkdir()
    done = run("--install-completion", "--shell", "bash")
    assert (done.code, done.err) == (0, "")
    script = Path(done.out.partition(";")[0])
    assert script.is_relative_to(tmp_path / "home")
    assert str(script) in Path("home/.bashrc").read_text()
    for words, expected in (
        ("impasto expor", "export"),
        ("impasto stylize a.jpg --colors l", "luma"),
        ("impasto palette m", "merge"),
    ):
        count = len(words.split()) - 1
        code = (
            f". {shlex.quote(str(script))}; COMP_WORDS=({words}); COMP_CWORD={count}; _impasto; echo ${{COMPREPLY[@]}}"
        )
        completed = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert completed.stdout == f"{expected}\n"


def test_an_unknown_shell_is_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> NoReturn:
        raise ShellDetectionError

    monkeypatch.setattr(App, "install_completion", unknown)
    run("--install-completion").fails(1, "--shell bash")
    run("--install-completion", "--shell", "tcsh").fails(2, "tcsh")


@pytest.mark.parametrize("command", [(), *((name,) for name in app if not name.startswith("-")), ("palette", "merge")])
def test_help_is_in_plain_words(run: Run, command: tuple[str, ...]) -> None:
    text = run(*command, "--help").out
    assert text.startswith(f"Usage: impasto {' '.join(command)}".rstrip())
    for code in ("()", "default: (", "',)", "{}", "`", "[default: False]", "[default: True]", "|FLOAT", "Display this"):
        assert code not in text, code


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["stylize", "a.png"], "--style is missing (see impasto stylize --help)"),
        (["stylize", "a.png", "--style"], "--style needs a value (see impasto stylize --help)"),
        (["stylize", "a.png", "--style", "candy", "-o"], "-o needs a value (see impasto stylize --help)"),
        (["optimize", "a.png"], "PAINTINGS is missing (see impasto optimize --help)"),
        (["optimize", "a.png", "b.png", "-o", "c.png", "--size", "big"], "--size is 'big'; it must be a whole"),
        (["stylize", "a.png", "--style", "candy", "--strength", "much"], "--strength is 'much'; it must be a number"),
        (
            ["stylize", "a.png", "--style", "candy", "--memory", "lots"],
            "--memory is 'lots'; it must be",
        ),
        (["optimize", "a.png", "b.png", "-o", "c.png", "--memory", "4 GiB"], "it must be an amount as 4GB or 600MB"),
        (["stylize", "a.png", "--style", "candy", "--json=3"], "--json is '3'; it must be left without a value"),
        (
            ["stylize", "a.png", "--style", "candy", "--strenth", "1"],
            "Did you mean --strength?",
        ),
        (
            ["train", "a.png", "--photos", ".", "-o", "b.onnx", "--image-size", "8", "x"],
            "--image-size is 'x'",
        ),
        (["palette", "merge", "a.onnx"], "--output is missing (see impasto palette merge --help)"),
        (["doctor", "now", "please"], "there is no place for now please (see impasto doctor --help)"),
        (["stylize", "a.png", "--style", "candy", "--strength", "2"], "(see impasto stylize --help)"),
        (["-v"], "(see impasto --help)"),
        (
            ["stylize", "-dash.jpg", "--style", "candy"],
            "-dash.jpg begins with a dash, as options do; write ./-dash.jpg",
        ),
        (["upscale", "--two.MP4"], "write ./--two.MP4 (see impasto upscale --help)"),
        (["stylize", "a.jpg", "--style", "-mine.onnx"], "write ./-mine.onnx"),
        (["stylize", "a.jpg", "--style", "candy", "-o", "-x.png"], "write ./-x.png"),
        (["stylize", "a.jpg", "--style", "candy", "-o", "--json"], "-o needs a value"),
    ],
)
def test_a_mistake_is_one_plain_line(run: Run, args: list[str], told: str) -> None:
    done = run(*args)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert done.err.count("\n") == 1


def help_of(command: str, columns: int) -> str:
    return impasto_process(command, "--help", env=os.environ | {"COLUMNS": str(columns)}).stdout.decode()


def test_help_has_the_width_of_the_terminal() -> None:
    (output,) = (line for line in help_of("stylize", 500).splitlines() if "--output" in line)
    assert "beside the input unless given" in output
    assert "only what is left or has changed is painted" in output
    assert "it continues where it was; a video with the frame that was not" in help_of("optimize", 500)
    assert max(map(len, help_of("optimize", 60).splitlines())) <= 60
    said = "One,\ntwo.\n\nThree.\n\nParameters\n----------\na\n    Of\n    a.\nb\n    Of b."
    assert unbroken(said) == "One, two.\n\nThree.\n\nParameters\n----------\na\n    Of a.\nb\n    Of b."
    assert unbroken("One,\ntwo.") == "One, two."


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (90_000, "25:00:00")]
)
def test_clock(seconds: float, told: str) -> None:
    assert clock(seconds) == told
    assert (left(seconds), left(None)) == (f"  {told} left", "")


def test_help_lists_every_command_and_flag(run: Run) -> None:
    for args in ([], ["--help"], ["-h"]):
        done = run(*args)
        assert (done.code, done.err) == (0, "")
        assert all(f" {name} " in done.out for name in ("stylize", "styles", "doctor", "convert", "train"))
    flags = "--style --output -o --strength --stroke --colors --mask --max-side --quality --device --precision --json "
    flags += "--include --exclude --workers --cluster --retry-failed --max-errors"
    done = run("stylize", "--help")
    assert all(f" {flag} " in done.out for flag in flags.split())
    assert "<stem>-<style>.<ext>" in done.out
    assert "INPUT..." in done.out
    assert "--no-json" not in done.out
    settings = {
        field for field in TrainConfig.__dataclass_fields__ if field not in ("_", "network", "stylenet", "about")
    }
    done = run("train", "--help")
    assert all(f"--{field.replace('_', '-')} " in done.out for field in settings)


def test_styles_lists_the_built_in_ones(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"file": "a.onnx", "title": "Rain Princess", "artist": "Someone", "year": "2014"}
    monkeypatch.setattr(styles, "builtin_styles", lambda: {"rain_princess": entry})
    monkeypatch.setitem(vars(impasto), "builtin_styles", styles.builtin_styles)
    assert run("styles").out == "rain_princess     Rain Princess, Someone, 2014\n"
    assert json.loads(run("styles", "--json").out) == [{"name": "rain_princess", **entry}]


def test_styles_are_those_of_the_package(run: Run) -> None:
    listed = json.loads(run("styles", "--json").out)
    assert [entry["name"] for entry in listed] == list(styles.builtin_styles())


def test_styles_of_a_file_are_listed(run: Run, colors: Path) -> None:
    assert run("styles", colors).out.split("\n") == ["red               Red", "blue              Blue", ""]
    listed = json.loads(run("styles", colors, "--json").out)
    assert [(entry["name"], entry["strokes"]) for entry in listed] == [
        ("red", [100, 200, 400]),
        ("blue", [100, 200, 400]),
    ]


def test_a_built_in_style_by_its_name(run: Run) -> None:
    listed = {line.split()[0]: line for line in run("styles").out.splitlines()}
    assert run("styles", "candy").out == listed["candy"] + "\n"
    assert [entry["name"] for entry in json.loads(run("styles", "udnie", "--json").out)] == ["udnie"]
    assert run("styles", "palette").out.split()[0] == "candy"
    run("styles", "cand").fails(1, "unknown style 'cand'; did you mean candy?")
    run("styles", "none.onnx").fails(1, "none.onnx: cannot read the style file: there is no such file; check the path")
    assert run("styles", "candy", "--sheet", "s.png", "--side", 40).code == 0
    assert read_image("s.png").shape[1] == 8 + 2 * (40 + 8)  # the photo and candy


def test_a_sheet_of_every_style(run: Run, colors: Path, photo: Pixels) -> None:
    assert run("styles", colors, "--sheet", "sheet.png", "--photo", "photo.png") == Done(0, "sheet.png\n", "")
    drawn = read_image("sheet.png")
    assert drawn.shape[1] == 8 + 3 * (photo.shape[1] + 8)
    np.testing.assert_array_equal(drawn[8:28, 8:38], photo)
    assert run("styles", colors, "--sheet", "ours.jpg", "--side", "64").code == 0
    assert read_image("ours.jpg").shape == (8 + 48 + 8 + 22, 8 + 3 * (64 + 8), 3)


def test_a_matrix_of_one_style(run: Run, colors: Path, photo: Pixels) -> None:
    assert run("styles", colors, "--sheet", "m.png", "--matrix", "red", "--photo", "photo.png").code == 0
    assert read_image("m.png").shape[:2] == (8 + 3 * (photo.shape[0] + 30), 8 + 4 * (photo.shape[1] + 8))


@pytest.mark.usefixtures("photo")
@pytest.mark.parametrize(
    ("args", "code", "word"),
    [
        (["--matrix", "red"], 2, "--matrix needs --sheet"),
        (["--photo", "photo.png"], 2, "--photo needs --sheet"),
        (["--sheet", "s.txt"], 2, "--sheet is s.txt; it must end in"),
        (["--sheet", "photo.png", "--photo", "photo.png"], 2, "one of the files that are read"),
        (["--sheet", "s.png", "--side", "3"], 2, "side is 3"),
        (["--sheet", "s.png", "--matrix", "rod"], 1, "has no style 'rod'; did you mean red"),
        (["--sheet", "s.png", "--matrix", "no"], 1, "has no style 'no'; did you mean"),
        (["--sheet", "s.png", "--photo", "none.png"], 1, "none.png"),
        (["--sheet", "s.png", "--photo", "photo.png", "--side", "-1"], 2, "side is -1"),
    ],
)
def test_sheets_that_cannot_be_drawn(run: Run, colors: Path, args: list[str], code: int, word: str) -> None:
    run("styles", colors, *args).fails(code, word)
    assert not Path("s.png").exists()


def test_styles_of_a_palette_and_blends(run: Run, colors: Path, photo: Pixels) -> None:
    done = run("stylize", "photo.png", "--style", f"{colors}:red:3,{colors}:blue", "--precision", "float32", "--json")
    assert json.loads(done.out)["style"] == "red-blue"
    painted = read_image("photo-red-blue.png")
    np.testing.assert_allclose(painted, np.broadcast_to([165, 45, 42.5], photo.shape), atol=1)
    run("stylize", "photo.png", "--style", colors).fails(1, "holds red, blue; name one")
    run("stylize", "photo.png", "--style", f"{colors}:red:x").fails(2, "a weight is a number")


@pytest.mark.usefixtures("photo")
def test_a_name_from_a_strangers_file_stays_in_the_folder(run: Run) -> None:
    names = ("/../../pwn\x1b[2J", "b")
    entries = tuple(StyleEntry(name=name, strokes=STROKES) for name in names)
    Path("s.onnx").write_bytes(colors_model(entries=entries).SerializeToString())
    assert "\x1b" not in run("styles", "s.onnx").out
    assert run("stylize", "photo.png", "--style", "s.onnx:/../../pwn\x1b[2J").code == 0
    assert [path.name for path in Path().glob("photo-*")] == ["photo-_.._.._pwn__2J.png"]


def test_stroke_of_a_network_of_one_style_is_refused(run: Run, photo: Pixels, style: list[str]) -> None:
    run("stylize", "photo.png", *style, "--stroke", "1").fails(1, "a network of one style, whose strokes have one size")
    run("stylize", "photo.png", *style, "--stroke", "9").fails(2, "stroke is 9.0; it must be from 0.05")
    assert photo.size


def test_what_is_no_palette_is_told_before_the_merge(run: Run, palette: Path, invert: Path) -> None:
    merge = ("palette", "merge", palette)
    run(*merge, "two.onnx", "-o", "both.onnx").fails(1, "two.onnx: ", "there is no such file; check the path")
    run(*merge, invert, "-o", "both.onnx").fails(1, "no palette that impasto train made (", "impasto train --base")
    Image.new("RGB", (40, 40)).save("red.png")
    assert run("style", "red.png", "-o", "red.onnx").code == 0
    run(*merge, "red.onnx", "-o", "both.onnx").fails(1, "red.onnx: no palette that impasto train made (")
    assert names() == ["red.onnx", "red.png"]


def test_palettes_are_merged(run: Run, palette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("impasto.palette")
    monkeypatch.setattr(module, "is_kin", lambda *_: False)
    run("palette", "merge", palette, palette, "-o", "both.onnx").fails(1, "does not share its base")
    run("palette", "merge", palette, "-o", "both.onnx").fails(2, "two palettes or more")
    run("palette", "merge", palette, palette, "-o", "both.png").fails(2, "ends in .onnx")
    run("palette", "merge", palette, palette, "-o", palette).fails(2, "one of the files that are read")
    assert not Path("both.onnx").exists()
    spec = styles.read_style(palette).spec
    monkeypatch.setattr(module, "merge", lambda *_, **__: spec)
    assert run("palette", "merge", palette, palette, "-o", "both.onnx").out == "both.onnx holds one, two\n"


def test_doctor_tells_a_line_each(run: Run) -> None:
    done = run("doctor")
    assert (done.code, done.err) == (0, "")
    told = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert {"impasto", "device", "precision", "reads", "writes", "cache"} <= set(told)


def test_the_module_and_the_script_run(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("impasto")
    for command in ([sys.executable, "-m", "impasto"], *([[str(script)]] if script.exists() else [])):
        done = subprocess.run([*command, "--version"], capture_output=True, cwd=tmp_path, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(f"impasto {impasto.__version__}\n".encode())


# ------------------------------------------------------------------------------------------------------------- convert


@pytest.fixture
def checkpoint() -> Path:
    """A checkpoint with the names of pytorch/examples; old.pth in the working directory."""
    write_checkpoint(Path("old.pth"))
    return Path("old.pth")


def test_convert(run: Run, checkpoint: Path, photo: Pixels) -> None:
    done = run("convert", checkpoint, "-o", "mine.onnx")
    assert done == Done(0, "mine.onnx  from pytorch/examples fast_neural_style, rgb255 pixels\n", "")
    spec = impasto.load_style("mine.onnx").spec
    assert spec.names[0] == "mine"
    assert spec.arguments["width"] == 4
    source = "pytorch/examples fast_neural_style"
    assert spec.recipe == {"source": source, "convention": "rgb255", "file": "old.pth"}
    done = run("stylize", "photo.png", "--style", "mine.onnx", "--json")
    assert json.loads(done.out)["style"] == "mine"
    assert read_image("photo-mine.png").shape == photo.shape
    assert read_image("photo-mine.png").std() > 10


def test_convert_passes_its_options_on(run: Run, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert = importlib.import_module("impasto.convert")
    calls: list[Any] = []
    monkeypatch.setattr(convert, "export_style", lambda *args, **options: calls.append((args, options)))
    done = run("convert", checkpoint, "--output", "mine.onnx", "--name", "other", "--convention", "rgb1")
    assert (done.code, done.out) == (0, "mine.onnx  from pytorch/examples fast_neural_style, rgb1 pixels\n")
    ((_, path, spec), options) = calls[0]
    assert (path, spec.names[0], spec.recipe["convention"]) == (Path("mine.onnx"), "other", "rgb1")
    assert options == {"tolerance": 0.1 / 255}
    assert done.err.startswith("impasto: a test picture comes out with a contrast of ")  # 255 times too strong
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("missing.pth", "cannot be read"),
        ("text.pth", "broken"),
        ("empty.pth", "broken"),
        ("other.pth", "no known project"),
    ],
)
def test_convert_refuses_in_one_line(run: Run, name: str, word: str) -> None:
    Path("text.pth").write_text("not a checkpoint")
    Path("empty.pth").write_bytes(b"")
    torch.save({"layer.weight": torch.zeros(3)}, "other.pth")
    run("convert", name, "-o", "a.onnx").fails(1, name, word)
    assert not Path("a.onnx").exists()


def test_convert_does_not_write_over_the_checkpoint(run: Run, checkpoint: Path) -> None:
    checkpoint.rename("old.onnx")
    before = Path("old.onnx").read_bytes()
    run("convert", "old.onnx", "-o", "old.onnx").fails(2, "the checkpoint itself")
    assert Path("old.onnx").read_bytes() == before


# --------------------------------------------------------------------------------------------------------------- train


def test_train_prints_its_settings_and_says_what_is_wrong(run: Run) -> None:
    Path("run.toml").write_text('photos = "nowhere"\nsteps = 7\n[network]\nwidth = 8\n')
    done = run("train", "a.jpg", "-o", "a.onnx", "--seed", "3", "--config", "run.toml")
    assert done.code == 1
    assert "nowhere" in done.err or "a.jpg" in done.err
    assert done.err.count("\n") == 1
    told = dict(line.split(" = ", 1) for line in done.out.splitlines())
    assert (told["steps"], told["seed"], json.loads(told["network"])["width"]) == ("7", "3", 8)
    assert set(told) == set(TrainConfig.__dataclass_fields__) - {"_"}


def test_pictures_are_read_as_pictures() -> None:
    """The names that the command line shares with the package are not its modules."""
    assert callable(impasto.stylize)
    assert impasto.Picture is Picture
