from __future__ import annotations

import errno
import importlib.util
import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from impasto import decoding, images
from impasto.decoding import is_other_rgb, srgb_profile
from impasto.errors import ImageError, MissingExtraError
from impasto.images import (
    READ_SUFFIXES,
    WRITE_SUFFIXES,
    Picture,
    fit,
    from_network,
    read_image,
    read_mask,
    read_picture,
    resize,
    to_network,
    write_image,
)
from profilemaker import cmyk_profile, gamma, profile, swapped_profile, xyz

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

FORMATS = ["jpeg", "png", "webp", "avif", "tiff"]
LOSSY = {"jpeg": 6, "webp": 14, "avif": 10}  # largest error of a smooth picture at the default quality
needs_heif = pytest.mark.skipif(not importlib.util.find_spec("pillow_heif"), reason="the extra heif is not here")


def smooth(height: int = 40, width: int = 56) -> Pixels:
    """Return a picture whose four corners differ, so that every turn and every swap of channels shows."""
    rows, columns = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
    planes = [rows * 200 + columns * 30, columns * 220 + rows * 10, (1 - rows) * columns * 180 + 40]
    return np.stack(planes, axis=-1).astype(np.uint8)


def ramp(height: int = 40, width: int = 56) -> Pixels:
    """Return an alpha that goes from transparent to opaque."""
    return np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8), (height, width)).copy()


