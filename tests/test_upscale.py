"""Enlarging: the verb, its files, the command, and painting that ends with it."""

import importlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import impasto
from conftest import upscaler_model
from impasto import Picture, cli, upscale, upscalers
from impasto.errors import StyleError
from impasto.images import Pixels, from_network, read_picture, to_network, write_image
from impasto.upscalers import Upscaler, UpscalerSpec, load_upscaler, parse_upscaler, upscalers_for

module = importlib.import_module("impasto.upscale")
Noise = Callable[..., Pixels]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """File of an upscaler of twice the size."""
    path = tmp_path / "mine.onnx"
    path.write_bytes(upscaler_model(2).SerializeToString())
    return path


def whole(pixels: Pixels, path: Path) -> Pixels:
    """What the network of a file makes of a picture in one piece."""
    return from_network(load_upscaler(path).runtime(precision="float32")(to_network(pixels)))


def ramp(height: int, width: int) -> Pixels:
    """uint16, in steps finer than those of eight bits."""
    values = np.linspace(20000, 24000, height * width * 3).reshape(height, width, 3)
    return np.rint(values).astype(np.uint16)


# ------------------------------------------------------------------------------------------------------- the verb


@pytest.mark.usefixtures("upscalers_zoo")
@pytest.mark.parametrize(("scale", "factor"), [(2, 2), (4, 4), (8, 8), (None, 4)])
@pytest.mark.parametrize("size", [(1, 1), (7, 20)])
def test_it_is_so_many_times_as_large(scale: int | None, factor: int, size: tuple[int, int], noise: Noise) -> None:
    large = upscale(noise(*size), scale)
    assert large.shape == (factor * size[0], factor * size[1], 3)
    assert large.dtype == np.uint8


def test_it_is_what_the_network_gives(noise: Noise, mine: Path) -> None:
    pixels = noise(40, 56)
    assert np.array_equal(upscale(pixels, upscaler=mine, precision="float32"), whole(pixels, mine))


