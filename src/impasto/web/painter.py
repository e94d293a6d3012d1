"""Pictures from bytes: uploads decoded in processes that may die, painted in one that is kept warm.

One process paints, one picture after another: a picture keeps every processor busy, so that several at once, or a
batch of them, take as long in all and more memory. What is gained is gained beside it: the next upload is decoded, and
the last answer sent, while a picture is painted.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import impasto
from impasto.paintings import STATISTICS, engines_folder
from impasto.web.metrics import Metrics
from impasto.web.options import MEDIA_TYPES, PAINTING, Options, hash_now
from impasto.web.refusal import Refusal, too_large
from impasto.web.settings import ServeConfig
from impasto.web.turns import Turns
from impasto.web.workers import Processes, WorkerDiedError

Gone = Callable[[], Awaitable[bool]]
"""Whether who asked has left."""
AT_ONCE = 3
"""Pictures that are worked on: one is decoded, one is painted, one is sent on its way."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels of an upload: RGB, then alpha where it has one; of a mask its lightness."""

    data: bytearray
    height: int
    width: int
    alpha: bool

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclass(frozen=True, slots=True)
class Painted:
    """A painted picture's file."""

    data: bytes
    media_type: str
    height: int
    width: int
    seconds: float
    """That it took, waiting left out."""


class UnknownPaintingError(Exception):
    """The process that paints does not have a painting's statistics, or not any more."""


class Painter:
    """The processes that decode and paint, and the queue before them."""

    def __init__(self, settings: ServeConfig, metrics: Metrics, processes: Processes) -> None:
        self.settings = settings
        self.metrics = metrics
        self.turns = Turns(AT_ONCE, settings.queue)
        self.processes = processes
        self.decoders, self.brush = processes.decoders, processes.brush
        self.is_ready = False

    async def start(self) -> None:
        """Start the processes; returns when a picture can be painted."""
        await asyncio.gather(asyncio.to_thread(self.brush.start), asyncio.to_thread(self.decoders.start))
        self.is_ready = True

    def close(self) -> None:
        """End the processes."""
        self.is_ready = False
        self.processes.close()

    async def _ask(self, kind: str, data: bytes, limit: int, **asked: Any) -> tuple[dict[str, Any], bytearray]:
        """What a process says of an upload."""
        try:
            head, payload = await self.decoders.call(
                {"kind": kind, **asked}, data, seconds=self.settings.decode_seconds, limit=limit
            )
        except WorkerDiedError as error:
            self.metrics.crashes.labels("decode").inc()
            raise crashed(f"the {kind} cannot be decoded within the limits of this server") from error
        if "error" in head:
            status = 413 if head.get("code") == "too_large" else 422
            raise Refusal(status, str(head.get("code")), f"the {kind} cannot be read: {head['error']}")
        return head, payload

    async def probe(self, path: Path) -> dict[str, Any]:
        """Height, width, seconds and frames that a video states; raises Refusal where it is none, or harmful."""
        head, _ = await self._ask("video", b"", 0, path=str(path))
        return head

    async def decode(self, data: bytes, kind: str = "photo") -> Decoded:
        """Pixels of an upload; raises Refusal where it is no picture, too large, or harmful."""
        if len(data) > self.settings.upload_bytes:
            raise too_large(f"the {kind}", f"{self.settings.upload_mb:g} MB")
        limits = {"max_pixels": self.settings.pixels, "max_side": self.settings.max_side}
        head, pixels = await self._ask(kind, data, 4 * self.settings.pixels, **limits)
        decoded = Decoded(pixels, int(head["height"]), int(head["width"]), bool(head["alpha"]))
        channels = 1 if kind == "mask" else 3 + decoded.alpha
        if len(pixels) != decoded.height * decoded.width * channels:
            raise crashed(f"the {kind} cannot be decoded")
        return decoded

    async def paint(
        self,
        photo: bytes,
        options: Options,
        mask: bytes | None = None,
        painting: bytes | None = None,
        gone: Gone | None = None,
    ) -> Painted:
        """Paint an upload, when its turn has come.

        `painting`: the style, where the options have an engine. `gone`: tells whether who asked still waits, so that
        nothing is painted for nobody.

        Raises:
            Refusal: The queue is full, the upload cannot be used, or the picture not be painted.

        """
        async with self.turns.turn(len(photo) / 1e6):
            if gone is not None and await gone():
                raise Refusal(499, "gone", "nobody waits for the picture any more")
            start = time.perf_counter()
            decoded = await self.decode(photo)
            masked = None if mask is None else await self.decode(mask, "mask")
            asked = asked_of(options, decoded, masked, recipe_of(options, photo, mask, painting))
            try:
                head, data = await self._brush(asked, decoded, masked)
            except UnknownPaintingError:
                head, data = await self._brush(asked, decoded, masked, await self.decode(painting or b"", PAINTING))
            seconds = time.perf_counter() - start
            self.metrics.painting.observe(seconds)
            return Painted(bytes(data), MEDIA_TYPES[options.format], head["height"], head["width"], seconds)

    async def _brush(
        self, asked: Mapping[str, Any], photo: Decoded, mask: Decoded | None, painting: Decoded | None = None
    ) -> tuple[dict[str, Any], bytearray]:
        """What is painted; raises UnknownPaintingError where the pixels of the painting are needed for it."""
        payload = [given.data for given in (photo, mask, painting) if given is not None]
        asked = {**asked, "painting_size": None if painting is None else painting.size}
        try:
            head, data = await self.brush.call(
                asked, *payload, seconds=self.settings.timeout, limit=8 * self.settings.pixels + (1 << 20)
            )
        except WorkerDiedError as error:
            self.metrics.crashes.labels("paint").inc()
            raise Refusal(500, "crashed", "the picture could not be painted; try a smaller one") from error
        if "unknown" in head:
            raise UnknownPaintingError
        self.metrics.painter_memory.set(head.get("memory", 0))
        if head.get("memory", 0) > self.settings.painter_gb * 1e9:
            await asyncio.to_thread(self.brush.retire)
        if "error" in head:
            raise Refusal(422, "unpaintable", head["error"])
        return head, data