def encoded(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def written(image: Pixels | Picture, kind: str, quality: int | None = None) -> bytes:
    stream = io.BytesIO()
    write_image(stream, image, format=kind, quality=quality)
    return stream.getvalue()


def distance(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def chunk(tag: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


def png(header: tuple[int, int, int, int], rows: bytes, *extra: bytes) -> bytes:
    """Build a PNG from (width, height, depth, colour type), filtered rows and further chunks."""
    head = chunk(b"IHDR", struct.pack(">2I5B", *header, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunks_of(data: bytes) -> dict[bytes, bytes]:
    found, position = {}, 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        body = data[position + 4 : position + 8 + length]
        assert struct.unpack_from(">I", data, position + 8 + length)[0] == zlib.crc32(body)
        found[body[:4]] = body[4:]
        position += 12 + length
    return found


# ------------------------------------------------------------------------------------------- reading: formats, modes


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("shape", [(40, 56), (1, 1), (41, 35)])
def test_what_is_written_reads_back(kind: str, shape: tuple[int, int]) -> None:
    pixels = smooth(*shape)
    picture = read_picture(written(pixels, kind))
    assert picture.alpha is None
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.flags.writeable
    assert np.abs(picture.pixels.astype(int) - pixels).mean() <= (4 if kind in LOSSY else 0)


@pytest.mark.parametrize(("kind", "tolerance"), [("bmp", 0), ("gif", 30), ("ppm", None)])
def test_other_formats(kind: str, tolerance: int | None) -> None:
    data = encoded(Image.fromarray(smooth()), kind)
    if tolerance is None:  # Pillow could, we refuse: every decoder is one more to attack
        with pytest.raises(ImageError, match="none of JPEG, PNG"):
            read_image(data)
    else:
        assert distance(read_image(data), smooth()) <= tolerance


def test_the_first_frame_of_an_animation_is_read() -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "blue")]
    for kind in ("gif", "webp", "png", "tiff"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert distance(read_image(data)[0, 0], np.array([255, 0, 0])) <= 3, kind


@pytest.mark.parametrize("kind", ["path", "text", "stream", "pipe", "bytearray"])
def test_sources(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    write_image(path, smooth())
    if kind == "pipe":
        read, write = os.pipe()

        def send() -> None:
            with os.fdopen(write, "wb") as stream:
                stream.write(path.read_bytes())

        writer = threading.Thread(target=send)
        writer.start()
        with os.fdopen(read, "rb") as stream:
            pixels = read_image(stream)
        writer.join()
    else:
        data = path.read_bytes()
        sources: dict[str, Any] = {
            "path": path,
            "text": str(path),
            "stream": io.BytesIO(data),
            "bytearray": bytearray(data),
        }
        pixels = read_image(sources[kind])
    assert (pixels == smooth()).all()


def test_a_stream_is_read_from_where_it_stands() -> None:
    stream = io.BytesIO(b"header" + written(smooth(), "tiff"))
    stream.seek(6)
    assert (read_image(stream) == smooth()).all()


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(written(smooth(), "png"))
    assert (read_image(path) == smooth()).all()


def grey() -> Image.Image:
    return Image.fromarray(smooth()).convert("L")


@pytest.mark.parametrize("kind", ["png", "tiff", "bmp", "jpeg"])
def test_grey(kind: str) -> None:
    pixels = read_image(encoded(grey(), kind))
    assert distance(pixels, np.stack([np.asarray(grey())] * 3, axis=-1)) <= 3


@pytest.mark.parametrize("kind", ["png", "tiff", "bmp"])
def test_one_bit(kind: str) -> None:
    image = grey().point(lambda value: 255 * (value > 100)).convert("1")
    assert (read_image(encoded(image, kind))[..., 1] == np.asarray(image) * 255).all()


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bit_grey_uses_its_whole_range(kind: str) -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    assert read_image(encoded(Image.fromarray(values), kind))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_16_bit_rgb_and_its_transparent_colour() -> None:
    samples = np.array([[[65535, 0, 32768], [1000, 2000, 3000]]], ">u2")
    transparent = chunk(b"tRNS", struct.pack(">3H", 1000, 2000, 3000))
    picture = read_picture(png((2, 1, 16, 2), b"\0" + samples.tobytes(), transparent))
    assert picture.pixels[0, 0].tolist() == [255, 0, 128]
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[255, 0]]


def test_16_bit_grey_with_a_transparent_value() -> None:
    samples = np.array([[65535, 770]], ">u2").tobytes()
    picture = read_picture(png((2, 1, 16, 0), b"\0" + samples, chunk(b"tRNS", struct.pack(">H", 770))))
    assert picture.pixels[0, :, 0].tolist() == [255, 3]
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 51.0, 255.0], [0, 51, 255]),
        ([0.0, 65535.0, 257.0], [0, 255, 1]),
        ([1e6, 0.0, 2e5], [255, 0, 51]),
        ([float("nan"), -3.0, 1.0], [0, 0, 255]),
        ([float("inf"), 0.2, 0.0], [255, 51, 0]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
    ],
)
def test_floating_point_tiff(values: list[float], expected: list[int]) -> None:
    data = encoded(Image.fromarray(np.array([values], np.float32)), "tiff")
    assert read_image(data)[0, :, 0].tolist() == expected


def test_32_bit_integers() -> None:
    data = encoded(Image.fromarray(np.array([[0, 1285, 65535]], np.int32)), "tiff")
    assert read_image(data)[0, :, 2].tolist() == [0, 5, 255]


@pytest.mark.parametrize("kind", ["jpeg", "tiff"])
def test_cmyk_without_a_profile(kind: str) -> None:
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert distance(read_image(encoded(inks, kind))[8, 8], np.array([255, 0, 0])) <= 3


def test_cmyk_with_a_profile_goes_through_it() -> None:
    for inks, expected in [((0, 0, 0, 0), 255), ((255, 0, 0, 0), 119)]:  # L* = 50 is 119 in sRGB
        data = encoded(Image.new("CMYK", (16, 16), inks), "tiff", icc_profile=cmyk_profile())
        pixel = read_image(data)[8, 8]
        assert distance(pixel, np.full(3, expected)) <= 3, pixel


def test_lab_tiff() -> None:
    data = encoded(Image.fromarray(np.full((8, 8, 3), (255, 0, 0), np.uint8), "RGB"), "tiff")
    assert read_image(data)[0, 0].tolist() == [255, 0, 0]
    lab = Image.merge("LAB", [Image.new("L", (8, 8), level) for level in (136, 208, 195)])  # sRGB's red
    assert distance(read_image(encoded(lab, "tiff"))[0, 0], np.array([255, 0, 0])) <= 14


# ------------------------------------------------------------------------------------------------------------- alpha


@pytest.mark.parametrize("kind", ["png", "webp", "avif", "tiff"])
def test_alpha_goes_round(kind: str) -> None:
    pixels = smooth()
    picture = read_picture(written(Picture(pixels, alpha=ramp()), kind))
    assert picture.alpha is not None
    assert distance(picture.alpha, ramp()) <= (4 if kind == "avif" else 0)
    assert distance(picture.pixels[:, 8:], pixels[:, 8:]) <= LOSSY.get(kind, 0)


def test_a_jpeg_is_composited_over_white() -> None:
    picture = Picture(np.zeros((16, 16, 3), np.uint8), alpha=np.full((16, 16), 51, np.uint8))
    back = read_picture(written(picture, "jpeg"))
    assert back.alpha is None
    assert distance(back.pixels, np.full((16, 16, 3), 204)) <= 1


def test_alpha_that_is_opaque_everywhere_is_none() -> None:
    opaque = Image.fromarray(np.dstack((smooth(), np.full((40, 56), 255, np.uint8))))
    assert read_picture(encoded(opaque, "png")).alpha is None
    nearly = np.full((40, 56), 255, np.uint8)
    nearly[3, 4] = 254
    assert read_picture(encoded(Image.fromarray(np.dstack((smooth(), nearly))), "png")).alpha is not None


def test_grey_with_alpha() -> None:
    image = Image.fromarray(np.dstack((np.asarray(grey()), ramp())))
    picture = read_picture(encoded(image, "png"))
    assert image.mode == "LA"
    assert (picture.pixels[..., 2] == np.asarray(grey())).all()
    assert picture.alpha is not None
    assert (picture.alpha == ramp()).all()


@pytest.mark.parametrize(("transparency", "expected"), [(1, [255, 0, 255]), (b"\x80\x00\xff", [128, 0, 255])])
def test_palette_with_transparency(transparency: int | bytes, expected: list[int]) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    picture = read_picture(encoded(image, "png", transparency=transparency))
    assert picture.pixels[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert picture.alpha is not None
    assert picture.alpha[0].tolist() == expected


def test_gif_with_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    picture = read_picture(encoded(image, "gif", transparency=1))
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[255, 0]]


@pytest.mark.parametrize(("mode", "key"), [("RGB", (9, 8, 7)), ("L", 9), ("1", 0)])
def test_transparent_colour(mode: str, key: Any) -> None:
    image = Image.new(mode, (2, 1), key)
    image.putpixel((0, 0), 255 if mode != "RGB" else (255, 255, 255))
    picture = read_picture(encoded(image, "png", transparency=key))
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[255, 0]]


# ------------------------------------------------------------------------------------------- orientation and metadata


