"""Colour profiles: 16 bits brought to sRGB, and pictures that are painted in colours of their own."""

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from impasto import Picture, batch, cli, stylize, stylize_folder, upscale
from impasto.decoding import EXIF_IFD
from impasto.images import fit, read_image, read_picture, write_image
from impasto.painters import Here
from impasto.profiles import light_of
from impasto.recipes import read_recipe
from impasto.styles import load_style
from impasto.work import Job, Work, paint_file
from profilemaker import (
    ADOBE,
    P3,
    SRGB_CURVE,
    adobe_rgb,
    cmyk_profile,
    display_p3,
    gamma,
    parametric,
    profile,
    rgb_profile,
    sampled,
    swapped_profile,
    xyz,
)

Pixels = npt.NDArray[np.uint8]
Noise = Callable[..., Pixels]
FORMATS = ("jpeg", "png", "webp", "avif", "tiff")
CURVES = {
    "gamma": gamma(1.8),
    "light": b"curv\0\0\0\0\0\0\0\0",
    "samples": sampled([(i / 40) ** 2 for i in range(41)]),
    "power": parametric(0, 2.2),
    "power from a place": parametric(1, 2.0, 1.1, -0.1),
    "power above a floor": parametric(2, 2.0, 0.9, -0.1, 0.04),
    "power after a line": SRGB_CURVE,
    "all of it": parametric(4, 2.4, 0.9, 0.05, 0.08, 0.04, 0.01, 0.002),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def deep(seed: int = 0) -> npt.NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 65536, (40, 50, 3)).astype(np.uint16)


def encoded(pixels: npt.NDArray[Any], icc: bytes | None, kind: str = "png", **more: Any) -> bytes:
    stream = io.BytesIO()
    write_image(stream, Picture(pixels, icc=icc, **more), format=kind)
    return stream.getvalue()