@pytest.mark.parametrize("size", [(100, 131), (16, 200), (65, 64)])
def test_tiles_leave_no_trace(noise: Noise, mine: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    pixels = noise(*size)
    monkeypatch.setattr(module, "SIDE", 64)
    assert np.array_equal(upscale(pixels, upscaler=mine, precision="float32"), whole(pixels, mine))


def test_memory_is_that_of_a_tile(noise: Noise, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Spy:
        def __init__(self, runtime: Any) -> None:
            self.runtime, self.lock = runtime, runtime.lock

        def __call__(self, image: Any) -> Any:
            seen.append(max(image.shape[2:]))
            return self.runtime(image)

    usual = Upscaler.runtime
    monkeypatch.setattr(Upscaler, "runtime", lambda *args: Spy(usual(*args)))
    monkeypatch.setattr(module, "SIDE", 64)
    upscale(noise(300, 20), upscaler=mine)
    assert len(seen) > 4
    assert max(seen) <= 64 + 32  # cores and margins are rounded to the grid


def test_a_picture_keeps_what_stays_true(noise: Noise, mine: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    picture = Picture(noise(8, 9), exif=exif.tobytes(), dpi=300.0)
    large = upscale(picture, upscaler=mine)
    assert isinstance(large, Picture)
    assert (large.exif, large.dpi, large.alpha) == (picture.exif, None, None)
    assert np.array_equal(large.pixels, upscale(picture.pixels, upscaler=mine))


def test_alpha_is_enlarged_and_hidden_colours_do_not_bleed(mine: Path) -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, :20] = (200, 0, 0)
    pixels[:, 20:] = (0, 255, 0)  # stored, but transparent
    alpha = np.zeros((40, 40), np.uint8)
    alpha[:, :20] = 255
    large = upscale(Picture(pixels, alpha), upscaler=mine)
    assert large.alpha is not None
    assert large.alpha.shape == (80, 80)
    assert large.alpha[:, :36].min() > 250  # Lanczos' filter rings a little
    assert large.alpha[:, 44:].max() < 5
    assert large.pixels[large.alpha > 16][:, 1].max() <= 20
    assert np.array_equal(large.pixels[:, :24], upscale(pixels, upscaler=mine)[:, :24])


def test_luma_takes_lightness_alone_from_the_network(mine: Path) -> None:
    pixels = np.full((12, 12, 3), (120, 90, 60), np.uint8)
    mine.write_bytes(upscaler_model(2, bias=0.1).SerializeToString())
    given, luma = (upscale(pixels, upscaler=mine, colors=colors)[6:-6, 6:-6] for colors in ("rgb", "luma"))
    chroma = np.diff(luma.astype(int), axis=2)
    assert np.abs(chroma - np.diff([120, 90, 60])).max() <= 1
    lightness = [np.asarray(Image.fromarray(np.ascontiguousarray(p)).convert("L")).astype(int) for p in (given, luma)]
    assert np.abs(lightness[0] - lightness[1]).max() <= 1
    assert lightness[0].mean() > 96 + 15


@pytest.mark.parametrize("colors", ["rgb", "luma", "histogram"])
@pytest.mark.parametrize("alpha", [None, 255, 90])
def test_sixteen_bits_are_the_same_picture_as_eight(mine: Path, colors: str, alpha: int | None) -> None:
    pixels = ramp(24, 40)
    pixels[0, 0], pixels[-1, -1] = 0, 65535
    seen = None if alpha is None else np.full(pixels.shape[:2], alpha, np.uint8)
    deep = upscale(Picture(pixels, seen), upscaler=mine, colors=colors, precision="float32")
    plain = upscale(Picture((pixels // 257).astype(np.uint8), seen), upscaler=mine, colors=colors, precision="float32")
    assert deep.pixels.dtype == np.uint16
    assert deep.pixels.shape == (48, 80, 3)
    assert np.abs(deep.pixels / 257 - plain.pixels).mean() <= 1.5  # of 255: what eight bits have rounded away before
    assert len(np.unique(deep.pixels)) > 600  # finer steps than 256
    assert (deep.alpha is None) == (plain.alpha is None)


def test_histogram_is_the_small_pictures(noise: Noise, mine: Path) -> None:
    pixels = (noise(30, 30) // 4 + 90).astype(np.uint8)
    mine.write_bytes(upscaler_model(2, bias=0.1).SerializeToString())
    given, matched = (upscale(pixels, upscaler=mine, colors=colors) for colors in ("rgb", "histogram"))
    levels = np.linspace(0.02, 0.98, 20)
    wanted = np.quantile(pixels, levels, axis=(0, 1))
    assert np.abs(np.quantile(matched, levels, axis=(0, 1)) - wanted).max() <= 3
    assert np.abs(np.quantile(given, levels, axis=(0, 1)) - wanted).max() > 15


@pytest.mark.usefixtures("upscalers_zoo")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 3}, "scale is 3; it must be one of 2, 4, 8"),
        ({"colors": "sepia"}, "colors is 'sepia'"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"precision": "int4"}, "precision is 'int4'"),
    ],
)
def test_mistakes_are_named(noise: Noise, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        upscale(noise(4, 4), **options)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), "photo.jpg"])
def test_what_is_no_picture_is_refused(image: Any, mine: Path) -> None:
    with pytest.raises(ValueError, match="image is"):
        upscale(image, upscaler=mine)


@pytest.mark.usefixtures("upscalers_zoo")
def test_seconds_are_foretold_of_all_pixels_of_each_step(noise: Noise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "timed", lambda *_: 1.0)
    chain = upscalers_for(8)
    seen, size = 0.0, (30, 40)
    for one in chain:
        seen += size[0] * size[1]
        size = (size[0] * one.scale, size[1] * one.scale)
    assert module.foretold(noise(60, 80), (30, 40), chain) == seen
    monkeypatch.setattr(module, "SIDE", 32)  # of which margins are looked at twice
    assert module.foretold(noise(60, 80), (30, 40), chain) > seen


def test_an_upscaler_has_its_own_scale(noise: Noise, mine: Path) -> None:
    assert upscale(noise(4, 4), 2, upscaler=mine).shape == (8, 8, 3)
    with pytest.raises(ValueError, match=r"mine\.onnx enlarges 2 times"):
        upscale(noise(4, 4), 4, upscaler=mine)