def upright(stored: Pixels, orientation: int) -> Pixels:
    """Return what a viewer shows, from the EXIF standard's table of where row 0 and column 0 of the file are."""
    turned = stored.transpose(1, 0, 2) if orientation >= 5 else stored
    flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return turned[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "avif"])
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    quality = {"quality": 95} if kind in LOSSY else {}
    data = encoded(Image.fromarray(smooth()), kind, exif=tags, **quality)
    picture = read_picture(data)
    assert distance(picture.pixels, upright(smooth(), orientation)) <= 25
    again = read_picture(written(picture, kind))
    assert distance(again.pixels, picture.pixels) <= 25


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_does_not_exist_is_upright(orientation: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    assert (read_image(encoded(Image.fromarray(smooth()), "png", exif=tags)) == smooth()).all()


def test_alpha_turns_with_the_picture() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    picture = read_picture(encoded(Image.fromarray(np.dstack((smooth(), ramp()))), "png", exif=tags))
    assert picture.alpha is not None
    assert (picture.alpha == upright(ramp()[..., None], 6)[..., 0]).all()


def camera_exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = 6
    tags[0x010F] = "Maker"
    tags[0x0132] = "2024:05:06 07:08:09"
    tags[0x013B] = "An Artist"
    tags[0x8298] = "(c) Someone"
    tags[0x0100] = 4000  # the width of the old file
    tags[0x8769] = {0x829A: 0.01, 0x9003: "2024:05:06 07:08:09", 0x927C: b"secret", 0xA002: 4000, 0xA003: 3000}
    tags[0x8825] = {1: "N", 2: (50.0, 30.0, 15.0)}
    return tags


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("kind", ["jpeg", "tiff"])
def test_metadata_that_stays_true_goes_round(kind: str, target: str) -> None:
    source = Image.fromarray(smooth())
    picture = read_picture(encoded(source, kind, exif=camera_exif().tobytes(), dpi=(300, 300)))
    data = written(replace(picture, pixels=picture.pixels // 2), target)
    image = Image.open(io.BytesIO(data))
    tags = image.getexif()
    shot, place = tags.get_ifd(0x8769), tags.get_ifd(0x8825)
    assert (tags[0x010F], tags[0x013B], tags[0x8298]) == ("Maker", "An Artist", "(c) Someone")
    assert (shot[0x9003], shot[0xA001]) == ("2024:05:06 07:08:09", 1)
    assert float(shot[0x829A]) == pytest.approx(0.01)
    assert [float(part) for part in place[2]] == [50.0, 30.0, 15.0]
    assert tags.get(0x0112, 1) == 1
    assert not {0x927C, 0xA002, 0xA003} & set(shot)
    assert tags.get(0x0100, picture.pixels.shape[1]) == picture.pixels.shape[1]
    if target not in {"webp", "avif"}:
        assert image.info["dpi"] == pytest.approx((300, 300), rel=1e-3)


def test_an_embedded_thumbnail_is_dropped() -> None:
    plain = camera_exif().tobytes()
    block = bytearray(plain) + b"\xff\xd8thumbnail\xff\xd9"
    picture = read_picture(encoded(Image.fromarray(smooth()), "jpeg", exif=bytes(block)))
    assert b"Maker" in picture.exif
    assert b"thumbnail" not in picture.exif


@pytest.mark.parametrize(
    "block", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + b"\xff" * 60]
)
@pytest.mark.filterwarnings("ignore")  # Pillow's own about the block
def test_broken_exif_costs_the_metadata_not_the_picture(block: bytes) -> None:
    picture = read_picture(encoded(Image.fromarray(smooth()), "jpeg", exif=block, quality=95))
    assert picture.exif == b""
    assert distance(picture.pixels, smooth()) <= 20


def test_exif_too_long_for_a_jpeg_is_dropped() -> None:
    tags = Image.Exif()
    tags[0x013B] = "A" * 70_000
    picture = read_picture(encoded(Image.fromarray(smooth()), "png", exif=tags))
    assert picture.exif == b""
    written(picture, "jpeg")


@pytest.mark.parametrize(
    ("claim", "expected"),
    [((72, 72), 72.0), ((0, 0), None), ((300, 72), None), ((float("nan"),) * 2, None), ("wrong", None), (None, None)],
)
def test_density(claim: object, expected: float | None) -> None:
    assert images.to_dpi(claim) == expected


# ------------------------------------------------------------------------------------------------------------- colour


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp", "avif"])
def test_an_embedded_profile_is_converted(kind: str) -> None:
    pixels = np.full((16, 16, 3), (250, 20, 60), np.uint8)
    data = encoded(Image.fromarray(pixels), kind, icc_profile=swapped_profile(), quality=95)
    assert distance(read_image(data)[8, 8], np.array([20, 250, 60])) <= 8


def test_the_profile_is_applied_beside_alpha_and_palette() -> None:
    rgba = Image.new("RGBA", (4, 4), (250, 20, 60, 100))
    palette = Image.new("P", (4, 4))
    palette.putpalette([250, 20, 60])
    for image in (rgba, palette):
        picture = read_picture(encoded(image, "png", icc_profile=swapped_profile()))
        assert distance(picture.pixels[0, 0], np.array([20, 250, 60])) <= 2
    assert read_picture(encoded(rgba, "png", icc_profile=swapped_profile())).alpha is not None


@pytest.mark.parametrize("alpha", [False, True])
def test_a_grey_profile(alpha: bool) -> None:
    linear = profile(b"GRAY", (b"wtpt", xyz(0.9642, 1, 0.8249)), (b"kTRC", gamma(1.0)))
    image = Image.new("LA", (4, 4), (128, 90)) if alpha else Image.new("L", (4, 4), 128)
    picture = read_picture(encoded(image, "png", icc_profile=linear))
    assert distance(picture.pixels[0, 0], np.full(3, 188)) <= 1  # half the light is 188 in sRGB


@pytest.mark.parametrize("data", [b"nonsense", swapped_profile()[:200], cmyk_profile()])
def test_a_broken_or_foreign_profile_warns_and_the_colours_stay(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(Image.fromarray(smooth()), "png", icc_profile=data))
    with pytest.warns(UserWarning, match=r"photo\.png: the embedded colour profile is broken") as caught:
        picture = read_picture(path)
    assert (picture.pixels == smooth()).all()
    assert caught[0].filename == __file__


def test_a_profile_that_is_srgb_under_another_name_costs_no_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    primaries = [(b"rXYZ", xyz(0.4361, 0.2225, 0.0139)), (b"gXYZ", xyz(0.3851, 0.7169, 0.0971))]
    primaries += [(b"bXYZ", xyz(0.1431, 0.0606, 0.7141)), (b"wtpt", xyz(0.9642, 1, 0.8249))]
    levels = [((c + 0.055) / 1.055) ** 2.4 if c > 0.04045 else c / 12.92 for c in np.linspace(0, 1, 1024)]
    curve = b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *(round(level * 65535) for level in levels))
    data = profile(b"RGB ", *primaries, *((name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")))
    sizes, apply = [], ImageCms.applyTransform

    def record(image: Image.Image, *arguments: Any) -> Any:
        sizes.append(image.size)
        return apply(image, *arguments)

    monkeypatch.setattr(ImageCms, "applyTransform", record)
    assert (read_image(encoded(Image.fromarray(smooth()), "png", icc_profile=data)) == smooth()).all()
    assert sizes == [(64, 64)]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_output_says_that_it_is_srgb(kind: str) -> None:
    data = written(smooth(), kind)
    if kind == "png":
        assert chunks_of(data)[b"sRGB"] == b"\0"
    elif kind == "avif":
        assert b"colrnclx" + struct.pack(">2H", 1, 13) in data  # BT.709 primaries, sRGB transfer
    else:
        stored = Image.open(io.BytesIO(data)).info["icc_profile"]
        assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(stored)))


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_picture_makes_the_same_bytes(kind: str) -> None:
    first = written(smooth(), kind)
    decoding.srgb_profile.cache_clear()
    assert written(smooth(), kind) == first


# ------------------------------------------------------------------------------------------------- limits, bad input


def giants() -> dict[str, bytes]:
    """Return files of under a kilobyte whose headers state 60,000 x 60,000 pixels (WebP: its largest, 16,384)."""
    tiff = written(smooth(), "tiff")
    for tag, old in ((256, 56), (257, 40)):
        entry = struct.pack("<HHI", tag, 4, 1) + struct.pack("<I", old)
        short = struct.pack("<HHI", tag, 3, 1) + struct.pack("<I", old)
        tiff = tiff.replace(entry, entry[:-4] + struct.pack("<I", 60_000)).replace(
            short, struct.pack("<HHII", tag, 4, 1, 60_000)
        )
    jpeg = bytearray(written(smooth(), "jpeg"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">2H", 60_000, 60_000)
    bmp = bytearray(encoded(Image.new("RGB", (4, 4)), "bmp"))
    bmp[18:26] = struct.pack("<2i", 60_000, 60_000)
    webp = bytearray(written(Picture(smooth(), alpha=ramp()), "webp"))
    webp[24:30] = (16_383).to_bytes(3, "little") * 2
    gif = bytearray(encoded(Image.new("P", (4, 4)), "gif"))
    gif[6:10] = struct.pack("<2H", 60_000, 60_000)
    made = png((60_000, 60_000, 8, 2), b"")
    return {"png": made, "tiff": tiff, "jpeg": bytes(jpeg), "bmp": bytes(bmp), "webp": bytes(webp), "gif": bytes(gif)}


@pytest.mark.parametrize("kind", ["png", "tiff", "jpeg", "bmp", "webp", "gif"])
def test_a_small_file_that_claims_a_giant_picture_is_refused_before_memory_is_taken(kind: str) -> None:
    code = """if True:
        import re, sys
        from impasto.errors import ImageError
        from impasto.images import read_image
        try:
            read_image(sys.stdin.buffer)
        except ImageError as error:
            status = open("/proc/self/status").read()  # getrusage tells the peak of the process that forked too
            print(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024, error)
        """
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    command = [sys.executable, "-W", "error", "-c", code]
    output = subprocess.run(command, input=giants()[kind], capture_output=True, check=True).stdout.decode()
    peak_mb, message = output.split(" ", 1)
    assert int(peak_mb) < 300
    assert "60000 x 60000" in message or (kind == "webp" and ("max_pixels" in message or "exceeds limit" in message))


def test_limits_name_the_numbers_and_the_argument() -> None:
    data = written(smooth(), "png")
    with pytest.raises(ImageError, match=r"56 x 40 pixels \(2240\).*max_pixels=2239.*raise max_pixels"):
        read_image(data, max_pixels=2239)
    with pytest.raises(ImageError, match=r"56 x 40 pixels.*max_side=55.*raise max_side"):
        read_image(data, max_side=55)
    assert read_image(data, max_pixels=2240, max_side=56).shape == (40, 56, 3)


def test_pillows_own_limit_is_left_alone_and_not_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = {kind: written(smooth(), kind) for kind in ("jpeg", "png", "avif")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in data:
            assert read_image(data[kind]).shape == (40, 56, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("tag", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_compressed_text_that_explodes_is_refused(tag: bytes) -> None:
    packed = zlib.compress(b"\0" * 50_000_000, 9)
    body = b"key\0" + (b"\x01\0\0\0" if tag == b"iTXt" else b"\0") + packed
    with pytest.raises(ImageError, match="broken or cut off"):
        read_image(png((1, 1, 8, 2), b"\0\1\2\3", chunk(tag, body)))


@pytest.mark.parametrize("source", [5, None, ["photo.jpg"], np.zeros((4, 4, 3), np.uint8)])
def test_what_is_no_source_is_a_value_error(source: Any) -> None:
    with pytest.raises(ValueError, match=rf"source is a {type(source).__name__}; it must be a path"):
        read_picture(source)


def test_missing_folder_empty_text_and_null(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not a picture at all")
    cases = {
        tmp_path / "none.jpg": "there is no such file",
        tmp_path / "text.jpg" / "a.jpg": "there is no such file",
        tmp_path: "it is a folder",
        tmp_path / "empty.jpg": "the file is empty",
        tmp_path / "text.jpg": "none of JPEG, PNG, WebP",
        Path("a\0b.jpg"): "null",
    }
    for path, words in cases.items():
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert str(path) in str(caught.value)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [*FORMATS, "bmp", "gif"])
def test_a_truncated_file_is_one_error_with_its_cause(kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    for length in (1, 12, 40, len(data) // 2, len(data) * 9 // 10):
        with pytest.raises(ImageError, match="cannot read the picture"):
            read_image(data[:length])


def test_the_cause_is_chained() -> None:
    with pytest.raises(ImageError) as caught:
        read_image(written(smooth(), "png")[:60])
    assert caught.value.__cause__ is not None


def test_memory_that_runs_out_is_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(images, "_to_picture", fail)
    with pytest.raises(ImageError, match="not enough memory"):
        read_image(written(smooth(), "png"))


def test_an_interrupt_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "_to_picture", fail)
    with pytest.raises(KeyboardInterrupt):
        read_image(written(smooth(), "png"))


def harmless(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            picture = read_picture(data, max_pixels=100_000)
        except ImageError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert picture.pixels.dtype == np.uint8
            assert picture.pixels.shape[0] * picture.pixels.shape[1] <= 100_000


SIGNATURES = [
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\x40\0\0\0WEBPVP8 ",
    b"\0\0\0\x1cftypavif",
    b"II*\0",
    b"BM",
]
SIGNATURES += [b"\0\0\0\x1cftypheic", b"MM\0*", b"GIF89a", b""]


@settings(max_examples=200, deadline=None)
@given(signature=st.sampled_from(SIGNATURES), tail=st.binary(max_size=300))
def test_random_bytes_are_a_picture_or_an_image_error(signature: bytes, tail: bytes) -> None:
    try:
        harmless(signature + tail)
    except MissingExtraError:
        assert signature.endswith(b"heic")


def victims() -> list[bytes]:
    picture = Picture(smooth(24, 20), alpha=ramp(24, 20), exif=camera_exif().tobytes(), dpi=300)
    palette = Image.fromarray(smooth(24, 20)).quantize(16)
    tagged = [encoded(Image.fromarray(smooth(24, 20)), kind, icc_profile=swapped_profile()) for kind in ("jpeg", "png")]
    made = [written(picture, kind) for kind in FORMATS]
    made += [encoded(palette, kind, transparency=3) for kind in ("gif", "png")] + tagged
    made += [encoded(Image.new("CMYK", (9, 9)), "tiff", icc_profile=cmyk_profile()), encoded(palette, "bmp")]
    return made


VICTIMS = victims()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_files_are_a_picture_or_an_image_error(data: st.DataObject) -> None:
    victim = bytearray(data.draw(st.sampled_from(VICTIMS)))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(victim) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=4))
        victim[at : at + len(patch)] = patch
    if data.draw(st.booleans()):
        del victim[data.draw(st.integers(0, len(victim))) :]
    harmless(bytes(victim))


# --------------------------------------------------------------------------------------------------------------- HEIC


def heic(**options: Any) -> bytes:
    import pillow_heif

    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(smooth(64, 48))).save(stream, quality=95, **options)
    return stream.getvalue()


@needs_heif
def test_heic() -> None:
    assert distance(read_image(heic()), smooth(64, 48)) <= 25


@needs_heif
def test_heic_orientation_is_applied_once() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    assert distance(read_image(heic(exif=tags.tobytes())), upright(smooth(64, 48), 6)) <= 25


@needs_heif
def test_a_broken_heic_is_an_image_error() -> None:
    data = heic()
    for length in (30, len(data) // 2):
        with pytest.raises(ImageError, match="broken or cut off"):
            read_image(data[:length])


def test_without_the_extra_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "phone.heic"
    path.write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf")
    with pytest.raises(MissingExtraError, match=r"phone\.heic.*pip install 'impasto\[heif\]'"):
        read_image(path)


# ------------------------------------------------------------------------------------------------------------ writing


@pytest.mark.parametrize("suffix", sorted(WRITE_SUFFIXES))
@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_the_suffix_decides(tmp_path: Path, suffix: str, change: Callable[[str], str]) -> None:
    path = tmp_path / f"a{change(suffix)}"
    write_image(str(path), smooth())
    with Image.open(path) as image:
        assert (image.format or "").lower() == WRITE_SUFFIXES[suffix]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert suffix in READ_SUFFIXES


def test_format_overrides_the_suffix(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", smooth(), format="JPG")
    assert (tmp_path / "a.png").read_bytes()[:3] == b"\xff\xd8\xff"


@pytest.mark.parametrize("kind", ["jpeg", "webp", "avif"])
def test_quality_trades_size(kind: str) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    low, default, high = (len(written(noise, kind, quality)) for quality in (1, None, 100))
    assert low < default < high


def test_a_jpeg_keeps_its_chroma_in_full() -> None:
    image = Image.open(io.BytesIO(written(smooth(), "jpeg")))
    assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("quality", [0, 101, -1, 50.5, "high"])
def test_quality_out_of_range(quality: Any) -> None:
    with pytest.raises(ValueError, match=r"quality is .*; it must be a whole number from 1 to 100"):
        written(smooth(), "jpeg", quality)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3), (4, 4, 3, 1)])
def test_wrong_shapes_and_types(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be uint8 or uint16"):
        written(np.zeros(shape, np.uint8), "png")
    with pytest.raises(ValueError, match="got float32"):
        written(np.zeros((4, 4, 3), np.float32), "png")
    with pytest.raises(ValueError, match=r"alpha must be uint8 \(40, 56\)"):
        Picture(smooth(), alpha=np.zeros((56, 40), np.uint8))


def test_an_unknown_format_or_suffix(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"format must be one of jpeg, png, webp, avif, tiff, got 'eps'"):
        write_image(tmp_path / "a.png", smooth(), format="eps")
    with pytest.raises(ValueError, match="format must be given for a stream"):
        write_image(io.BytesIO(), smooth())
    for name in ("a.xyz", "a", "a.gif"):
        with pytest.raises(ImageError, match=r"must end in one of \.jpg"):
            write_image(tmp_path / name, smooth())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "shape"), [("jpeg", (1, 65_501, 3)), ("webp", (16_384, 1, 3)), ("avif", (1, 65_537, 3))]
)
def test_a_picture_larger_than_the_format(kind: str, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ImageError, match=rf"{kind} ends at \d+ pixels a side.*use \.png"):
        written(np.zeros(shape, np.uint8), kind)


def test_views_are_written_as_they_look() -> None:
    view = smooth()[::-1, ::2, ::-1]
    assert (read_image(written(view, "png")) == view).all()


def test_a_missing_folder_and_a_folder_as_target(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"missing.a\.png: its folder does not exist; create it"):
        write_image(tmp_path / "missing" / "a.png", smooth())
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ImageError, match=r"a\.png: it is a folder"):
        write_image(tmp_path / "a.png", smooth())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ImageError, match="not permitted; choose another folder"):
            write_image(tmp_path / "a.png", smooth())
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "not permitted; choose another folder"),
        (errno.EROFS, "read-only; choose another"),
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_file_system_that_refuses_leaves_the_old_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    path = tmp_path / "a.png"
    write_image(path, smooth())
    before = path.read_bytes()

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ImageError, match=words) as caught:
        write_image(path, smooth() // 2)
    assert isinstance(caught.value.__cause__, OSError)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_device_that_is_full() -> None:
    with pytest.raises(ImageError, match="the disk is full"):
        write_image("/dev/full", smooth(), format="png")


def test_an_encoder_that_fails_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="the jpeg encoder failed"):
        write_image(tmp_path / "a.jpg", Picture(smooth(), exif=b"Exif\0\0" + b"x" * 70_000))
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------- 16 bit


