"""Hostile and broken input: whatever a file holds, the outcome is a result or one typed error, in time.

`IMPASTO_FUZZ=5000` tries so many files of each kind, in place of some that take seconds; `IMPASTO_KILLS=100` kills a
training so often.
"""

import contextlib
import io
import itertools
import json
import logging
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from clipmaker import blocks, write_clip
from conftest import colors_model, invert_model, invert_spec, loss_network, picture, upscaler_model
from impasto import cli, upscale
from impasto.config import TrainConfig, TransformerArgs
from impasto.convert import load_checkpoint
from impasto.errors import ImageError, ImpastoError, StyleError, TrainingError
from impasto.files import TEMPORARY
from impasto.images import Picture, read_mask, read_picture, write_image
from impasto.networks.transformer import TransformerNet
from impasto.networks.weights import load_loss_network
from impasto.recipes import make_recipe, read_recipe, with_recipe
from impasto.specs import KEY
from impasto.styles import Style, parse_style
from impasto.stylize import stylize
from impasto.train import Run, train
from impasto.upscaler_config import UpscalerArgs
from impasto.upscalers import Upscaler, UpscalerSpec, parse_upscaler
from impasto.video import read_clip, read_frames
from odd import make_odd_files, paint_odd
from profilemaker import P3, SRGB_CURVE, adobe_rgb, cmyk_profile, display_p3, rgb_profile, sampled, swapped_profile

module = sys.modules["impasto.train"]
pytestmark = pytest.mark.usefixtures("one_thread")
FUZZ = int(os.environ.get("IMPASTO_FUZZ", "0"))
KILLS = int(os.environ.get("IMPASTO_KILLS", "10"))
LIMIT_S = 20.0
"""Of one file, on a machine that does much else."""
PIXELS = 100_000
"""Of the largest picture that is read here."""
EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\1\0\0\0")


def fuzz(count: int) -> settings:
    """So many examples, each as long as it takes: the machine may be busy."""
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(max_examples=FUZZ or count, deadline=None, suppress_health_check=checks)


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A file with bits flipped, bytes put in the place of others, cut out, doubled or taken from another file."""
    found = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        length = draw(st.integers(1, 64))
        match draw(st.integers(0, 6)):
            case 0 if found:
                found[at] ^= 1 << draw(st.integers(0, 7))
            case 1:
                patch = draw(st.binary(min_size=1, max_size=8))
                found[at : at + len(patch)] = patch
            case 2:
                patch = draw(st.sampled_from(EXTREMES))
                found[at : at + 4] = patch
            case 3:
                del found[at : at + length]
            case 4:
                found[at:at] = found[at : at + length]
            case 5:
                other = draw(st.sampled_from(seeds))
                start = draw(st.integers(0, len(other) - 1))
                found[at : at + length] = other[start : start + length]
            case _ if draw(st.integers(0, 3)) == 0:
                del found[at:]
    return with_checksums(bytes(found)) if draw(st.booleans()) else bytes(found)


def with_checksums(data: bytes) -> bytes:
    """A PNG's chunks with checksums that fit, so that what is in them is looked at; of others nothing is changed."""
    head = b"\x89PNG\r\n\x1a\n"
    if not data.startswith(head):
        return data
    made, at = bytearray(head), len(head)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : at + 8 + length]
        made += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(made + data[at:])


@contextlib.contextmanager
def harmless(*allowed: type[Exception]) -> Iterator[None]:
    """Inside, at most one of the allowed errors is raised, of one line, and in time."""
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except allowed as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert str(error)  # noqa: PT017
    assert time.monotonic() - start < LIMIT_S


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def written(image: Picture, kind: str) -> bytes:
    stream = io.BytesIO()
    write_image(stream, image, format=kind)
    return stream.getvalue()


# -------------------------------------------------------------------------------------------------- pictures and masks


