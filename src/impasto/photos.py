"""Training photos: a folder, nested or flat, or tar shards, as random crops that depend on seed and step alone.

Batches are a pure function of (seed, step), so a resumed run sees what an uninterrupted one would have seen.
"""

import logging
import math
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from impasto.errors import TrainingError
from impasto.hidden import seen
from impasto.images import READ_SUFFIXES, image_size, read_picture

BAD_SHARE, BAD_COUNT = 0.1, 50
"""Training stops when more photos than both of these cannot be read: then it is no folder of photos, or no disk."""

MOST_THREADS = 8
"""That make batches of crops."""
FLAT = 2.0
"""Deviation, of 255, below which a crop is of one colour, and passed over."""

Batch = npt.NDArray[np.uint8]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Photo:
    """Where a photo's bytes are: a file, or `size` bytes at `offset` of a tar shard."""

    path: Path
    offset: int = 0
    size: int = -1
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    def read(self) -> bytes:
        """Bytes of the photo; raises OSError."""
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


def find_photos(folder: Path) -> list[Photo]:
    """Photos under `folder` and in its .tar shards, in the order of their names; raises TrainingError without any.

    What is hidden, or in a hidden folder, is left out: thumbnails and other programs' notes.
    """
    if not folder.exists():
        raise TrainingError(f"{folder}: no such folder of photos")
    files = sorted(p for p in folder.rglob("*") if not hidden(p.relative_to(folder))) if folder.is_dir() else [folder]
    photos = [photo for path in files for photo in list_photos(path)]
    if not photos:
        raise TrainingError(f"{folder}: no photos found; expected {', '.join(sorted(READ_SUFFIXES))} or .tar files")
    return photos


def hidden(path: Path) -> bool:
    """Whether a name on the path begins with a dot."""
    return any(part.startswith(".") for part in path.parts)


def list_photos(path: Path) -> Iterator[Photo]:
    """Photos that a file is or holds: itself, a tar shard's members, or none."""
    if path.suffix.lower() in READ_SUFFIXES and path.is_file():
        yield Photo(path)
    elif path.suffix.lower() == ".tar" and path.is_file():
        try:
            with tarfile.open(path, "r:") as shard:
                for m in shard:
                    if m.isfile() and Path(m.name).suffix.lower() in READ_SUFFIXES and not hidden(Path(m.name)):
                        yield Photo(path, m.offset_data, m.size, m.name)
        except (tarfile.TarError, OSError) as error:
            raise TrainingError(f"{path}: cannot be read as a tar shard ({error}); repack or remove it") from error


