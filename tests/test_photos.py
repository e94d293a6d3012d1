"""Training photos: where they are found, that batches depend on seed and step alone, and what broken ones do."""

import io
import logging
import os
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from impasto import photos as module
from impasto.errors import TrainingError
from impasto.photos import Batch, Crops, Photo, Prefetch, cut, find_photos


def encode(pixels: Batch, suffix: str = ".png", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, {".jpg": "JPEG"}.get(suffix, suffix[1:].upper()), **options)
    return stream.getvalue()


def flat(value: int, height: int = 40, width: int = 48) -> Batch:
    return np.full((height, width, 3), value, np.uint8)


def tinted(red: int, height: int = 40, width: int = 48) -> Batch:
    """A photo of one red, under a blue that varies."""
    pixels = noise(height, width, red)
    pixels[..., 0] = red
    return pixels


def noise(height: int, width: int, seed: int = 0) -> Batch:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def ramp(height: int, width: int) -> Batch:
    """Red says how far right and green how far down a pixel is."""
    red, green = np.linspace(0, 255, width), np.linspace(0, 255, height)
    pixels = np.zeros((height, width, 3))
    pixels[..., 0], pixels[..., 1] = red, green[:, None]
    return pixels.round().astype(np.uint8)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def numbered(folder: Path, count: int, broken: tuple[int, ...] = ()) -> list[Photo]:
    """Photos of one red each, 4 times their number; those in `broken` hold nonsense."""
    files = {f"{i:03d}.png": b"nonsense" if i in broken else encode(tinted(4 * i)) for i in range(count)}
    return find_photos(write(folder, files))