@pytest.mark.parametrize("alpha", [False, True])
def test_a_16_bit_png_holds_every_bit(alpha: bool) -> None:
    deep = np.random.default_rng(3).integers(0, 65536, (23, 17, 3), dtype=np.uint16)
    picture = Picture(deep, alpha=ramp(23, 17) if alpha else None, exif=camera_exif().tobytes(), dpi=300)  # type: ignore[arg-type]
    chunks = chunks_of(written(picture, "png"))
    width, height, depth, color = struct.unpack(">2I2B", chunks[b"IHDR"][:10])
    channels = 4 if alpha else 3
    assert (width, height, depth, color) == (17, 23, 16, 6 if alpha else 2)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(23, 1 + 17 * channels * 2)
    assert (rows[:, 0] == 2).all()
    stored = np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8).view(">u2").reshape(23, 17, channels)
    assert (stored[..., :3] == deep).all()
    if alpha:
        assert (stored[..., 3] == ramp(23, 17).astype(int) * 257).all()
    assert chunks[b"eXIf"][:2] in (b"II", b"MM")
    assert struct.unpack(">2IB", chunks[b"pHYs"]) == (11811, 11811, 1)
    assert b"sRGB" in chunks


def test_a_16_bit_png_reads_back() -> None:
    deep = smooth().astype(np.uint16) * 257
    stream = io.BytesIO()
    write_image(stream, deep, format="png")
    assert (read_image(stream.getvalue()) == smooth()).all()
    assert Image.open(io.BytesIO(stream.getvalue())).info["srgb"] == 0