def pictures() -> list[bytes]:
    """A small picture in every format that is read, with all that can be in its file."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 15, 3), np.uint8)
    deep = rng.integers(0, 1 << 16, (12, 15, 3), np.uint16)
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "a camera"})
    whole = Picture(pixels, alpha=pixels[..., 0], exif=exif.tobytes(), dpi=72)
    image = Image.fromarray(pixels)
    made = [written(whole, kind) for kind in ("png", "jpeg", "webp", "tiff", "avif")]
    made += [written(Picture(deep), kind) for kind in ("png", "tiff")]
    made += [encoded(image, kind) for kind in ("BMP", "GIF", "JPEG")]
    made += [encoded(image.convert("CMYK"), kind) for kind in ("JPEG", "TIFF")]
    made += [encoded(image.convert("L"), "TIFF", compression=kind) for kind in ("tiff_lzw", "jpeg", "packbits")]
    made += [encoded(image, "JPEG", progressive=True), encoded(image.quantize(8), "PNG", transparency=2)]
    made += [encoded(image.quantize(8), kind) for kind in ("GIF", "BMP", "TIFF")]
    made += [encoded(image, "WEBP", lossless=True), encoded(image, "GIF", save_all=True, append_images=[image])]
    with contextlib.suppress(ImportError):
        import pillow_heif

        stream = io.BytesIO()
        pillow_heif.from_pillow(image.resize((64, 64))).save(stream, quality=50)
        made.append(stream.getvalue())
    return made


@fuzz(150)
@given(data=mutated(pictures()), deep=st.booleans())
def test_a_damaged_picture_is_a_picture_or_an_image_error(data: bytes, deep: bool) -> None:
    with harmless(ImageError):
        found = read_picture(data, max_pixels=PIXELS, deep=deep)
        assert found.pixels.size <= 3 * PIXELS
        written(found, "png")  # what was read of its metadata can be written


def profiles() -> list[bytes]:
    curve = sampled([(i / 20) ** 2 for i in range(21)])
    made = [display_p3(), adobe_rgb(), swapped_profile(), cmyk_profile(), rgb_profile(P3, curve)]
    return [*made, rgb_profile(P3, SRGB_CURVE, tables=True)]


@fuzz(80)
@given(profile=mutated(profiles()), bits=st.sampled_from([8, 16]), kind=st.sampled_from(["png", "tiff", "jpeg"]))
def test_a_damaged_profile_costs_no_more_than_the_picture(profile: bytes, bits: int, kind: str) -> None:
    dtype: Any = np.uint16 if bits == 16 and kind != "jpeg" else np.uint8
    pixels = np.random.default_rng(2).integers(0, 256, (5, 6, 3)).astype(dtype)
    data = written(Picture(pixels, icc=profile), kind)
    for icc in ("srgb", "keep"):
        for deep in (False, True):
            with harmless(ImageError):
                found = read_picture(data, deep=deep, icc=icc)
                assert found.pixels.shape == (5, 6, 3)
                written(found, "png")


def masks() -> list[bytes]:
    rng = np.random.default_rng(1)
    grey = Image.fromarray(rng.integers(0, 256, (9, 11), np.uint8))
    deep = Image.fromarray(rng.integers(0, 1 << 16, (9, 11), np.uint16))
    made = [encoded(grey, kind) for kind in ("PNG", "JPEG", "TIFF", "GIF", "BMP")]
    return [*made, encoded(deep, "PNG"), encoded(grey.convert("1"), "PNG"), encoded(grey.convert("LA"), "PNG")]


@fuzz(60)
@given(data=mutated(masks()))
def test_a_damaged_mask_is_a_mask_or_an_error(tmp_path: Path, invert: Path, data: bytes) -> None:
    (tmp_path / "mask.png").write_bytes(data)
    photo = np.full((6, 8, 3), 9, np.uint8)
    with harmless(ImageError):
        mask = read_mask(tmp_path / "mask.png") if small(data) else np.zeros((1, 1), np.uint8)
        assert stylize(photo, invert, mask=mask).shape == photo.shape


def small(data: bytes) -> bool:
    """Whether a picture is one, and of few pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(read_picture(data, max_pixels=PIXELS).pixels.size)