def seen(batch: Batch) -> list[int]:
    """Numbers of the photos in a batch."""
    return [int(crop[0, 0, 0]) // 4 for crop in batch]


# ------------------------------------------------------------------------------------------------- finding


def test_photos_are_found_in_nested_folders_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = ["b/x.png", "a/z.JPG", "a/b/c/y.webp", "a.jpeg", "t.tiff"]
    write(tmp_path, dict.fromkeys([*names, "notes.txt", "a/b/noise.gif.part", ".hidden.jpg", ".thumbs/x.jpg"], b""))
    (tmp_path / "folder.jpg").mkdir()
    found = [str(photo.path.relative_to(tmp_path)) for photo in find_photos(tmp_path)]
    assert found == sorted(names, key=lambda name: name.split("/"))


def test_hidden_is_only_what_is_below_the_folder(tmp_path: Path) -> None:
    assert len(find_photos(write(tmp_path / ".cache" / "photos", {"a.jpg": b""}))) == 1


def test_tar_shards_are_the_folder(tmp_path: Path) -> None:
    files = {f"d{i % 3}/{i}.png": encode(noise(40, 50, i)) for i in range(9)}
    folder = write(tmp_path / "folder", files | {"d0/._0.png": b"hidden"})
    shards = tmp_path / "shards" / "deep"
    shards.mkdir(parents=True)
    for part in range(3):
        with tarfile.open(shards / f"{part}.tar", "w") as shard:
            for path in sorted((folder / f"d{part}").iterdir()):
                shard.add(path, path.relative_to(folder))
            shard.addfile(tarfile.TarInfo("empty.txt"))
    loose, packed = find_photos(folder), find_photos(tmp_path / "shards")
    assert [p.read() for p in packed] == [p.read() for p in loose]
    assert str(packed[0]) == f"{shards / '0.tar'}:d0/0.png"
    for step in range(4):
        one, other = (Crops(found, 5).batch(step, 4 * step, 4, 32) for found in (loose, packed))
        assert np.array_equal(one, other)


def test_one_shard_or_one_photo_is_enough(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": encode(tinted(80))})
    with tarfile.open(tmp_path / "a.tar", "w") as shard:
        shard.add(tmp_path / "a.png", "a.png")
    for source in ("a.png", "a.tar"):
        assert Crops(find_photos(tmp_path / source), 0).batch(0, 0, 1, 32)[..., 0].max() == 80


@pytest.mark.parametrize("name", ["missing", "empty", "texts"])
def test_no_photos_is_one_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "texts", {"a.txt": b"x"})
    with pytest.raises(TrainingError, match="no such folder" if name == "missing" else "no photos found"):
        find_photos(tmp_path / name)


@pytest.mark.parametrize("damage", ["nonsense", "cut off"])
def test_broken_shard_is_named(tmp_path: Path, damage: str) -> None:
    with tarfile.open(tmp_path / "good", "w") as shard:
        for name in ("a.png", "b.png"):
            info = tarfile.TarInfo(name)
            info.size = 3000
            shard.addfile(info, io.BytesIO(bytes(3000)))
    data = (tmp_path / "good").read_bytes()[:2000]
    (tmp_path / "bad.tar").write_bytes(data if damage == "cut off" else b"nonsense" * 200)
    with pytest.raises(TrainingError, match=r"bad\.tar: cannot be read as a tar shard") as caught:
        find_photos(tmp_path)
    assert caught.value.__cause__ is not None


# ------------------------------------------------------------------------------------------------- crops


def test_batch_is_a_pure_function_of_seed_and_step(tmp_path: Path) -> None:
    photos = find_photos(write(tmp_path, {f"{i}.png": encode(noise(50, 40, i)) for i in range(5)}))
    steady = Crops(photos, 7)
    batches = [steady.batch(step, 3 * step, 3, 32) for step in range(6)]
    assert batches[0].shape == (3, 32, 32, 3)
    assert batches[0].dtype == np.uint8
    for step in (5, 2, 2, 0):
        assert np.array_equal(Crops(photos, 7).batch(step, 3 * step, 3, 32), batches[step])
        assert np.array_equal(steady.batch(step, 3 * step, 3, 32), batches[step])
        assert not np.array_equal(Crops(photos, 8).batch(step, 3 * step, 3, 32), batches[step])
    assert not np.array_equal(steady.batch(6, 0, 3, 32), batches[0])  # the same photos, cut otherwise


def test_batch_is_pure_with_broken_photos_between(tmp_path: Path) -> None:
    photos = numbered(tmp_path, 10, broken=(2, 3, 7))
    steady = Crops(photos, 1)
    batches = [steady.batch(step, 4 * step, 4, 32) for step in range(12)]
    for step in (11, 4, 0):
        assert np.array_equal(Crops(photos, 1).batch(step, 4 * step, 4, 32), batches[step])
        assert np.array_equal(steady.batch(step, 4 * step, 4, 32), batches[step])


@pytest.mark.parametrize("count", [1, 3, 4])
def test_every_epoch_sees_every_photo_once_in_an_order_of_its_own(tmp_path: Path, count: int) -> None:
    crops = Crops(numbered(tmp_path, 12), 3)
    order = [n for step in range(36 // count) for n in seen(crops.batch(step, count * step, count, 32))]
    epochs = [order[:12], order[12:24], order[24:]]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_broken_photo_is_replaced_logged_once_and_not_read_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crops = Crops(numbered(tmp_path, 6, broken=(4,)), 0)
    with caplog.at_level(logging.WARNING):
        order = [n for step in range(9) for n in seen(crops.batch(step, 2 * step, 2, 32))]
    assert set(order) == {0, 1, 2, 3, 5}
    assert len(order) == 18
    assert [r.getMessage().split(":")[0] for r in caplog.records] == [f"skipped {tmp_path / '004.png'}"]


@pytest.mark.parametrize("seed", range(6))
def test_one_good_photo_is_enough(tmp_path: Path, seed: int) -> None:
    """A broken photo at the end of an epoch and at the start of the next is not the end."""
    crops = Crops(numbered(tmp_path, 2, broken=(0,)), seed)
    assert seen(crops.batch(0, 0, 8, 32)) == [1] * 8


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        encode(noise(64, 64))[:3000],
        encode(noise(64, 64), ".jpg")[:1500],
        encode(noise(64, 64), ".tiff")[:300],
        encode(noise(64, 64), ".webp")[:2000],
    ],
    ids=["empty", "nonsense", "png", "jpg", "tiff", "webp"],
)
def test_every_kind_of_broken_photo_is_skipped(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, {"bad.jpg": data, "good.jpg": encode(tinted(120))})
    crops = Crops(find_photos(tmp_path), 0)
    assert crops.batch(0, 0, 4, 32)[..., 0].min() == 120
    assert crops.unreadable == {0}


def test_photo_that_vanishes_is_skipped(tmp_path: Path) -> None:
    photos = numbered(tmp_path, 3)
    photos[1].path.unlink()
    assert set(seen(Crops(photos, 0).batch(0, 0, 9, 32))) == {0, 2}


def test_decoder_that_raises_anything_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strange(data: bytes, *rest: float) -> Batch:
        if data == b"nonsense":
            raise KeyError(3)
        return cut(data, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "cut", strange)
    assert 1 not in seen(Crops(numbered(tmp_path, 3, broken=(1,)), 0).batch(0, 0, 9, 32))


def test_no_readable_photo_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="none of the 3 photos can be read"):
        Crops(numbered(tmp_path, 3, broken=(0, 1, 2)), 0).batch(0, 0, 1, 32)


