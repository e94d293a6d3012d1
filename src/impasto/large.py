"""Pictures larger than the memory for them: planned, measured on a sample, and painted by tiles that agree.

Tiles share the statistics that the network takes of a picture (see graphs.py). Those are measured jointly on crops that
are spread over the whole picture at full resolution, or on all of a small one; then every tile is painted with them.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from impasto import graphs
from impasto.errors import DeviceError, StyleError
from impasto.images import from_network, to_network
from impasto.mapped import empty_like, release
from impasto.memory import free_memory, resident_memory
from impasto.needs import needs_of
from impasto.runtimes import OpenVINORuntime, TorchRuntime
from impasto.samples import calibrated, spread
from impasto.tiles import even_tiles
from impasto.views import View, strips

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    import numpy.typing as npt

    from impasto.images import DeepPixels, Floats
    from impasto.needs import Needs
    from impasto.runtimes import Runtime
    from impasto.specs import StyleSpec
    from impasto.styles import Style
    from impasto.tiles import Tile

    Size = tuple[int, int]

FREE_SHARE = 0.25
"""Of the memory that is free, which may be taken unless it is said how much."""
ALWAYS_WHOLE = 2_000_000
"""Pixels of a picture that is not painted by tiles unless memory or tiles are asked for."""
SAMPLE, SAMPLE_TILES = (2_000_000, 8_000_000), 2
"""Pixels of the crops that are measured, at least and at most, and in tiles."""
SMALLEST, LARGEST = 128, 2048
"""Sides in pixels of a tile's core that is worth its margins, and of a window beyond which nothing is won."""
HALO = (24, 32)
"""Pixels at the border of a crop that do not count, at least and at most: a third of what a pixel sees.

More and smaller crops are better than fewer whose borders see less that is not there.
"""
ROUNDS, ROUGH = 5, 500_000
"""Rounds up to which statistics are taken of all of the picture, and pixels of the crops that are measured before."""
CROP = 5
"""Side of a crop in such borders."""
FEWEST = 9
"""Crops that are a sample; where there is not room for so many, a picture is measured whole."""
COMPILED = 1.1e8
"""Bytes that two compiled networks take, and what compiles them."""
OUTER = 6
"""Values a pixel of a network's input and output, which stay float32 whatever the arithmetic."""
SLACK = {"painting": 1.4, "measuring": 1.6}
"""Measured memory over what a graph's values take, of what is between those."""
REDUCED = 8, 1_000_000
"""Times that a picture is reduced at least, and pixels at most, to know what a sample of it misses."""
GPU_SLACK, GPU_APART = 1.25, 3e8
"""Memory over what tensors take, of a GPU's network, and bytes beside: cuDNN's own. Guessed, for want of a GPU."""
PROBE = 512
"""Side in pixels of the pictures that are painted to foretell the seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """What painting may take."""

    memory: float | None = None
    """Bytes of the whole process; a quarter of what is free beside what it has unless given."""
    tile: int | None = None
    """Side of the tiles in pixels, margins included; as large as fits the memory unless given."""
    taken: float | None = None
    """Bytes of it that are there before, the photo's too, unless it is to be asked what the process has."""

    @property
    def given(self) -> bool:
        """Whether tiles are wanted by a word of the caller's."""
        return self.memory is not None or self.tile is not None

    @property
    def bytes(self) -> float:
        """The memory in numbers."""
        return resident_memory() + FREE_SHARE * free_memory() if self.memory is None else self.memory


WHOLE = Limit(tile=1 << 30)
"""Of what is never painted by tiles, as the frames of a video, whose pictures must not differ in how they are made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What painting a picture will do and take."""

    size: Size
    """Height and width of what the network paints."""
    side: int
    """Of a tile in pixels, margins included; at least the picture's long side where it goes whole."""
    tiles: int
    sample: int
    """Pixels that are measured before; 0 where the picture goes whole."""
    gigabytes: float
    """Memory of the process at most, about."""
    seen: float
    """Pixels that the network paints in all, margins included."""
    rounds: int = 0
    """Times that all of the picture is measured after the sample, tile by tile."""
    seconds: float = 0.0
    """In all, about, where they were foretold."""

    @property
    def tiled(self) -> bool:
        """Whether tiles, and be it only one, are painted with statistics that were measured before."""
        return self.sample > 0