# --------------------------------------------------------------------------------------------------------------- videos


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Short videos in several containers, with sound, and a GIF and a WebP that move."""
    folder, frames = tmp_path_factory.mktemp("videos"), blocks(32, 48, 4)
    made = [write_clip(folder / f"a.{kind}", frames, seconds_of_sound=0.1) for kind in ("mp4", "mkv", "mov")]
    made += [write_clip(folder / "a.webm", frames, codec="libvpx-vp9")]
    made += [write_clip(folder / "a.avi", frames, codec="mpeg4"), write_clip(folder / "a.ts", frames)]
    moving = [Image.fromarray(frame) for frame in frames]
    kept = [encoded(moving[0], kind, save_all=True, append_images=moving[1:], duration=40) for kind in ("GIF", "WEBP")]
    return [*(path.read_bytes() for path in made), *kept]


@fuzz(40)
@given(data=st.data())
def test_a_damaged_video_is_frames_or_an_error(tmp_path: Path, videos: list[bytes], data: st.DataObject) -> None:
    (tmp_path / "a.mp4").write_bytes(data.draw(mutated(videos)))
    with harmless(ImpastoError):
        clip = read_clip(tmp_path / "a.mp4")
        if clip.height * clip.width <= PIXELS:
            for frame in itertools.islice(read_frames(tmp_path / "a.mp4", clip), 20):
                assert frame.pixels.shape == (clip.height, clip.width, 3)


# ---------------------------------------------------------------------------------------------------------- style files

STYLES = [invert_model(invert_spec()).SerializeToString(), colors_model().SerializeToString()]
UPSCALERS = [upscaler_model(2).SerializeToString(), upscaler_model(4).SerializeToString()]


@fuzz(60)
@given(data=mutated(STYLES))
def test_a_damaged_style_file_paints_or_is_an_error(data: bytes) -> None:
    with harmless(ImpastoError):
        spec = parse_style(data, "mine.onnx")
        style = Style(spec, data, "mine.onnx").choose({spec.names[0]: 1.0})
        painted = stylize(np.full((16, 17, 3), 99, np.uint8), style, precision="float32")
        assert painted.shape == (16, 17, 3)


@fuzz(40)
@given(data=mutated(UPSCALERS))
def test_a_damaged_upscaler_enlarges_or_is_an_error(data: bytes) -> None:
    with harmless(ImpastoError):
        upscaler = Upscaler(parse_upscaler(data, "x2.onnx"), data, "x2.onnx")
        large = upscale(np.full((5, 7, 3), 99, np.uint8), upscaler=upscaler, precision="float32")
        assert large.shape == (5 * upscaler.scale, 7 * upscaler.scale, 3)


@pytest.mark.parametrize("tile", [None, 128])
@pytest.mark.parametrize("node", ["half", "double", "two", "none", "rows"])
def test_a_network_that_gives_no_picture_of_that_size_is_a_style_error(node: str, tile: int | None) -> None:
    resized = helper.make_node("Resize", ["image", "", "scales"], ["stylized"], mode="nearest")
    nodes = {"two": helper.make_node("Concat", ["image", "image"], ["stylized"], axis=0)}
    nodes["none"] = helper.make_node("Slice", ["image", "zero", "zero", "rows"], ["stylized"])
    nodes["rows"] = helper.make_node("Slice", ["image", "zero", "ten", "rows"], ["stylized"])
    scale = {"half": 0.5, "double": 2.0}.get(node, 1.0)
    shapes = {"image": (1, 3, "h", "w"), "stylized": (None, 3, "H", "W")}
    ports = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in shapes.items()]
    constants = [helper.make_tensor(k, TensorProto.INT64, [1], [v]) for k, v in (("zero", 0), ("ten", 10), ("rows", 2))]
    constants.append(helper.make_tensor("scales", TensorProto.FLOAT, [4], [1.0, 1.0, scale, scale]))
    graph = helper.make_graph([nodes.get(node, resized)], "odd", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {KEY: invert_spec().to_json()})
    data = model.SerializeToString()
    style = Style(parse_style(data, "odd.onnx"), data, "odd.onnx").choose({"invert": 1.0})
    told = r"^style invert: its network gives \(.*\) for \(1, 3, 16, 20\); a painting has the size of the photo$"
    height, width = 16, 19
    if tile:
        resized_by_tiles = r"^odd.onnx: cannot be painted by tiles, for what Interpolate does"
        told = resized_by_tiles if scale != 1 else told.replace("16, 20", r"\d+, \d+")
        height, width = 200, 300
    with pytest.raises(StyleError, match=told):
        stylize(np.full((height, width, 3), 99, np.uint8), style, tile=tile)


def test_an_upscaler_of_another_scale_than_it_says_is_a_style_error() -> None:
    data = upscaler_model(2, spec=UpscalerSpec(arguments=UpscalerArgs(scale=4, blocks=0)).to_json()).SerializeToString()
    upscaler = Upscaler(parse_upscaler(data, "x4.onnx"), data, "x4.onnx")
    with pytest.raises(StyleError, match=r"x4\.onnx: its network does not enlarge 4 times"):
        upscale(np.full((5, 7, 3), 99, np.uint8), upscaler=upscaler)


# ---------------------------------------------------------------------------------------------------------- checkpoints


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a painting, photos and a loss network."""
    folder = tmp_path_factory.mktemp("world")
    picture(folder / "painting.png", 40, 48, 99)
    for i in range(6):
        picture(folder / "photos" / f"{i}.png", 48, 64 - 4 * i, i)
    loss_network(folder / "vgg.safetensors", "3_1")
    return folder