def test_training_stops_when_too_many_are_broken(tmp_path: Path) -> None:
    good = Photo(write(tmp_path, {"good.png": encode(tinted(0))}) / "good.png")
    bad = Photo(tmp_path / "missing.png")
    crops = Crops([bad] * 50 + [good] * 10, 0)
    assert crops.batch(0, 0, 60, 32).shape[0] == 60  # fifty are let pass, however few there are
    assert len(crops.unreadable) == 50
    crops = Crops([bad] * 51 + [good] * 10, 0)
    with pytest.raises(TrainingError, match=r"51 of 61 photos cannot be read, the last .*missing\.png"):
        crops.batch(0, 0, 61, 32)


def test_a_tenth_of_many_may_be_broken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = Photo(tmp_path / "missing.png")
    crops = Crops([bad] * 2_000, 0)
    for index in range(200):
        crops.reject(index, OSError("gone"))
        crops.reject(index, OSError("gone"))
    with pytest.raises(
        TrainingError, match=r"^201 of 2000 photos cannot be read, .*; mend or remove them, and the same"
    ):
        crops.reject(200, OSError("gone"))
    assert len(caplog.messages) == 201


def test_how_many_were_skipped_is_told_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for broken in ((), (1, 4)):
        caplog.clear()
        with Prefetch(Crops(numbered(tmp_path, 6, broken=broken), 0)) as photos:
            photos.batch(0, 0, 6, 32)
        summed = [message for message in caplog.messages if not message.startswith("skipped")]
        assert summed == (["2 of 6 photos were skipped, since they cannot be read"] if broken else [])


def test_crop_of_one_colour_is_passed_over(tmp_path: Path) -> None:
    files = {f"{i}.png": encode(flat(200) if i % 2 else tinted(4 * i)) for i in range(6)}
    crops = Crops(find_photos(write(tmp_path, files)), 0)
    assert set(seen(crops.batch(0, 0, 24, 32))) == {0, 2, 4}
    assert not crops.unreadable


def test_one_photo_with_an_empty_corner_is_enough(tmp_path: Path) -> None:
    pixels = flat(200, 320, 320)
    pixels[:40, :40] = noise(40, 40)
    batch = Crops(find_photos(write(tmp_path, {"a.png": encode(pixels)})), 0).batch(0, 0, 32, 32)
    assert sum(crop.std() < 1 for crop in batch) > 5


def test_crops_vary_in_scale_place_and_direction(tmp_path: Path) -> None:
    photos = find_photos(write(tmp_path, {"a.png": encode(ramp(160, 240))}))
    batch = Crops(photos, 0).batch(0, 0, 64, 32).astype(int)
    mirrored = batch[:, 16, 0, 0] > batch[:, 16, -1, 0]
    assert 16 <= mirrored.sum() <= 48
    widths = abs(batch[:, 16, -1, 0] - batch[:, 16, 0, 0])  # of 255 for the photo's 240 pixels
    assert widths.min() < 45
    assert widths.max() > 135
    assert batch[:, 16, 16, 0].std() > 20
    assert batch[:, 16, 16, 1].std() > 20
    assert (batch[:, -1, 16, 1] > batch[:, 0, 16, 1]).all()  # never upside down