# ------------------------------------------------------------------------------------------------------------ 16 bits


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("colorants", [P3, ADOBE], ids=["P3", "Adobe"])
def test_16_bits_become_what_littlecms_makes_of_8(curve: str, colorants: Any, noise: Noise) -> None:
    """Of the same colours; and they have what is between."""
    icc, eight = rgb_profile(colorants, CURVES[curve]), noise(64, 64)
    expected = ImageCms.profileToProfile(
        Image.fromarray(eight),
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    for kind in ("png", "tiff"):
        found = read_picture(encoded(eight.astype(np.uint16) * 257, icc, kind), deep=True)
        assert found.icc is None
        away = np.abs(found.pixels / 257 - np.asarray(expected, float))
        assert away.max() < 1.6  # by littlecms' own rounding, most in the dark
        assert away.mean() < 0.35
    fine = read_picture(encoded(deep(), icc), deep=True).pixels
    assert fine.dtype == np.uint16
    assert len(np.unique(fine & 255)) > 200


def test_curves_are_the_channels_own() -> None:
    icc = rgb_profile(P3, gamma(1.0), gamma(1.8), gamma(2.6))
    light = light_of(icc)
    assert light is not None
    values = np.linspace(0, 1, 65536)
    for curve, power in zip(light.curves, (1.0, 1.8, 2.6), strict=True):
        np.testing.assert_allclose(curve, values ** (round(power * 256) / 256), atol=1e-6)


def test_16_bits_of_srgb_under_another_name_stay() -> None:
    icc = rgb_profile(((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)), SRGB_CURVE)
    for keep in ("srgb", "keep"):
        picture = read_picture(encoded(deep(), icc), deep=True, icc=keep)
        np.testing.assert_array_equal(picture.pixels, deep())
        assert picture.icc is None


def test_16_bits_of_tables_are_told(recwarn: pytest.WarningsRecorder) -> None:
    Path("photo.png").write_bytes(encoded(deep(), rgb_profile(P3, SRGB_CURVE, tables=True)))
    with pytest.warns(
        UserWarning, match=r"^photo\.png: its colour profile has tables, by which 16 bits become 8"
    ) as told:
        assert read_picture("photo.png", deep=True).pixels.dtype == np.uint8
    assert told[0].filename == __file__
    kept = read_picture("photo.png", deep=True, icc="keep")
    np.testing.assert_array_equal(kept.pixels, deep())
    assert not len(recwarn)


def test_hostile_profiles_give_light_or_none() -> None:
    chance = random.Random(0)
    for icc in (rgb_profile(P3, CURVES["all of it"]), rgb_profile(P3, CURVES["samples"]), adobe_rgb()):
        whole = light_of(icc)
        assert whole is not None
        for _ in range(300):
            broken = bytearray(icc)
            for _ in range(chance.randint(1, 4)):
                broken[chance.randrange(128, len(icc))] = chance.randrange(256)
            light = light_of(bytes(broken[: chance.randint(128, 2 * len(icc))]))
            assert light is None or np.isfinite(light.curves).all()
        assert light_of(icc[:130]) is None
    many = bytearray(adobe_rgb())
    many[128:132] = b"\xff" * 4
    assert light_of(bytes(many)) is None


# --------------------------------------------------------------------------------------------------------------- kept


@pytest.mark.parametrize("kind", FORMATS)
def test_a_profile_goes_out_and_comes_back(kind: str, noise: Noise) -> None:
    pixels = np.broadcast_to(noise(1, 1), (24, 32, 3)).copy()
    data = encoded(pixels, display_p3(), kind)
    kept, converted = read_picture(data, icc="keep"), read_picture(data)
    assert kept.icc == display_p3()
    assert np.abs(kept.pixels.astype(int) - pixels).max() <= 4
    assert converted.icc is None
    assert np.abs(converted.pixels.astype(int) - pixels).max() > 8
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == display_p3()
    assert b"sRGB\0" not in data


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bits_and_their_profile_go_out_and_come_back(kind: str) -> None:
    picture = read_picture(encoded(deep(), adobe_rgb(), kind), deep=True, icc="keep")
    np.testing.assert_array_equal(picture.pixels, deep())
    assert picture.icc == adobe_rgb()


@pytest.mark.parametrize("icc", ["srgb", "keep"])
def test_exif_says_whether_it_is_srgb(noise: Noise, icc: str) -> None:
    tags = Image.Exif()
    tags[EXIF_IFD] = {0x829A: 0.5, 0xA001: 1}
    Image.fromarray(noise(8, 8)).save("a.jpg", exif=tags, icc_profile=display_p3())
    found = Image.Exif()
    found.load(read_picture("a.jpg", icc=icc).exif)
    assert found.get_ifd(EXIF_IFD)[0xA001] == (1 if icc == "srgb" else 0xFFFF)


def test_what_is_not_rgb_is_converted(noise: Noise) -> None:
    linear = profile(b"GRAY", (b"wtpt", xyz(0.9642, 1, 0.8249)), (b"kTRC", gamma(1.0)))
    for image, icc in (
        (Image.new("L", (4, 4), 128), linear),
        (Image.new("CMYK", (4, 4), (9, 9, 9, 9)), cmyk_profile()),
    ):
        image.save("a.tif", icc_profile=icc)
        kept, plain = read_picture("a.tif", icc="keep"), read_picture("a.tif")
        assert kept.icc is None
        np.testing.assert_array_equal(kept.pixels, plain.pixels)
    for mode in ("RGBA", "P"):
        Image.fromarray(noise(8, 8)).convert(mode).save("b.png", icc_profile=swapped_profile())
        assert read_picture("b.png", icc="keep").icc == swapped_profile()


@pytest.mark.parametrize("icc", [b"nonsense", swapped_profile()[:200], cmyk_profile()])
def test_a_broken_profile_is_not_kept(noise: Noise, icc: bytes) -> None:
    Image.fromarray(noise(8, 8)).save("a.png", icc_profile=icc)
    with pytest.warns(UserWarning, match=r"a\.png: the embedded colour profile is broken"):
        assert read_picture("a.png", icc="keep").icc is None


def test_it_is_carried(noise: Noise, invert: Path, upscalers_zoo: Path) -> None:
    assert upscalers_zoo
    picture = Picture(noise(20, 30), icc=display_p3())
    assert fit(picture, 10).icc == display_p3()
    assert stylize(picture, invert, max_side=16).icc == display_p3()
    assert upscale(picture, 2).icc == display_p3()


def test_another_word_is_a_mistake(noise: Noise, invert: Path) -> None:
    write_image("a.png", noise(8, 8))
    with pytest.raises(ValueError, match=r"^icc is 'p3'; it must be one of srgb, keep"):
        read_picture("a.png", icc="p3")
    with pytest.raises(ValueError, match=r"^icc is 'p3'"):
        list(stylize_folder("a.png", "out", invert, icc="p3"))


# ------------------------------------------------------------------------------------------------------ command line


def call(*args: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(arg) for arg in args])
    return int(left.value.code or 0)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_photo_is_painted_in_its_own_colours_and_again(invert: Path, noise: Noise, bits: int) -> None:
    photo = noise(20, 30) if bits == 8 else deep()
    top = 255 if bits == 8 else 65535
    Path("photo.png").write_bytes(encoded(photo, display_p3()))
    how = ("photo.png", "--style", invert, "--precision", "float32", "--icc")
    assert call("stylize", *how, "keep", "-o", "kept.png") == 0
    kept = read_picture("kept.png", deep=True, icc="keep")
    assert kept.icc == display_p3()
    assert np.abs(kept.pixels.astype(int) - (top - photo.astype(int))).max() <= 1
    assert read_recipe(Path("kept.png"))["settings"]["icc"] == "keep"
    assert call("redo", "kept.png", "-o", "again.png", "--files", invert.parent) == 0
    assert Path("again.png").read_bytes() == Path("kept.png").read_bytes()
    assert call("stylize", *how, "srgb", "-o", "plain.png") == 0
    plain = read_picture("plain.png", deep=True, icc="keep")
    assert plain.icc is None
    assert plain.pixels.dtype == photo.dtype
    assert np.abs(plain.pixels.astype(int) - kept.pixels).max() > top / 16
    assert "icc" not in read_recipe(Path("plain.png"))["settings"]