@pytest.mark.parametrize("kind", ["jpeg", "webp", "avif"])
def test_16_bits_in_another_format(kind: str) -> None:
    with pytest.raises(ValueError, match=f"image must be uint8 for {kind}.*only png and tiff hold 16 bits"):
        write_image(io.BytesIO(), smooth().astype(np.uint16), format=kind)


# ----------------------------------------------------------------------------------------- sizes, networks, the module


def test_resize_takes_height_first_and_keeps_a_plain_picture_plain() -> None:
    flat = np.full((30, 50, 3), (10, 20, 30), np.uint8)
    assert resize(flat, (7, 91)).shape == (7, 91, 3)
    assert (resize(flat, (7, 91)) == flat[0, 0]).all()


def test_resize_does_not_alias() -> None:
    stripes = np.zeros((64, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    assert distance(resize(stripes, (8, 64))[:, 4:-4], np.full((8, 56, 3), 128)) <= 2


def test_transparent_colour_does_not_bleed() -> None:
    pixels, alpha = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)
    pixels[:, :15], alpha[:, :15] = 255, 255
    small = resize(Picture(pixels, alpha=alpha, dpi=300, exif=b"Exif\0\0"), (8, 8))
    assert small.alpha is not None
    assert (small.pixels[small.alpha > 8] >= 250).all()
    assert (small.dpi, small.exif) == (None, b"Exif\0\0")


def test_fit() -> None:
    assert fit(smooth(40, 56), 28).shape == (20, 28, 3)
    assert fit(smooth(1000, 3), 100).shape == (100, 1, 3)
    same = smooth()
    assert fit(same, 56) is same
    picture = Picture(same)
    assert fit(picture, 100) is picture
    assert fit(picture, 14).pixels.shape == (10, 14, 3)


def test_sizes_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="max_side must be at least 1"):
        fit(smooth(), 0)
    with pytest.raises(ValueError, match="size must be at least"):
        resize(smooth(), (0, 5))
    with pytest.raises(ValueError, match="pixels must be uint8 or uint16"):
        resize(smooth().astype(np.float32), (5, 5))  # type: ignore[type-var]