def make_plan(photo: Size, canvas: Size, style: Style, runtime: Runtime, limit: Limit, depth: int = 1) -> Plan:
    """Plan for a photo (height, width) of which the network paints a `canvas`; `depth` is bytes a value of the photo.

    Of one that is in a file, `depth` is 0: it takes no memory.

    Raises:
        DeviceError: The memory does not suffice.
        StyleError: Tiles are asked for, and the network cannot be shared by tiles.

    """
    whole = Plan(size=canvas, side=max(canvas), tiles=1, sample=0, gigabytes=0.0, seen=float(math.prod(canvas)))
    if isinstance(runtime, TorchRuntime):
        return plan_on_gpu(photo, canvas, style, runtime, limit, whole)
    if not isinstance(runtime, OpenVINORuntime) or (not limit.given and math.prod(canvas) <= ALWAYS_WHOLE):
        return whole
    try:
        needs = needs_of(style.data, style.source)
    except StyleError:
        if limit.given:
            raise
        return whole
    pixels, taken = math.prod(photo), resident_memory() if limit.taken is None else limit.taken
    entire = math.prod(canvas) * held(needs, runtime) + pixels * (14 if canvas != photo else 6) * depth
    if (limit.tile is None and taken + entire <= limit.bytes) or (limit.tile or 0) >= max(canvas):
        return replace(whole, gigabytes=(taken + entire) / 1e9)
    costs = held(needs, runtime), measuring_bytes(needs)
    return tiled(photo, canvas, style, needs, costs, limit, taken + COMPILED, depth)


def plan_on_gpu(photo: Size, canvas: Size, style: Style, runtime: TorchRuntime, limit: Limit, whole: Plan) -> Plan:
    """As `make_plan`, where the memory is a GPU's, and only tiles and what is measured are in it.

    Where even the smallest tiles need more than there is, they are the plan: that is tried before the CPU is.
    """
    pixels, by_tiles = math.prod(canvas), limit.tile is not None and limit.tile < max(canvas)
    if limit.tile is not None and not by_tiles and pixels < runtime.full:
        return whole
    cost = GPU_SLACK * runtime.held(style.spec)
    room = max(0.0, min(runtime.room(), limit.memory or math.inf) - GPU_APART)
    if not by_tiles and pixels < runtime.full and pixels * cost <= room:
        return replace(whole, gigabytes=(pixels * cost + GPU_APART) / 1e9)
    try:
        needs = needs_of(style.data, style.source)
    except StyleError:
        if by_tiles or limit.memory is not None:
            raise
        return whole
    fits = min(room / (SAMPLE_TILES * cost), runtime.full / 4, LARGEST**2)  # of what ran out, half the side
    side = math.isqrt(int(fits))
    tile = max(1, min(side, limit.tile or side))
    return tiled(photo, canvas, style, needs, (cost, cost), Limit(memory=room, tile=tile), GPU_APART, 0)