def test_a_folder_is_painted_in_its_own_colours_and_again(
    invert: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "Processes", lambda work, *_: Here(work))
    photos = {"a.png": adobe_rgb(), "b.png": display_p3(), "c.png": None}
    Path("photos").mkdir()
    for name, icc in photos.items():
        Path("photos", name).write_bytes(encoded(noise(8, 9), icc))
    how = ("photos", "--style", invert, "--precision", "float32", "-o", "out")
    assert call("stylize", *how, "--icc", "keep") == 0
    for name, icc in photos.items():
        picture = read_picture(f"out/{name[0]}-invert.png", icc="keep")
        assert picture.icc == icc
        np.testing.assert_array_equal(picture.pixels, 255 - noise(8, 9))
    assert call("redo", "out/b-invert.png", "-o", "again.png", "--files", invert.parent, "photos") == 0
    assert Path("again.png").read_bytes() == Path("out/b-invert.png").read_bytes()
    assert call("stylize", *how) == 0  # another configuration
    assert read_picture("out/b-invert.png", icc="keep").icc is None
    np.testing.assert_array_equal(read_image("out/c-invert.png"), 255 - noise(8, 9))


def test_tables_are_told_of_a_folder_too(invert: Path) -> None:
    Path("a.png").write_bytes(encoded(deep(), rgb_profile(P3, SRGB_CURVE, tables=True)))
    options = dict.fromkeys(("strength", "stroke", "mask", "max_side")) | {"colors": "style", "device": "auto"}
    work = Work(style=load_style(invert), options=options | {"precision": "float32"})
    outcome = paint_file(work, Job(source="a.png", target="out.png"))
    assert [note.partition(",")[0] for note in outcome.notes] == ["a.png: its colour profile has tables"]