def test_shrinking_while_decoding_keeps_the_shorter_side() -> None:
    data = written(smooth(400, 640), "jpeg")
    assert read_picture(data, shrink_to=100).pixels.shape == (100, 160, 3)
    assert read_picture(data, shrink_to=101).pixels.shape == (200, 320, 3)
    assert read_picture(data, shrink_to=500).pixels.shape == (400, 640, 3)
    assert read_picture(written(smooth(400, 640), "png"), shrink_to=100).pixels.shape == (400, 640, 3)


def test_to_network() -> None:
    planes = to_network(smooth())
    assert planes.shape == (1, 3, 40, 56)
    assert planes.dtype == np.float32
    assert planes.flags.c_contiguous
    assert np.allclose(planes[0, 1, 7, 9], smooth()[7, 9, 1] / 255)
    assert to_network(np.full((1, 1, 3), 255, np.uint8)).max() == 1


def test_from_network_undoes_to_network() -> None:
    every = np.arange(256 * 3).reshape(256, 1, 3).astype(np.uint8)
    assert (from_network(to_network(every)) == every).all()
    assert (from_network(to_network(every), bits=16) == every.astype(np.uint16) * 257).all()


@pytest.mark.parametrize("cached", [1, 7, 30])
def test_from_network_takes_a_picture_band_by_band(cached: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (11, 7, 3), dtype=np.uint8)
    monkeypatch.setattr(images, "_CACHED", cached)
    assert (from_network(to_network(pixels)) == pixels).all()
    assert from_network(np.zeros((1, 3, 4, 0), np.float32)).shape == (4, 0, 3)