def asked_of(options: Options, photo: Decoded, mask: Decoded | None, recipe: dict[str, Any]) -> dict[str, Any]:
    """What the process that paints is told of a picture, but for the size of the painting that it may need."""
    return {
        "file": str(options.file),
        "painting": recipe["files"].get(PAINTING),
        "weights": dict(options.weights),
        "options": options.arguments,
        "format": options.format,
        "quality": options.quality,
        "size": photo.size,
        "alpha": photo.alpha,
        "mask_size": None if mask is None else mask.size,
        "recipe": recipe,
    }


def crashed(what: str) -> Refusal:
    """Refusal of the request whose process died."""
    return Refusal(422, "crashed", what)


def recipe_of(options: Options, photo: bytes, mask: bytes | None, painting: bytes | None) -> dict[str, Any]:
    """How a picture is made, as `impasto redo` reads it: its files are called as those of a request."""
    uploads = {"photo": photo, "mask": mask, PAINTING: painting}
    files = {name: hashlib.sha256(data).hexdigest() for name, data in uploads.items() if data is not None}
    files[options.file.name] = hash_now(options.file)
    style: dict[str, Any] = {"style": options.file.name, "weights": dict(options.weights)}
    if options.engine:
        style = {"paintings": dict(options.weights), "engine": options.engine}
        files[STATISTICS] = hash_now(engines_folder() / STATISTICS)
    named = {"photo": "photo", **style, "mask": "mask" if mask else None}
    defaults = {"device": "auto", "precision": "auto"}
    settings = {**named, **options.arguments, **defaults}
    return {"impasto": impasto.__version__, "engine": "stylize", "settings": settings, "files": files}