class Crops:
    """Random square crops of photos, flipped or not, at random scales."""

    def __init__(self, photos: list[Photo], seed: int, *, share: tuple[int, int] = (0, 1)) -> None:
        self.photos = photos
        self.seed = seed
        self.part, self.parts = share
        self.unreadable: set[int] = set()

    def batch(self, step: int, first: int, count: int, size: int) -> Batch:
        """Crops `first` to `first + count` of the run, those of step `step`: uint8 (count, size, size, 3).

        With a `share` (part, parts), only that part of them, of as many equal ones.
        An unreadable photo is logged once and the next in line takes its place, as it does of a crop of one colour.

        Raises:
            TrainingError: More than a tenth of the photos, and more than 50, cannot be read, or none can.

        """
        drawn = np.random.default_rng((self.seed, step)).random((count, 4))
        each = count // self.parts
        own = range(self.part * each, (self.part + 1) * each)
        return np.stack([self.crop(first + i, size, *drawn[i]) for i in own])

    def crop(self, position: int, size: int, zoom: float, across: float, down: float, flip: float) -> Batch:
        """A crop of the photo at `position` of the endless sequence, which shuffles anew in every epoch."""
        epoch, place = divmod(position, len(self.photos))
        order = permutation(len(self.photos), self.seed, epoch)
        flat: Batch | None = None
        for index in map(int, chain(order[place:], order[:place])):
            if index in self.unreadable:
                continue
            try:
                crop = cut(self.photos[index].read(), size, zoom, across, down, flip)
            except Exception as error:  # noqa: BLE001 - over broken bytes a decoder may raise anything
                self.reject(index, error)
            else:
                if not is_flat(crop):
                    return crop
                flat = crop
        if flat is not None:
            return flat  # few photos may all happen to be cut where they are empty
        raise TrainingError(f"none of the {len(self.photos)} photos can be read, {self.photos[0]} for one")

    def reject(self, index: int, error: Exception) -> None:
        """Note a photo that cannot be read, and stop when they are too many."""
        if index in self.unreadable:  # another thread was faster
            return
        self.unreadable.add(index)
        bad = len(self.unreadable)
        log.warning("skipped %s: %s", self.photos[index], error)
        if bad > BAD_COUNT and bad > BAD_SHARE * len(self.photos):
            raise TrainingError(
                f"{bad} of {len(self.photos)} photos cannot be read, the last {self.photos[index]}: {error}; "
                "mend or remove them, and the same command goes on"
            )

    def tell(self) -> None:
        """Sum up how many photos were skipped, if any."""
        if self.unreadable:
            log.warning(
                "%d of %d photos were skipped, since they cannot be read", len(self.unreadable), len(self.photos)
            )


@lru_cache(maxsize=8)
def permutation(count: int, *key: int) -> npt.NDArray[np.int64]:
    """Order of so many things, which depends on the key alone: a seed, an epoch."""
    return np.random.default_rng((*key, count)).permutation(count)


def is_flat(crop: Batch) -> bool:
    """Whether a crop (size, size, 3) is of one colour: instance normalisation's gradient explodes on it."""
    return bool(crop.std((0, 1)).max() < FLAT)


def cut(data: bytes, size: int, zoom: float, across: float, down: float, flip: float) -> Batch:
    """Decode and cut a square to uint8 (size, size, 3); of a large JPEG a reduced image is decoded.

    All in [0, 1): `zoom` from the whole short side to the photo's own pixels, `across` and `down` the place, `flip`
    from one half mirrors. A photo smaller than `size` is enlarged.
    """
    side = size * max(1.0, min(image_size(data)) / size) ** zoom  # short side of the photo when the crop is `size`
    picture = read_picture(data, shrink_to=math.ceil(side))
    rgb = Image.fromarray(seen(picture.pixels, picture.alpha))
    edge = min(rgb.size) * size / side
    left, top = across * (rgb.width - edge), down * (rgb.height - edge)
    box = (left, top, left + edge, top + edge)
    crop = rgb.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)
    return np.asarray(ImageOps.mirror(crop) if flip >= 0.5 else crop)


class Prefetch:
    """Makes the batches of coming steps in threads while the current one trains; close it, or use it in `with`."""

    def __init__(self, crops: Crops, threads: int | None = None, *, ahead: int | None = None) -> None:
        # One on two cores; where there are many, a GPU probably takes a batch in less time than a core makes it in.
        threads = threads or max(1, min(MOST_THREADS, (os.cpu_count() or 1) - 1))
        self.crops = crops
        self.ahead = ahead or 3 * threads
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="impasto-photos")
        self.pending: dict[tuple[int, int, int, int], Future[Batch]] = {}

    def batch(self, step: int, first: int, count: int, size: int) -> Batch:
        """Batch of this step, as `Crops.batch`; those that probably follow are begun."""
        for i in range(self.ahead + 1):
            key = (step + i, first + i * count, count, size)
            if key not in self.pending:
                self.pending[key] = self.pool.submit(self.crops.batch, *key)
        result = self.pending.pop((step, first, count, size)).result()
        for key in [k for k in self.pending if k[0] <= step or k[2:] != (count, size)]:
            self.pending.pop(key).cancel()
        return result

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)
        self.crops.tell()
