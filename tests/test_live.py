import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import impasto
from clipmaker import Pixels, blocks
from impasto.flow import Steadier
from impasto.live import SMALLEST, Pace, latest, painted


def test_every_frame_of_a_film_is_painted(invert: Path) -> None:
    frames = blocks(count=12)
    result = list(impasto.stylize_frames(frames, invert, steady=0, precision="float32"))
    assert len(result) == 12
    assert all((a == 255 - b).all() for a, b in zip(result, frames, strict=True))


def test_frames_of_a_film_are_steadied(invert: Path) -> None:
    frames = [pixels + np.uint8(8 * (i % 2)) for i, pixels in enumerate(blocks(96, 128, 12, step=0))]
    calm = list(impasto.stylize_frames(iter(frames), invert, steady=1))
    assert np.abs(np.diff([c.mean() for c in calm])).max() < 4
    assert not any(a is b for a, b in itertools.combinations(calm, 2))
    calm[-1][:] = 0  # a caller may draw on what it gets


def test_a_frame_handed_out_may_be_drawn_on(invert: Path) -> None:
    frames = blocks(96, 128, 6, step=0)
    kept = [c.copy() for c in impasto.stylize_frames(frames, invert, steady=1)]
    drawn = []
    for calm in impasto.stylize_frames(frames, invert, steady=1):
        drawn.append(calm.copy())
        calm[:] = 0
    assert all((a == b).all() for a, b in zip(kept, drawn, strict=True))


def test_late_frames_are_dropped_and_the_newest_is_painted() -> None:
    given = threading.Event()

    def camera() -> Iterator[Pixels]:
        for i in range(60):
            yield np.full((8, 8, 3), i, np.uint8)
            time.sleep(0.01)
        given.set()

    seen = []
    for frame in latest(camera()):
        seen.append(int(frame[0, 0, 0]))
        time.sleep(0.06)
    assert given.is_set()
    assert seen[-1] == 59
    assert seen == sorted(set(seen))
    assert len(seen) < 30
    assert max(np.diff(seen)) < 30


def test_a_live_source_that_fails_or_is_left() -> None:
    def broken() -> Iterator[Pixels]:
        yield np.zeros((8, 8, 3), np.uint8)
        time.sleep(0.05)
        raise RuntimeError("unplugged")

    frames = latest(broken())
    next(frames)
    with pytest.raises(RuntimeError, match="unplugged"):
        next(frames)
    taken = itertools.count()
    endless = latest(np.full((8, 8, 3), next(taken) % 200, np.uint8) for _ in itertools.repeat(0))
    next(endless)
    endless.close()
    time.sleep(0.05)
    before = next(taken)
    time.sleep(0.05)
    assert next(taken) == before + 1  # nobody takes any more


def test_the_size_follows_the_time_that_painting_takes() -> None:
    pace = Pace(10, None)
    speed = 1e-6  # seconds a pixel: a hundred thousand of them in time
    for _ in range(40):
        height, width = pace.size(720, 1280)
        pace.took(speed * height * width, height, width)
    assert 0.6e5 < height * width < 1.3e5
    assert width / height == pytest.approx(1280 / 720, rel=0.03)
    for _ in range(40):
        height, width = pace.size(720, 1280)
        pace.took(4 * speed * height * width, height, width)
    assert 0.15e5 < height * width < 0.35e5
    for _ in range(40):
        pace.took(1.0, *pace.size(720, 1280))
    assert max(pace.size(720, 1280)) == SMALLEST
    for _ in range(60):
        pace.took(1e-9, *pace.size(720, 1280))
    assert pace.size(720, 1280) == (720, 1280)  # never larger than it comes


def test_the_size_does_not_change_for_nothing() -> None:
    pace = Pace(10, None)
    rng = np.random.default_rng(0)
    sizes = []
    for _ in range(100):
        height, width = pace.size(720, 1280)
        sizes.append(width)
        pace.took(1e-6 * height * width * rng.uniform(0.85, 1.15), height, width)
    assert len(set(sizes[10:])) == 1


@pytest.mark.parametrize(("max_side", "size"), [(None, (90, 160)), (80, (45, 80)), (500, (90, 160))])
def test_a_film_is_painted_in_its_own_size_or_the_largest_allowed(max_side: int | None, size: tuple[int, int]) -> None:
    sizes = []

    def painter(frame: Pixels) -> Pixels:
        sizes.append(frame.shape[:2])
        return frame

    result = list(painted(blocks(90, 160, 3), painter, Steadier(0), Pace(None, max_side)))
    assert sizes == [size] * 3
    assert {frame.shape for frame in result} == {(90, 160, 3)}


def test_a_live_stream_holds_its_rate(invert: Path) -> None:
    def camera() -> Iterator[Pixels]:
        for frame in blocks(240, 320, 40):
            yield frame
            time.sleep(0.02)

    begin = time.monotonic()
    result = list(impasto.stylize_frames(camera(), invert, fps=30))
    assert time.monotonic() - begin < 4
    assert {frame.shape for frame in result} == {(240, 320, 3)}
    assert 1 < len(result) <= 40


@pytest.mark.parametrize(("options", "words"), [({"fps": 0}, "fps is 0"), ({"steady": 2}, "steady is 2")])
def test_arguments_out_of_range(invert: Path, options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        impasto.stylize_frames([], invert, **options)  # type: ignore[arg-type]


def test_what_is_no_frame_is_told(invert: Path) -> None:
    with pytest.raises(ValueError, match="image is"):
        list(impasto.stylize_frames([np.zeros((4, 4), np.uint8)], invert))
    assert list(impasto.stylize_frames([], invert)) == []