def test_a_result_beyond_all_size_is_refused_at_once(noise: Noise, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PIXELS", 64)
    upscale(noise(4, 4), upscaler=mine)
    with pytest.raises(ValueError, match="would become 10 x 8"):
        upscale(noise(4, 5), upscaler=mine)


# ------------------------------------------------------------------------------------------------------ the files


@pytest.mark.parametrize(
    ("there", "scale", "names"),
    [
        ((2, 4), 8, ["x4", "x2"]),
        ((2,), 8, ["x2", "x2", "x2"]),
        ((2, 4, 8), 8, ["x8"]),
        ((2,), 4, ["x2", "x2"]),
        ((2, 4), 2, ["x2"]),
    ],
)
def test_scales_are_reached_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[int, ...], scale: int, names: list[str]
) -> None:
    monkeypatch.setattr(upscalers, "upscalers_folder", lambda: tmp_path)
    for one in there:
        (tmp_path / f"x{one}.onnx").write_bytes(upscaler_model(one).SerializeToString())
    assert [Path(one.source).stem for one in upscalers_for(scale)] == names


@pytest.mark.parametrize("there", [(), (4,)])
def test_without_an_upscaler_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[int, ...]
) -> None:
    monkeypatch.setattr(upscalers, "upscalers_folder", lambda: tmp_path)
    for one in there:
        (tmp_path / f"x{one}.onnx").write_bytes(upscaler_model(one).SerializeToString())
    with pytest.raises(StyleError, match=r"no upscaler for scale 2.*impasto train-upscaler"):
        upscalers_for(2)


def test_a_file_is_loaded_once_until_it_changes(mine: Path) -> None:
    first = load_upscaler(mine)
    assert load_upscaler(str(mine)) is first
    mine.write_bytes(upscaler_model(4).SerializeToString())
    assert load_upscaler(mine).scale == 4


def test_a_built_in_one_goes_by_name(upscalers_zoo: Path) -> None:
    assert load_upscaler("x4").source == str(upscalers_zoo / "x4.onnx")
    with pytest.raises(StyleError, match=r"x3: cannot read the upscaler file: there is no such file"):
        load_upscaler("x3")