@pytest.mark.filterwarnings("error")
def test_from_network_rounds_clamps_and_takes_nan_for_black() -> None:
    values = np.array([-1, np.nan, np.inf, -np.inf, 3e38, 0.49 / 255, 0.51 / 255, 254.51 / 255], np.float32)
    planes = np.broadcast_to(values, (1, 3, 1, 8))
    assert from_network(planes)[0, :, 0].tolist() == [0, 0, 255, 0, 255, 0, 1, 255]
    assert from_network(np.ones((1, 3, 1, 1), np.float32), bits=16).tolist() == [[[65535] * 3]]
    assert from_network(planes).dtype == np.uint8


@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 3, 4, 4), (1, 4, 4, 4)])
def test_from_network_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"planes must be \(1, 3, height, width\)"):
        from_network(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="bits must be 8 or 16"):
        from_network(np.zeros((1, 3, 4, 4), np.float32), bits=12)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pixels must be uint8"):
        to_network(np.zeros(shape, np.uint8))


def test_many_threads_read_and_write_at_once(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(smooth()), "png", icc_profile=swapped_profile())
    expected, wrong = read_image(data), []

    def work(number: int) -> None:
        path = tmp_path / "same.png"
        for _ in range(5):
            pixels = read_image(data)
            write_image(path, pixels)
            if distance(pixels, expected) or distance(read_image(path), expected):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [p.name for p in tmp_path.iterdir()] == ["same.png"]