# ------------------------------------------------------------------------------------------------- one cut


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_zoom_goes_from_the_whole_short_side_to_the_pixels_of_the_photo(suffix: str) -> None:
    pixels = ramp(512, 768)
    data = encode(pixels, suffix)
    whole = cut(data, 64, 0.0, 0.0, 0.0, 0.0).astype(int)
    assert abs(whole[0, 0] - pixels[4, 4]).max() < 5
    assert abs(whole[-1, -1] - pixels[507, 507]).max() < 5
    near = cut(data, 64, 1 - 1e-12, 0.5, 0.5, 0.0).astype(int)
    assert abs(near - pixels[224:288, 352:416]).max() < 5


def test_close_crop_is_the_photos_own_pixels() -> None:
    pixels = noise(100, 150)
    crop = cut(encode(pixels), 32, np.nextafter(1, 0), 0.0, 0.0, 0.0)
    assert np.abs(crop.astype(int) - pixels[:32, :32]).max() <= 1


def test_large_jpeg_is_not_decoded_below_what_the_crop_needs() -> None:
    stripes = flat(0, 512, 512)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    near = cut(encode(stripes, ".jpg"), 64, np.nextafter(1, 0), 0.5, 0.5, 0.0)
    assert near.std() > 100
    assert cut(encode(stripes, ".jpg"), 64, 0.0, 0.5, 0.5, 0.0).std() < 10


def test_flip_mirrors_from_one_half() -> None:
    data = encode(noise(50, 70))
    kept, flipped = cut(data, 32, 0.5, 0.3, 0.6, 0.499), cut(data, 32, 0.5, 0.3, 0.6, 0.5)
    assert np.array_equal(flipped, kept[:, ::-1])
    assert not np.array_equal(flipped, kept)


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.sampled_from([32, 36, 64]),
    place=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 4),
    suffix=st.sampled_from([".png", ".jpg"]),
)
def test_any_photo_gives_a_crop_of_the_size(
    height: int, width: int, size: int, place: tuple[float, float, float, float], suffix: str
) -> None:
    crop = cut(encode(flat(90, height, width), suffix), size, *place)
    assert crop.shape == (size, size, 3)
    assert np.abs(crop.astype(int) - 90).max() <= 2  # nothing from outside the photo


@pytest.mark.parametrize("place", [0.0, 0.5, 1 - 2**-53])
def test_small_photo_is_enlarged_whole(place: float) -> None:
    crop = cut(encode(ramp(10, 10)), 64, 0.7, place, place, 0.0)
    assert crop[0, 0].max() < 15
    assert crop[-1, -1, :2].min() > 240


MODES = {
    ".png": ("L", "LA", "1", "P", "RGBA", "I;16"),
    ".jpg": ("L", "1", "CMYK", "YCbCr"),
    ".tiff": ("L", "LA", "1", "P", "RGBA", "CMYK", "I;16", "YCbCr"),
    ".webp": ("L", "RGBA"),
}


@pytest.mark.parametrize(("suffix", "mode"), [(suffix, mode) for suffix, modes in MODES.items() for mode in modes])
def test_every_pixel_format_becomes_rgb(mode: str, suffix: str) -> None:
    """A photo whose left half is black and whose right half is light."""
    pixels = np.zeros((48, 48, 3), np.uint8)
    pixels[:, 24:] = 255 if mode == "1" else 204  # a colour of the web's palette
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    image = Image.fromarray(grey * np.uint16(257)) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    stream = io.BytesIO()
    image.save(stream, {".jpg": "JPEG"}.get(suffix, suffix[1:].upper()))
    crop = cut(stream.getvalue(), 48, 0.0, 0.0, 0.0, 0.0).astype(int)
    assert abs(crop[:, 4] - pixels[:, 4]).max() <= 12
    assert abs(crop[:, -4] - pixels[:, -4]).max() <= 12


