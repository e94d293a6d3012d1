"""Pictures that stay in files: which can be mapped, and that they are painted as others are."""

import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from impasto import Picture, images, load_style, stylize, tiff
from impasto.errors import ImageError
from impasto.images import read_picture, write_image
from impasto.large import Limit
from impasto.mapped import empty_like, is_mapped, memory_bytes, read_mapped, release
from impasto.recipes import read_recipe
from impasto.stylize import plans_of
from profilemaker import display_p3
from test_cli_large import call
from test_large import scene

Make = Callable[[int, int], npt.NDArray[np.uint8]]


def deep(height: int, width: int) -> npt.NDArray[Any]:
    return (scene(height, width).astype(np.uint16) * 257) ^ 5


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("make", [scene, deep])
def test_what_was_written_is_mapped(make: Make, big: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one strip and of many, as TIFF and as BigTIFF, which Pillow reads too."""
    if big:
        monkeypatch.setattr(tiff, "LARGEST", 100)
    pixels = make(37, 53)
    for strip in (1 << 20, 200):
        monkeypatch.setattr(tiff, "STRIP", strip)
        write_image(tmp_path / "a.tif", Picture(pixels, dpi=300.0))
        found = read_mapped(tmp_path / "a.tif")
        assert is_mapped(found.pixels)
        assert (found.pixels.dtype, found.dpi, found.alpha, found.icc) == (pixels.dtype, 300.0, None, None)
        np.testing.assert_array_equal(found.pixels, pixels)
        np.testing.assert_array_equal(read_picture(tmp_path / "a.tif", deep=True).pixels, pixels)
        version = struct.unpack("<H", (tmp_path / "a.tif").read_bytes()[2:4])[0]
        assert version == (43 if big else 42)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("make", [scene, deep])
def test_alpha_and_metadata_are_written_by_strips(
    make: Make, big: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff, "STRIP", 200)
    if big:
        monkeypatch.setattr(tiff, "LARGEST", 100)
    tags = Image.Exif()
    tags[0x010F], tags[0x8769] = "Maker", {0x829A: 0.5}
    alpha = scene(37, 53, 1)[..., 0]
    write_image(tmp_path / "a.tif", Picture(make(37, 53), alpha, tags.tobytes(), 72.0, display_p3()))
    found = read_picture(tmp_path / "a.tif", deep=True, icc="keep")
    np.testing.assert_array_equal(found.pixels, make(37, 53))
    assert found.alpha is not None
    np.testing.assert_array_equal(found.alpha, alpha)
    other = cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED)  # which keeps all 16 bits of alpha
    assert other is not None
    np.testing.assert_array_equal(other[..., 3], alpha if make is scene else alpha * np.uint16(257))
    assert (found.dpi, found.icc) == (72.0, display_p3())
    kept = Image.Exif()
    kept.load(found.exif)
    assert kept[0x010F] == "Maker"
    assert kept.get_ifd(0x8769)[0x829A] == 0.5


def saved(folder: Path, **about: Any) -> Path:
    Image.fromarray(scene(40, 50)).save(folder / "a.tif", **about)
    return folder / "a.tif"


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"compression": "tiff_lzw"}, "is compressed"),
        ({"tiffinfo": {0x0112: 6}}, "is turned"),
        ({"icc_profile": display_p3()}, "has a colour profile other than sRGB, which only --icc keep leaves"),
    ],
)
def test_what_cannot_be_mapped_is_told(about: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = saved(tmp_path, **about)
    with pytest.raises(ImageError, match=f"^cannot read {path}: it {told}.*must be an uncompressed TIFF") as caught:
        read_mapped(path)
    assert "\n" not in str(caught.value)


def test_other_colours_may_be_kept(tmp_path: Path) -> None:
    found = read_mapped(saved(tmp_path, icc_profile=display_p3()), icc="keep")
    assert found.icc == display_p3()
    np.testing.assert_array_equal(found.pixels, scene(40, 50))


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P"])
def test_other_modes_are_told(mode: str, tmp_path: Path) -> None:
    Image.fromarray(scene(40, 50)).convert(mode).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="it is not of three colours of 8 or 16 bits"):
        read_mapped(tmp_path / "a.tif")


def test_another_order_of_bytes_is_told(tmp_path: Path) -> None:
    write_image(tmp_path / "a.tif", deep(5, 6))
    data = (tmp_path / "a.tif").read_bytes()
    count = struct.unpack_from("<H", data, 8)[0]
    entries = [struct.unpack_from("<HHI4s", data, 10 + 12 * i) for i in range(count)]
    turned = [
        struct.pack(">HHI", *entry[:3]) + (entry[3] if entry[1] in (1, 2) else turn(entry[1], entry[3], entry[2]))
        for entry in entries
    ]
    other = b"MM\0*" + struct.pack(">IH", 8, count) + b"".join(turned) + data[10 + 12 * count :]
    bits = next(struct.unpack("<I", entry[3])[0] for entry in entries if entry[0] == 258)
    (tmp_path / "a.tif").write_bytes(other[:bits] + struct.pack(">3H", 16, 16, 16) + other[bits + 6 :])
    with pytest.raises(ImageError, match="it has another order of bytes than this machine"):
        read_mapped(tmp_path / "a.tif")


def test_strips_in_another_order_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff, "STRIP", 200)
    write_image(tmp_path / "a.tif", scene(40, 50))
    data = bytearray((tmp_path / "a.tif").read_bytes())
    entries = [struct.unpack_from("<HHII", data, 10 + 12 * i) for i in range(struct.unpack_from("<H", data, 8)[0])]
    place = next(value for tag, _, _, value in entries if tag == 273)
    one, two = struct.unpack_from("<2I", data, place)
    assert two > one
    struct.pack_into("<2I", data, place, two, one)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(ImageError, match="it does not have its rows one after another"):
        read_mapped(tmp_path / "a.tif")


def turn(kind: int, value: bytes, count: int) -> bytes:
    """An entry's value of another order of bytes."""
    if kind == 3 and count < 3:
        return struct.pack(">2H", *struct.unpack("<2H", value))
    return value[::-1]


@pytest.mark.parametrize("damage", ["cut", "empty", "nonsense", "missing", "png", "head"])
def test_a_broken_file_is_one_line(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_image(path, scene(40, 50))
    data = path.read_bytes()
    if damage == "png":
        Image.fromarray(scene(4, 5)).save(path, "png")
    else:
        path.write_bytes({"cut": data[:-1], "empty": b"", "head": data[:60]}.get(damage, b"nonsense" * 9))
    if damage == "missing":
        path.unlink()
    with pytest.raises(ImageError, match=f"^cannot read {path}: .*must be an uncompressed TIFF") as caught:
        read_mapped(path)
    assert "\n" not in str(caught.value)


def test_a_painting_is_as_the_photo_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    write_image(tmp_path / "a.tif", scene(20, 30))
    photo = read_mapped(tmp_path / "a.tif").pixels
    made = empty_like(photo)
    assert is_mapped(made)
    assert (made.shape, made.dtype) == (photo.shape, photo.dtype)
    assert [*tmp_path.iterdir()] == [tmp_path / "a.tif"]  # it has no name
    made[:] = 7
    release(made, photo, np.ones(3))
    assert (made == 7).all()
    np.testing.assert_array_equal(photo, scene(20, 30))
    assert not is_mapped(empty_like(scene(4, 4)))
    assert (memory_bytes(photo), memory_bytes(scene(4, 4)), memory_bytes(deep(4, 4))) == (0, 1, 2)


def test_what_is_in_memory_is_not_let_go(tmp_path: Path) -> None:
    """Of an array that is copied on writing the copies are nowhere else."""
    scene(20, 30).tofile(tmp_path / "a.raw")
    array = np.memmap(tmp_path / "a.raw", np.uint8, "c", shape=(20, 30, 3))
    array[:] = 7
    release(array)
    assert (array == 7).all()
    mapped = np.memmap(tmp_path / "a.raw", np.uint8, "r", shape=(20, 30, 3))
    assert (is_mapped(mapped), is_mapped(mapped[2:]), is_mapped(mapped.copy()), is_mapped(array)) == (
        True,
        True,
        False,
        False,
    )


def test_without_room_for_the_painting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.tif", scene(20, 30))
    photo = read_mapped(tmp_path / "a.tif").pixels
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    with pytest.raises(ImageError, match=r"nowhere: no temporary file of 0\.0 GB \(No such file"):
        empty_like(photo)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(ImageError, match=r"has no room for 0\.0 GB of painting; let TMPDIR name another folder"):
        empty_like(photo)


@pytest.mark.parametrize("make", [scene, deep])
def test_it_is_painted_as_in_memory(make: Make, palette: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    write_image(tmp_path / "a.tif", make(300, 420))
    how = {"tile": 200, "precision": "float32", "strength": 0.8, "stroke": 0.4}
    name = f"{palette}:one"
    painted = stylize(read_mapped(tmp_path / "a.tif"), name, **how).pixels  # type: ignore[arg-type]
    assert is_mapped(painted)
    np.testing.assert_array_equal(painted, stylize(make(300, 420), name, **how))  # type: ignore[arg-type]


@pytest.mark.parametrize("how", [{"colors": "luma"}, {"colors": "match"}, {"max_side": 300}, {"strength": 0.0}, {}])
def test_all_options_work(how: dict[str, Any], palette: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    write_image(tmp_path / "a.tif", scene(300, 420))
    mask = np.zeros((30, 42), np.uint8)
    mask[:, 20:] = 200
    rest: dict[str, Any] = {"tile": 200, "precision": "float32", "mask": mask} | how
    name = f"{palette}:one"
    painted = stylize(read_mapped(tmp_path / "a.tif"), name, **rest).pixels
    np.testing.assert_array_equal(painted, stylize(scene(300, 420), name, **rest))


def test_it_takes_no_memory_in_a_plan(palette: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.large.resident_memory", lambda: 2e8)
    monkeypatch.setattr("impasto.large.ROUGH", 200_000)
    write_image(tmp_path / "a.tif", scene(3000, 4000))
    style, limit = load_style(f"{palette}:one"), Limit(tile=400)
    photos = (read_mapped(tmp_path / "a.tif"), Picture(scene(3000, 4000)))
    plans = [plans_of(photo, [style], limit=limit, timed=False)[0] for photo in photos]
    assert plans[0].gigabytes < plans[1].gigabytes
    assert plans[0].tiles == plans[1].tiles > 4


def test_the_command_maps_what_is_too_large_to_be_read(
    palette: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, painting = tmp_path / "a.tif", tmp_path / "b.tif"
    write_image(photo, scene(300, 420))
    monkeypatch.setattr(images, "DEFAULT_MAX_PIXELS", 100_000)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    told = ["stylize", str(photo), "--style", f"{palette}:one", "--tile", "200", "--precision", "float32", "-o"]
    assert call(*told, painting) == 0
    expected = stylize(scene(300, 420), f"{palette}:one", tile=200, precision="float32")
    np.testing.assert_array_equal(read_mapped(painting).pixels, expected)
    assert read_recipe(painting)["settings"]["tile"] == 200
    again = tmp_path / "again.tif"
    assert call("redo", painting, "-o", again, "--files", palette.parent) == 0, capsys.readouterr().err
    np.testing.assert_array_equal(read_mapped(again).pixels, expected)
    capsys.readouterr()
    assert call(*told, tmp_path / "b.png") == 1
    assert "choose -o NAME.tif, or make the photo smaller" in capsys.readouterr().err
    Image.fromarray(scene(300, 420)).save(tmp_path / "a.png")
    assert call("stylize", tmp_path / "a.png", "--style", f"{palette}:one", "-o", painting) == 1
    assert "must be an uncompressed TIFF" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.tif", "again.tif", "b.tif"]