def test_the_spec_survives_its_file() -> None:
    spec = UpscalerSpec(arguments=impasto.UpscalerArgs(scale=8, width=5), figures={"psnr": 1.5}, recipe={"a": [1]})
    assert UpscalerSpec.from_json(spec.to_json()) == spec
    newer = json.loads(spec.to_json()) | {"more": 1}
    newer["arguments"]["more"] = 2
    assert UpscalerSpec.from_json(json.dumps(newer)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "cannot be used"),
        ("[]", "not an upscaler's description"),
        ('{"format": 2}', "format 2 is newer"),
        ('{"format": 1, "arguments": 3}', "names and values"),
        ('{"format": 1, "arguments": {"scale": 3}}', "scale is 3"),
        ('{"format": 1, "arguments": {"scale": 2, "width": 4.5}}', "whole numbers"),
        ('{"format": 1, "arguments": {"scale": 2, "blocks": 100}}', "blocks is 100"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_descriptions_that_are_none(text: str, message: str) -> None:
    with pytest.raises(StyleError, match=message):
        parse_upscaler(upscaler_model(2, spec=text).SerializeToString(), "a.onnx")


def test_files_that_are_no_upscalers(invert: Path, mine: Path, tmp_path: Path) -> None:
    with pytest.raises(StyleError, match="but not an upscaler"):
        load_upscaler(invert)
    with pytest.raises(StyleError, match="not an Impasto style"):
        impasto.load_style(mine)
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(StyleError, match="is it complete, and a upscaler"):
        load_upscaler(tmp_path / "text.onnx")
    with pytest.raises(StyleError, match=r"gives \{'other': 3\}"):
        parse_upscaler(upscaler_model(2, name="other").SerializeToString(), "a.onnx")
    model = upscaler_model(2)
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(StyleError, match="another file, which is refused"):
        parse_upscaler(model.SerializeToString(), "a.onnx")


# --------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], upscalers_zoo: Path
) -> Run:
    """Call the command line in a folder of its own, with built-in upscalers."""
    assert upscalers_zoo.is_dir()
    monkeypatch.chdir(tmp_path)

    def call(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main([str(arg) for arg in args])
        assert isinstance(caught.value.code, int)
        return caught.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def photo(run: Run, noise: Noise) -> Pixels:  # noqa: ARG001
    """Noise; photo.png in the working folder."""
    pixels = noise(20, 30)
    write_image("photo.png", pixels)
    return pixels


def test_the_command_writes_beside_the_input(run: Run, photo: Pixels) -> None:
    code, out, err = run("upscale", "photo.png")
    assert (code, err) == (0, "")
    assert out.startswith("photo-x4.png  120 x 80  x4  ")
    assert np.array_equal(read_picture("photo-x4.png").pixels, upscale(photo))


def test_the_command_by_its_options(run: Run, photo: Pixels, mine: Path) -> None:
    options = ("--upscaler", mine, "--colors", "luma", "--precision", "float32")
    code, out, _ = run("upscale", "photo.png", *options, "-o", "large.png", "--json")
    assert code == 0
    result = json.loads(out)
    assert {k: result[k] for k in ("input", "output", "width", "height", "scale", "device", "precision")} == {
        "input": "photo.png",
        "output": "large.png",
        "width": 60,
        "height": 40,
        "scale": "x2",
        "device": "cpu",
        "precision": "float32",
    }
    expected = upscale(photo, upscaler=mine, colors="luma", precision="float32")
    assert np.array_equal(read_picture("large.png").pixels, expected)


@pytest.mark.usefixtures("photo")
def test_several_pictures_one_of_which_fails(run: Run, tmp_path: Path) -> None:
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "out").mkdir()
    code, out, err = run("upscale", "photo.png", "broken.png", "-o", "out", "--scale", "2")
    assert code == 1
    assert [path.name for path in Path("out").iterdir()] == ["photo-x2.png"]
    assert out.startswith(str(Path("out/photo-x2.png")))
    assert "broken.png" in err
    assert "1 of 2 pictures failed" in err


def test_standard_input_and_output(run: Run, noise: Noise, monkeypatch: pytest.MonkeyPatch) -> None:
    given, taken = io.BytesIO(), io.BytesIO()
    write_image(given, noise(6, 7), format="png")
    given.seek(0)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(given))
    stdout = io.TextIOWrapper(taken)
    monkeypatch.setattr("sys.stdout", stdout)
    code, _, _ = run("upscale", "-", "--scale", "2")
    assert code == 0
    assert Image.open(io.BytesIO(taken.getvalue())).size == (14, 12)


@pytest.mark.usefixtures("photo")
@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ((), 2, "no photograph given"),
        ((".",), 2, ". is a folder; give a picture"),
        (("photo.png", "-o", "photo.png"), 2, "one of the files that are read"),
        (("photo.png", "-o", "a.txt"), 2, "must end in one of"),
        (("photo.png", "--scale", "3"), 2, "Invalid value"),
        (("photo.png", "--quality", "0"), 2, "quality is 0"),
        (("clip.mp4",), 2, "clip.mp4 is a video"),
        (("photo.png", "-o", "nowhere/a.png"), 1, "its folder does not exist"),
        (("none.png",), 1, "there is no such file"),
        (("photo.png", "--upscaler", "none.onnx"), 1, "cannot read the upscaler file"),
    ],
)
def test_the_command_fails_in_one_line(run: Run, args: tuple[str, ...], code: int, message: str) -> None:
    before = sorted(Path().iterdir())
    found, out, err = run("upscale", *args)
    assert (found, out) == (code, "")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("target", "dtype"), [("large.png", np.uint16), ("large.tif", np.uint16), ("large.webp", np.uint8)]
)
def test_sixteen_bits_stay_sixteen_where_the_file_has_them(run: Run, mine: Path, target: str, dtype: type) -> None:
    write_image("deep.png", Picture(ramp(20, 30)))
    assert run("upscale", "deep.png", "--upscaler", mine, "-o", target)[::2] == (0, "")
    assert read_picture(target, deep=True).pixels.dtype == dtype
    assert run("redo", target, "-o", f"again-{target}")[0] == 0
    assert Path(f"again-{target}").read_bytes() == Path(target).read_bytes()