def test_orientation_is_applied() -> None:
    """A photo from a telephone held upright is stored lying, with a note."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise
    crop = cut(encode(ramp(64, 64), ".jpg", exif=exif), 64, 0.0, 0.0, 0.0, 0.0)
    assert crop[4, 4, 0] < 30  # red grew to the right, now downwards
    assert crop[-4, 4, 0] > 220
    assert crop[4, -4, 0] < 30


# ------------------------------------------------------------------------------------------------- prefetching


def test_prefetched_batches_are_those_of_direct_calls(tmp_path: Path) -> None:
    photos = find_photos(write(tmp_path, {f"{i}.png": encode(noise(50, 40, i)) for i in range(5)}))
    # Sizes change, and the run returns to an earlier step, as it does after a loss that is not a number.
    calls = [(0, 0, 2, 32), (1, 2, 2, 32), (2, 4, 3, 48), (3, 7, 3, 48), (1, 2, 2, 32), (2, 4, 2, 32), (9, 30, 1, 64)]
    with Prefetch(Crops(photos, 2)) as prefetch:
        for call in calls:
            assert np.array_equal(prefetch.batch(*call), Crops(photos, 2).batch(*call))
            assert len(prefetch.pending) < 12


class Slow(Crops):
    """Crops that note their steps and can be made to fail or wait."""

    def __init__(self, fail_at: int = -1) -> None:
        super().__init__([], 0)
        self.steps: list[int] = []
        self.fail_at = fail_at
        self.gate = threading.Event()
        self.gate.set()

    def batch(self, step: int, first: int, count: int, size: int) -> Batch:
        assert threading.current_thread().name.startswith("impasto-photos")
        self.gate.wait(20)
        self.steps.append(step)
        if step == self.fail_at:
            raise TrainingError("too many")
        return np.full((count, size, size, 3), first, np.uint8)


def test_coming_batches_are_made_ahead_and_only_once() -> None:
    crops = Slow()
    with Prefetch(crops, 1, ahead=2) as prefetch:
        prefetch.batch(0, 0, 1, 4)
        deadline = time.monotonic() + 20
        while len(crops.steps) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert crops.steps == [0, 1, 2]
        for step in range(1, 6):
            assert prefetch.batch(step, step, 1, 4)[0, 0, 0, 0] == step
    assert sorted(set(crops.steps)) == sorted(crops.steps)


def test_several_threads_make_batches_at_once() -> None:
    class Meeting(Crops):
        def __init__(self) -> None:
            super().__init__([], 0)
            self.barrier = threading.Barrier(3)

        def batch(self, step: int, first: int, count: int, size: int) -> Batch:
            if step < 3:
                self.barrier.wait(20)
            return np.full((count, size, size, 3), first, np.uint8)

    with Prefetch(Meeting(), 3) as prefetch:
        assert [prefetch.batch(step, step, 1, 4)[0, 0, 0, 0] for step in range(5)] == [0, 1, 2, 3, 4]


def test_error_in_the_thread_comes_with_its_step() -> None:
    with Prefetch(Slow(fail_at=2), 1) as prefetch:
        prefetch.batch(0, 0, 1, 4)
        prefetch.batch(1, 1, 1, 4)
        with pytest.raises(TrainingError, match="too many"):
            prefetch.batch(2, 2, 1, 4)


def alive() -> list[str]:
    """Names of the threads of prefetching."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("impasto-photos")]


def test_closing_waits_for_the_batch_at_work_and_drops_the_others() -> None:
    crops = Slow()
    with Prefetch(crops, 1, ahead=8) as prefetch:
        prefetch.batch(0, 0, 1, 4)
        while len(crops.steps) < 9:
            time.sleep(0.001)
        crops.gate.clear()
        prefetch.batch(1, 1, 1, 4)  # is there already, and begins step 9, which waits
        prefetch.pool.submit(crops.batch, 99, 0, 1, 4)
        threading.Timer(0.1, crops.gate.set).start()
    assert not alive()
    assert crops.steps in (list(range(9)), list(range(10)))  # begun or not


def test_leaving_by_an_error_closes_too(tmp_path: Path) -> None:
    crops = Crops(numbered(tmp_path, 3), 0)

    def train() -> None:
        with Prefetch(crops) as prefetch:
            prefetch.batch(0, 0, 1, 32)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert not alive()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_photo_without_permission_is_skipped(tmp_path: Path) -> None:
    photos = numbered(tmp_path, 3)
    photos[1].path.chmod(0)
    assert set(seen(Crops(photos, 0).batch(0, 0, 9, 32))) == {0, 2}