def tiled(
    photo: Size,
    canvas: Size,
    style: Style,
    needs: Needs,
    costs: tuple[float, float],
    limit: Limit,
    taken: float,
    depth: int,
) -> Plan:
    """Plan of tiles: `costs` are bytes a pixel of a tile and of what is measured, `taken` bytes that are there."""
    cost, measured = costs
    margin, grid = margin_of(needs, photo, canvas), grid_of(needs, style)
    painted, room = 3.0 * depth * math.prod(photo), limit.bytes - taken
    least, swept = least_side(margin, grid), 0 < needs.rounds <= ROUNDS

    def needed(window: int, sample: int) -> float:
        return max(painted + window * cost, max(sample, window if swept else 0) * measured)

    if limit.tile is None and room < (wanted := needed(least**2, sample_of(least, canvas, swept=swept))):
        height, width = photo
        raise DeviceError(
            f"a picture of {width} x {height} needs some {(taken + wanted) / 1e9:.1f} GB by the smallest tiles, and "
            f"{limit.bytes / 1e9:.1f} may be used; allow more --memory, or reduce it by --max-side"
        )
    tiles = 1 if swept else SAMPLE_TILES
    fits = max(0, int(min((room - painted) / cost, room / (tiles * measured))))
    side = limit.tile or min(max(LARGEST, least), max(least, math.isqrt(fits)))
    parts = even_tiles(*padded(canvas, style, grid), max(side, least) // grid * grid, margin, grid)
    window, sample = area(parts[0]), sample_of(side, canvas, swept=swept)
    most, seen = taken + needed(window, sample), float(len(parts) * window)
    rounds = needs.rounds if swept and sample < math.prod(canvas) else 0
    return Plan(size=canvas, side=side, tiles=len(parts), sample=sample, gigabytes=most / 1e9, seen=seen, rounds=rounds)


def least_side(margin: int, grid: int) -> int:
    """Side in pixels of the smallest window that is worth its margins."""
    return SMALLEST + 2 * margin + 2 * grid


def sample_of(side: int, canvas: Size, *, swept: bool) -> int:
    """Pixels that are measured for tiles of a side: of nothing else, so that the same tiles paint the same."""
    return min(math.prod(canvas), ROUGH if swept else min(SAMPLE[1], max(SAMPLE[0], SAMPLE_TILES * side**2)))


def held(needs: Needs, runtime: Runtime) -> float:
    """Bytes a pixel of a tile, about."""
    each = 2 if runtime.precision == "bfloat16" else 4
    return 4 * OUTER + SLACK["painting"] * each * max(0.0, needs.values - OUTER) + OUTER


def measuring_bytes(needs: Needs) -> float:
    """Bytes a pixel of what is measured, about: as of float32, whatever the arithmetic."""
    return 4 * SLACK["measuring"] * needs.measured


def margin_of(needs: Needs, photo: Size, canvas: Size) -> int:
    """Pixels around a tile of the canvas that its painting, resized to the photo, depends on."""
    if photo == canvas:
        return needs.margin
    return needs.margin + math.ceil(3 * max(1.0, *(c / p for c, p in zip(canvas, photo, strict=True)))) + 2


def grid_of(needs: Needs, style: Style) -> int:
    """Pixels of which windows begin at multiples."""
    return math.lcm(needs.stride, style.spec.multiple)


def padded(canvas: Size, style: Style, grid: int) -> Size:
    """Height and width of the picture that is reflected outwards to what the network needs."""
    height, width = (-(-max(side, style.spec.min_size) // grid) * grid for side in canvas)
    return height, width


def area(tile: Tile) -> int:
    """Pixels of a tile's window."""
    top, bottom, left, right = tile.window
    return (bottom - top) * (right - left)


class Tiler:
    """A picture, its style and rows, ready to be painted by a plan of tiles."""

    def __init__(self, photo: DeepPixels, style: Style, runtime: Runtime, rows: Sequence[Floats], plan: Plan) -> None:
        self.photo, self.style, self.runtime, self.rows, self.plan = photo, style, runtime, rows, plan
        self.size: Size = (photo.shape[0], photo.shape[1])
        needs = needs_of(style.data, style.source)
        self.grid, self.margin = grid_of(needs, style), margin_of(needs, self.size, plan.size)
        halo = min(max(needs.margin // 3, HALO[0]), HALO[1])
        self.halo = -(-halo // self.grid) * self.grid
        self.view = View(photo, self.size)
        self.precision = runtime.precision if runtime.precision in ("float32", "bfloat16") else "auto"
        self.more: tuple[Floats, ...] = ()
        """What the network that paints takes beside the image."""

    def tiles(self) -> list[Tile]:
        """Tiles of the plan."""
        side = max(self.plan.side, least_side(self.margin, self.grid)) // self.grid * self.grid
        return even_tiles(*padded(self.plan.size, self.style, self.grid), side, self.margin, self.grid)

    def shown(self, window: tuple[int, int, int, int]) -> DeepPixels:
        """A window of what the network paints, reflected where it is beyond the picture's end."""
        top, bottom, left, right = window
        height, width = self.plan.size
        part = self.view.at(self.plan.size, (top, min(bottom, height), left, min(right, width)))
        beyond = (max(0, bottom - height), max(0, right - width))
        made: DeepPixels = (
            np.pad(part, ((0, beyond[0]), (0, beyond[1]), (0, 0)), mode="reflect") if any(beyond) else part
        )
        return made

    def measure(self) -> list[Floats]:
        """Statistics of the picture: of all of it where the plan says so, else of crops spread over it."""
        height, width = padded(self.plan.size, self.style, self.grid)
        side = CROP * self.halo
        count = self.plan.sample // side**2
        if self.plan.sample >= math.prod(self.plan.size) or min(height, width) < side or count < FEWEST:
            whole = to_network(self.shown((0, height, 0, width)))
            return self.measured(whole, np.ones((1, 1, height, width), np.float32))
        places = [
            (top // self.grid * self.grid, left // self.grid * self.grid)
            for top, left in spread(height - side, width - side, count)
        ]
        crops = np.empty((len(places), 3, side, side), np.float32)
        for number, (top, left) in enumerate(places):
            crops[number] = to_network(self.shown((top, top + side, left, left + side)))[0]
        counts = np.zeros((len(places), 1, side, side), np.float32)
        inner = slice(self.halo, side - self.halo)
        counts[:, :, inner, inner] = self.weights(places, side)[:, None, None, None] * len(places)
        found = self.measured(crops, counts)
        return self.swept(found) if self.plan.rounds else found

    def weights(self, places: Sequence[Size], side: int) -> Floats:
        """Shares of the crops at places (top, left), by which the sample has the picture's colours."""
        height, width = self.plan.size
        scale = max(float(REDUCED[0]), math.sqrt(height * width / REDUCED[1]))
        size = max(1, round(height / scale)), max(1, round(width / scale))
        reduced = self.view.at(size, (0, size[0], 0, size[1]))
        inside = [(top + self.halo, left + self.halo) for top, left in places]
        return calibrated(reduced, scale, inside, side - 2 * self.halo)

    def measured(self, crops: Floats, counts: Floats) -> list[Floats]:
        """Statistics of crops (N, 3, H, W) whose pixels count so much, (N, 1, H, W)."""
        model = graphs.measuring(self.style.data, self.style.source)
        if model is None:
            return []
        network = OpenVINORuntime(model, self.runtime.device.upper(), self.precision)
        return [np.array(value) for value in network.infer(crops, *self.rows, counts)]

    def swept(self, statistics: Sequence[Floats]) -> list[Floats]:
        """Statistics of all of the picture, round after round by all tiles, given about what they are."""
        found, parts = [*statistics], self.tiles()
        top, bottom, left, right = parts[0].window
        shape = (1, 3, bottom - top, right - left)
        order = needs_of(self.style.data, self.style.source).statistics
        for turn in range(1, 1 + max(turn for turn, _ in order)):
            model = graphs.sweeping(self.style.data, self.style.source, found, shape, turn)
            network = OpenVINORuntime(model, self.runtime.device.upper(), self.precision)
            sums = summed(self.parts_of(tile, network) for tile in parts)
            places = [place for place, (own, _) in enumerate(order) if own == turn]
            about = {place: found[place] for place in places}
            for place, value in zip(places, sums, strict=True):
                mean = order[place][1]
                found[place] = value if mean is None else value - outer(found[mean] - about[mean], value.shape)
        return found

    def parts_of(self, tile: Tile, network: OpenVINORuntime) -> list[Floats]:
        """What a tile's core adds to the outputs of a sweeping network."""
        top, bottom, left, right = tile.window
        counts = np.zeros((1, 1, bottom - top, right - left), np.float32)
        counts[:, :, *tile.features(1)] = 1
        found = network.infer(to_network(self.shown(tile.window)), *self.rows, counts)
        release(self.photo)
        return found

    def painter(self, statistics: Sequence[Floats], shape: Size) -> Runtime:
        """Network whose statistics and rows are constants, for windows of one shape."""
        rounded = self.precision != "float32"
        model = graphs.painting(
            self.style.data, self.style.source, statistics, self.rows, (1, 3, *shape), rounded=rounded
        )
        self.more = (np.ones((), np.float32),) if rounded else ()
        return OpenVINORuntime(model, self.runtime.device.upper(), self.precision)

    def paint(self, kept: float = 0.0) -> npt.NDArray[Any]:
        """The painting, of the photo's size and type; of the photo's detail a share is `kept` where it is resized."""
        statistics, parts = self.measure(), self.tiles()
        top, bottom, left, right = parts[0].window
        painter = self.painter(statistics, (bottom - top, right - left))
        painted = empty_like(self.photo)
        for tile in parts:
            seen = self.shown(tile.window)
            made = painted_by(painter, seen, *self.more, spec=self.style.spec)
            self.place(painted, tile, made, seen, kept)
            release(self.photo, painted)
        return painted

    def place(self, painted: DeepPixels, tile: Tile, made: DeepPixels, seen: DeepPixels, kept: float) -> None:
        """Put a tile's core where it belongs, at the photo's size."""
        height, width = self.plan.size
        core = [*tile.core]
        core[1], core[3] = min(core[1], height), min(core[3], width)
        first, last, before, behind = (
            math.ceil(end * own / size - 0.5) if self.size != self.plan.size else end
            for end, own, size in zip(core, np.repeat(self.size, 2), np.repeat(self.plan.size, 2), strict=True)
        )
        ends = min(tile.window[1], height) - tile.window[0], min(tile.window[3], width) - tile.window[2]
        place = {"whole": self.plan.size, "top": tile.window[0], "left": tile.window[2]}
        new = View(made[: ends[0], : ends[1]], **place)  # type: ignore[arg-type]
        old = View(seen[: ends[0], : ends[1]], **place)  # type: ignore[arg-type]
        target = painted[first:last, before:behind]
        for rows in strips(target):
            window = (first + rows.start, first + rows.stop, before, behind)
            part = new.at(self.size, window)
            if kept and self.size != self.plan.size:
                photo = self.photo[window[0] : window[1], before:behind]
                lost = np.subtract(photo, old.at(self.size, window), dtype=np.float32)
                top = np.iinfo(painted.dtype).max
                part = np.clip(part + np.float32(kept) * lost + np.float32(0.5), 0, top).astype(painted.dtype)
            target[rows] = part


def summed(parts: Iterable[Sequence[Floats]]) -> list[Floats]:
    """Of pairs of sums and counts, for each of many parts, the sums divided by the counts."""
    totals: list[Any] = []
    for part in parts:
        values = [value.astype(np.float64) for value in part]
        totals = [total + value for total, value in zip(totals, values, strict=True)] if totals else values
    return [np.asarray(total / count, np.float32) for total, count in zip(totals[::2], totals[1::2], strict=True)]


def outer(moved: Floats, shape: tuple[int, ...]) -> Floats:
    """What a variance (1, C, ...) or covariance (1, C, C) is too large by, about a mean that was `moved`."""
    flat = moved.ravel()
    made: Floats = (flat**2 if math.prod(shape) == flat.size else flat[:, None] * flat).reshape(shape)
    return made


def painted_by(
    network: Runtime, photo: DeepPixels, *more: Floats, spec: StyleSpec, size: Size | None = None
) -> npt.NDArray[Any]:
    """What a network makes of a photo (H, W, 3), of as many bits; of a `size` where it is to be cut.

    Raises:
        StyleError: A stranger's network gives something else than a picture of that size.

    """
    height, width = size or photo.shape[:2]
    if isinstance(network, TorchRuntime) and photo.dtype == np.uint8:
        made = network.paint(photo, *more)  # type: ignore[arg-type]
        check_painted(made.shape, photo.shape, spec)
        return made[:height, :width]
    image = to_network(photo)
    with network.lock:
        painted = network(image, *more)
        check_painted(painted.shape, image.shape, spec)
        return from_network(painted[:, :, :height, :width], bits=8 * photo.dtype.itemsize)  # type: ignore[arg-type]


def check_painted(shape: tuple[int, ...], wanted: tuple[int, ...], spec: StyleSpec) -> None:
    """Raise a StyleError for a painting of another shape than its photo's."""
    if shape != wanted:
        told = f"its network gives {shape} for {wanted}"
        raise StyleError(f"style {spec.names[0]}: {told}; a painting has the size of the photo")


def foretold(photo: DeepPixels, style: Style, runtime: Runtime, rows: Sequence[Floats], plan: Plan) -> float:
    """Seconds that a plan will take, about, by painting a small part of the photo, twice: the first run warms."""
    grid = math.lcm(16, style.spec.multiple)
    side = max(style.spec.min_size, min(PROBE, *photo.shape[:2])) // grid * grid or grid
    part = np.ascontiguousarray(np.resize(photo[:side, :side], (side, side, 3)))
    image = to_network(part)
    if not plan.sample or not isinstance(runtime, OpenVINORuntime):
        return plan.seen * timed(runtime, image, rows)
    small = Plan(size=(side, side), side=side, tiles=1, sample=side**2, gigabytes=0.0, seen=float(side**2))
    tiler = Tiler(part, style, runtime, rows, small)
    start = time.perf_counter()
    statistics = tiler.measure()  # which compiles a network, as the plan will
    measured = time.perf_counter() - start
    painter = tiler.painter(statistics, (side, side))
    pixels = plan.sample + plan.seen * (plan.rounds + 1) / 2 * bool(plan.rounds)  # a round takes its part of a network
    return plan.seen * timed(painter, image, tiler.more) + pixels / side**2 * measured


def timed(runtime: Runtime, image: Floats, rows: Sequence[Floats]) -> float:
    """Seconds a pixel of a network."""
    runtime(image, *rows)
    start = time.perf_counter()
    runtime(image, *rows)
    return (time.perf_counter() - start) / math.prod(image.shape[2:])