def config(world: Path, output: Path, **asked: Any) -> TrainConfig:
    """Of a training that takes a moment."""
    usual: dict[str, Any] = {
        "photos": world / "photos",
        "loss_network": (str(world / "vgg.safetensors"),),
        "architecture": "TransformerNet",
        "network": TransformerArgs(width=4, blocks=1),
        "image_size": (32,),
        "batch_size": (2,),
        "style_size": (48,),
        "precision": "float32",
        "device": "cpu",
        "steps": 3,
        "log_interval": 1,
        "sample_interval": 10_000,
        "content_layers": ("relu2_1",),
        "style_layers": ("relu1_1", "relu2_1", "relu3_1"),
    }
    return TrainConfig((world / "painting.png",), output=output, **usual | asked)


@pytest.fixture(scope="module")
def left(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, bytes]:
    """A run, and the bytes of a checkpoint that it can continue from."""
    asked = config(world, tmp_path_factory.mktemp("left") / "a.onnx")
    with contextlib.closing(train(asked)) as steps:
        next(steps)
    run = Run(asked)
    return run, run.checkpoint.read_bytes()


@fuzz(60)
@given(data=st.data())
def test_a_damaged_checkpoint_is_continued_or_an_error(left: tuple[Run, bytes], data: st.DataObject) -> None:
    run, whole = left
    run.checkpoint.write_bytes(data.draw(mutated([whole])))
    with harmless(ImpastoError):
        run.resume()
        assert run.step_count >= 0
        assert 0 <= run.progress <= 1


def weights() -> list[bytes]:
    """Weights of a network, in both kinds of files."""
    state = TransformerNet(TransformerArgs(width=2, blocks=1)).state_dict()
    stream = io.BytesIO()
    torch.save(state, stream)
    return [stream.getvalue(), safe(state)]


def safe(state: dict[str, torch.Tensor]) -> bytes:
    from safetensors.torch import save

    return bytes(save(state))


@fuzz(60)
@given(data=mutated(weights()))
def test_damaged_weights_are_weights_or_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "weights.pth").write_bytes(data)
    for load in (load_checkpoint, load_loss_network):
        with harmless(ImpastoError):
            load(tmp_path / "weights.pth")


# ------------------------------------------------------------------------------------------------- settings and recipes

SETTINGS = b"""
paintings = ["nowhere.png"]
photos = "nowhere"
output = "a.onnx"
steps = 8000
batch_size = [8, 8, 4]
style_weight = [10.0, 5.0]
learning_rate = 1.5e-3
style_layers = ["relu1_1", "relu2_1:0.5"]
device = "cpu"
resume = false
[about.nowhere]
title = "A painting"
year = "1889"
[network]
width = 4
norm = "batch"
[emphasis]
nowhere = 2.0
"""


@fuzz(80)
@given(data=mutated([SETTINGS, b'photos = "nowhere"\nbase = "x"\n[stylenet]\nwidths = [8, 16]\nskips = true\n']))
@example(data=b"photos = [1979-05-27T07:32:00Z, 07:32:00]\n")
@example(data=b"seed = " + b"9" * 5000 + b"\n")
@example(data=b"about = " + b"[" * 3000 + b"]" * 3000 + b"\n")
@example(data=b"a" + b".a" * 3000 + b" = 1\n")
def test_damaged_settings_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes) -> None:
    (tmp_path / "settings.toml").write_bytes(data)
    with harmless(), contextlib.chdir(tmp_path):
        code = cli.call(["train", "--config", "settings.toml", "--paintings", "nowhere.png"])
    assert code in (1, 2)  # there are no photos, whatever it says
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    assert told.err.count("\n") == 1