def test_importing_is_cheap() -> None:
    heavy = "{'torch', 'openvino', 'onnx', 'scipy', 'PIL.ImageCms', 'PIL.TiffImagePlugin', 'pillow_heif'}"
    code = f"import sys, impasto.images; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_mask_drawn_in_alpha(tmp_path: Path) -> None:
    mask = np.full((4, 6, 2), 255, np.uint8)
    mask[:, :3, 1] = 0
    mask[:, 3:, 0] = 100
    Image.fromarray(mask, "LA").save(tmp_path / "mask.png")
    expected = np.repeat([[0, 0, 0, 100, 100, 100]], 4, 0)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), expected)


# ----------------------------------------------------------------------------------------------------- 16 bits, read


def deep_noise(height: int = 23, width: int = 17) -> npt.NDArray[np.uint16]:
    return np.random.default_rng(4).integers(0, 65536, (height, width, 3), dtype=np.uint16)


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("alpha", [False, True])
def test_16_bits_go_out_and_come_back(kind: str, alpha: bool) -> None:
    stream = io.BytesIO()
    tags = camera_exif()
    del tags[0x0112]  # what is read stands upright
    exif = tags.tobytes()
    picture = Picture(deep_noise(), ramp(23, 17) if alpha else None, exif, 300)  # type: ignore[arg-type]
    write_image(stream, picture, format=kind)
    back = read_picture(stream.getvalue(), deep=True)
    assert back.pixels.dtype == np.uint16
    np.testing.assert_array_equal(back.pixels, picture.pixels)
    assert (back.alpha is None) != alpha
    assert back.alpha is None or (back.alpha == picture.alpha).all()
    assert back.dpi == pytest.approx(300, abs=0.01)
    tags = Image.Exif()
    tags.load(back.exif)
    assert tags.get(0x010F) == camera_exif().get(0x010F)
    assert read_picture(stream.getvalue()).pixels.dtype == np.uint8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_every_orientation_at_both_depths(orientation: int, deep: bool) -> None:
    """As Pillow turns it, band by band."""
    stored = deep_noise()
    stream, tags = io.BytesIO(), Image.Exif()
    write_image(stream, stored, format="png")
    plain = Image.open(io.BytesIO(stream.getvalue()))
    eight, tags[0x0112] = io.BytesIO(), orientation
    plain.save(eight, "png", exif=tags)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(eight)))
    got = read_picture(with_orientation(stream.getvalue(), orientation), deep=deep).pixels
    assert got.dtype == (np.uint16 if deep else np.uint8)
    np.testing.assert_array_equal(got >> 8 if deep else got, expected)


def with_orientation(png: bytes, orientation: int) -> bytes:
    """A PNG with an EXIF chunk, after its header."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    data = tags.tobytes().removeprefix(b"Exif\0\0")
    body = b"eXIf" + data
    chunk = struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


def test_a_picture_is_read_by_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_BAND", 50)
    stream = io.BytesIO()
    write_image(stream, Picture(deep_noise(), ramp(23, 17)), format="tiff")  # type: ignore[arg-type]
    back = read_picture(stream.getvalue(), deep=True)
    np.testing.assert_array_equal(back.pixels, deep_noise())
    np.testing.assert_array_equal(back.alpha, ramp(23, 17))


def test_eight_bits_stay_eight(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif", "a.jpg"):
        write_image(tmp_path / name, smooth())
        assert read_picture(tmp_path / name, deep=True).pixels.dtype == np.uint8


def test_16_bits_of_a_broken_profile_stay() -> None:
    stream = io.BytesIO()
    write_image(stream, deep_noise(), format="tiff")
    assert read_picture(stream.getvalue(), deep=True).pixels.dtype == np.uint16
    assert srgb_profile() in stream.getvalue()
    broken = stream.getvalue().replace(srgb_profile(), b"\0" * len(srgb_profile()))
    with pytest.warns(UserWarning, match="the embedded colour profile is broken"):
        np.testing.assert_array_equal(read_picture(broken, deep=True).pixels, deep_noise())
    assert not is_other_rgb(None)
    assert not is_other_rgb(b"broken")


def test_a_cut_16_bit_file_is_one_error() -> None:
    stream = io.BytesIO()
    write_image(stream, deep_noise(200, 200), format="png")
    for cut in (50, 1000, 100_000):
        with pytest.raises(ImageError, match="cannot read the picture: its data is broken or cut off"):
            read_picture(stream.getvalue()[:cut], deep=True)


def test_16_bits_are_resized_finely_and_by_alpha() -> None:
    ramped = np.broadcast_to(np.linspace(0, 65535, 64)[None, :, None], (40, 64, 3)).astype(np.uint16)
    half = resize(Picture(ramped), (20, 32)).pixels  # type: ignore[arg-type]
    assert half.dtype == np.uint16
    np.testing.assert_allclose(half[:, 2:-2], resize_exactly(ramped)[:, 2:-2], atol=40)
    alpha = np.zeros((40, 64), np.uint8)
    alpha[:, 32:] = 255
    colours = np.where(alpha[..., None] > 0, 1000, 60_000).astype(np.uint16).repeat(3, 2)
    small = resize(Picture(colours, alpha), (20, 32))  # type: ignore[arg-type]
    assert small.alpha is not None
    assert small.pixels[:, 17:].max() < 1100  # nothing of what is transparent


def resize_exactly(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.float64]:
    exact: npt.NDArray[np.float64] = values.reshape(20, 2, 32, 2, 3).mean((1, 3), dtype=np.float64)
    return exact