@pytest.mark.parametrize("options", [("--scale", "8"), ("--upscaler", "mine.onnx", "--colors", "histogram")])
@pytest.mark.usefixtures("photo", "mine")
def test_an_enlarged_picture_is_made_again_by_its_recipe(run: Run, options: tuple[str, ...]) -> None:
    assert run("upscale", "photo.png", "-o", "large.png", *options)[0] == 0
    code, out, err = run("redo", "large.png", "-o", "again.png")
    assert (code, out, err) == (0, "again.png\n", "")
    assert Path("again.png").read_bytes() == Path("large.png").read_bytes()


@pytest.mark.usefixtures("photo")
def test_a_recipe_with_another_upscaler_is_told(run: Run, mine: Path) -> None:
    run("upscale", "photo.png", "-o", "large.png", "--upscaler", mine)
    mine.write_bytes(upscaler_model(2, bias=0.1).SerializeToString())
    code, _, err = run("redo", "large.png", "-o", "again.png")
    assert (code, "mine.onnx is another file" in err) == (1, True)


# ------------------------------------------------------------------------------------------- the end of a painting


def test_a_painting_is_enlarged_at_the_end(run: Run, photo: Pixels, invert: Path) -> None:
    code, out, err = run("stylize", "photo.png", "--style", invert, "--upscale", "2", "-o", "painted.png")
    assert (code, err) == (0, "")
    assert "60 x 40" in out
    expected = upscale(impasto.stylize(photo, invert), 2)
    assert np.array_equal(read_picture("painted.png").pixels, expected)
    assert run("redo", "painted.png", "-o", "again.png", "--files", invert.parent)[0] == 0
    assert Path("again.png").read_bytes() == Path("painted.png").read_bytes()


def test_a_painting_of_sixteen_bits_is_enlarged_in_sixteen(run: Run, invert: Path) -> None:
    write_image("deep.png", ramp(20, 30))
    assert run("stylize", "deep.png", "--style", invert, "--upscale", "2", "-o", "painted.png")[0] == 0
    assert read_picture("painted.png", deep=True).pixels.dtype == np.uint16
    assert run("redo", "painted.png", "-o", "again.png", "--files", invert.parent)[0] == 0
    assert Path("again.png").read_bytes() == Path("painted.png").read_bytes()


@pytest.mark.usefixtures("photo")
def test_a_painting_of_size_before_has_no_upscaler_in_its_recipe(run: Run, invert: Path) -> None:
    run("stylize", "photo.png", "--style", invert, "-o", "painted.png")
    from impasto.recipes import read_recipe

    recipe = read_recipe(Path("painted.png"))
    assert "upscale" not in recipe["settings"]
    assert set(recipe["files"]) == {"photo.png", invert.name}


@pytest.mark.usefixtures("photo")
def test_without_upscalers_a_painting_is_not_begun(run: Run, invert: Path, upscalers_zoo: Path) -> None:
    for path in upscalers_zoo.iterdir():
        path.unlink()
    code, out, err = run("stylize", "photo.png", "--style", invert, "--upscale", "2", "-o", "painted.png")
    assert (code, out) == (1, "")
    assert "no upscaler for scale 2" in err
    assert not Path("painted.png").exists()


def test_paintings_of_folders_are_not_enlarged(run: Run, invert: Path) -> None:
    Path("photos").mkdir()
    code, out, err = run("stylize", "photos", "--style", invert, "--upscale", "2", "-o", "painted")
    assert (code, out) == (2, "")
    assert "upscale is for photographs that are named" in err
    assert not Path("painted").exists()


def test_a_video_is_not_enlarged(run: Run, invert: Path) -> None:
    Path("clip.mp4").write_bytes(b"")
    code, out, err = run("stylize", "clip.mp4", "--style", invert, "--upscale", "2", "-o", "painted.mp4")
    assert (code, out) == (2, "")
    assert "upscale is for photographs" in err