@pytest.fixture
def painted(tmp_path: Path, invert: Path) -> tuple[Path, dict[str, Any]]:
    """A picture that was made by a recipe, beside all that it names, and the recipe."""
    photo = tmp_path / "photo.png"
    write_image(photo, np.full((6, 8, 3), 77, np.uint8))
    style = tmp_path / "invert.onnx"
    style.write_bytes(invert.read_bytes())
    asked: dict[str, Any] = {"photo": "photo.png", "mask": None, "style": "invert.onnx", "weights": {"invert": 1.0}}
    asked |= {"strength": 0.5, "stroke": None, "colors": "style", "max_side": None, "device": "cpu", "tile": None}
    return tmp_path / "painted.png", make_recipe("stylize", asked | {"precision": "float32"}, [photo, style])


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


@fuzz(30)
@given(data=st.data())
def test_a_strange_recipe_is_made_again_or_one_line(
    painted: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    place, recipe = painted
    told = json.loads(json.dumps(recipe))
    at = data.draw(st.sampled_from([told, told["settings"], told["files"]]))
    for key in data.draw(st.lists(st.sampled_from(sorted(at)), min_size=1, max_size=2)):
        at[key] = data.draw(values)
    exif = with_recipe(b"", told)
    write_image(place, Picture(np.zeros((6, 8, 3), np.uint8), exif=exif))
    with harmless():
        code = cli.call(["redo", str(place), "-o", str(place.with_name("again.png"))])
    assert code in (0, 1, 2)
    assert capsys.readouterr().err.count("\n") <= 2  # a failure, and before it that another version made it


@fuzz(40)
@given(data=st.data())
def test_a_recipe_in_a_damaged_picture_is_one_or_an_error(
    painted: tuple[Path, dict[str, Any]], data: st.DataObject
) -> None:
    place, recipe = painted
    made = Picture(np.zeros((6, 8, 3), np.uint8), exif=with_recipe(b"", recipe))
    place.write_bytes(data.draw(mutated([written(made, kind) for kind in ("png", "jpeg", "tiff", "webp")])))
    with harmless(ImageError):
        found = read_recipe(place)
        assert isinstance(found["settings"], dict)
        assert isinstance(found["files"], dict)


# ------------------------------------------------------------------------------------------------ a folder of odd files


def test_a_folder_of_odd_files_is_painted_and_adds_up(tmp_path: Path, invert: Path) -> None:
    make_odd_files(tmp_path / "odd", 150)
    found = paint_odd(tmp_path / "odd", tmp_path / "out", str(invert), workers=1)
    assert found["exit_code"] == 1, found
    assert found["painted"] + found["failed"] == 150, found
    assert found["in_the_manifest"] == {"painted": found["painted"], "failed": found["failed"]}
    assert found["paintings_there"] == found["painted"] > 50
    assert found["failed"] > 30
    assert (found["processes_that_died"], found["tracebacks"]) == (0, 0)
    assert not [path for path in (tmp_path / "out").rglob(".*") if path.is_file()]  # nothing half-written is left


# ------------------------------------------------------------------------------------------------------------- training

TRAINER = """
import os, signal, sys
from pathlib import PosixPath
import torch
from impasto.config import StyleNetArgs, TrainConfig, TransformerArgs
from impasto.train import train
torch.set_num_threads(1)
next(train({other!r}))
print("ready", flush=True)
for _ in sys.stdin:
    child = os.fork()
    if not child:
        for step in train({config!r}):
            print(step.step, flush=True)
        os._exit(0)
    print("began", child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""
"""Begins the same training whenever it is told to, in a process that has loaded all that it takes."""


def test_a_training_killed_at_any_moment_is_whole_and_ends_the_same(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr(module, "export_style", lambda net, *_: exported.append(net.state_dict()))
    asked: dict[str, Any] = {"steps": 4 * KILLS + 8, "checkpoint_interval": 1}
    killed = config(world, tmp_path / "killed.onnx", **asked)
    chance, reached = random.Random(0), 0
    command = [sys.executable, "-c", TRAINER.format(config=killed, other=config(world, tmp_path / "other.onnx"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as trainer:
        assert trainer.stdin
        assert trainer.stdout
        said = trainer.stdout
        assert said.readline() == "ready\n"
        for _ in range(KILLS):
            trainer.stdin.write("again\n")
            child = int(said.readline().split()[1])
            first = int(said.readline())
            begin = time.monotonic()
            last = int(said.readline())
            time.sleep(chance.uniform(0, time.monotonic() - begin))  # anywhere in a step, its checkpoint included
            with contextlib.suppress(ProcessLookupError):  # on a slow machine it may have got to the end
                os.kill(child, signal.SIGKILL)
            steps = [first, last, *map(int, iter(lambda: said.readline().strip(), "ended"))]
            assert steps == [*range(reached + 1, reached + 1 + len(steps))]
            reached = torch.load(killed.folder / "checkpoint.pt", weights_only=True)["step"]
            assert reached in (steps[-1], steps[-1] + 1)
            if reached > asked["steps"] - 3:
                break
        trainer.stdin.close()
    (killed.folder / TEMPORARY.format("killed")).write_bytes(b"half a checkpoint")
    for path in killed.folder.glob(TEMPORARY.format("*")):
        os.utime(path, (0, 0))  # as if it had been left long ago
    lines = [json.loads(line) for line in (killed.folder / "log.jsonl").read_text().splitlines()[:-1]]
    assert {line["step"] for line in lines} >= set(range(1, reached))
    for asked_now in (killed, config(world, tmp_path / "whole.onnx", **asked)):
        for step in train(asked_now):
            assert step.event == "" or step.event.startswith("resumed")
    assert [*exported[0]] == [*exported[1]]
    assert all(torch.equal(exported[0][key], exported[1][key]) for key in exported[0])
    assert not [path.name for path in killed.folder.iterdir() if path.name.startswith(".")]


def test_corrupt_photos_are_told_of_once_and_the_training_goes_on(
    world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "export_style", lambda *_: None)
    monkeypatch.setattr("impasto.photos.BAD_COUNT", 0)  # their share counts, as in a large folder
    photos = tmp_path / "photos"
    for i in range(40):
        picture(photos / f"{i:02}.png", 48, 64, i)
    broken = [photos / "07.png", photos / "21.png"]  # one in twenty
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    asked = config(world, tmp_path / "a.onnx", photos=photos, steps=45, batch_size=(4,))  # five times all of them
    with caplog.at_level(logging.WARNING):
        steps = [step.step for step in train(asked)]
    assert steps == [*range(1, 46)]
    told = [message for message in caplog.messages if message.startswith("skipped")]
    assert sorted(re.findall(r"skipped (\S+):", "\n".join(told))) == [str(path) for path in broken]
    assert caplog.messages[-1] == "2 of 36 photos were skipped, since they cannot be read"


def test_too_many_corrupt_photos_end_in_one_line_and_the_training_goes_on_once_they_are_mended(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[str] = []
    monkeypatch.setattr(module, "export_style", lambda *_: exported.append("written"))
    monkeypatch.setattr("impasto.photos.BAD_COUNT", 2)
    photos = tmp_path / "photos"
    for i in range(20):
        picture(photos / f"{i:02}.png", 48, 64, i)
    whole = {path: path.read_bytes() for path in sorted(photos.iterdir())[::5]}
    asked = config(world, tmp_path / "a.onnx", photos=photos, steps=24, batch_size=(2,), checkpoint_interval=1)
    steps: list[int] = []

    def train_until_told() -> None:
        for step in train(asked):
            steps.append(step.step)
            if len(steps) == 2:  # some were decoded ahead, others were not
                for path, data in whole.items():
                    path.write_bytes(data[: len(data) // 2])

    with pytest.raises(TrainingError, match=r"^3 of 20 photos cannot be read, the last \S+: .*goes on$") as caught:
        train_until_told()
    assert "\n" not in str(caught.value)
    assert 2 <= len(steps) < 24
    assert torch.load(asked.folder / "checkpoint.pt", weights_only=True)["step"] == steps[-1]
    assert sorted(path.name for path in asked.folder.iterdir()) == ["checkpoint.pt", "log.jsonl"]
    assert not exported
    for path, data in whole.items():
        path.write_bytes(data)
    assert [step.step for step in train(asked)] == [*range(steps[-1] + 1, 25)]
    assert exported == ["written"]
