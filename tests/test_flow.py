import cv2
import numpy as np
import pytest

from clipmaker import Pixels
from impasto import flow
from impasto.flow import Change, Motion, Steadier


def texture(height: int = 120, width: int = 160, seed: int = 0) -> Pixels:
    """Blobs of several sizes, which a flow can follow."""
    rng = np.random.default_rng(seed)
    parts = [
        cv2.resize(
            rng.uniform(0, 255, (height // n + 1, width // n + 1, 3)), (width, height), interpolation=cv2.INTER_CUBIC
        )
        for n in (24, 8, 4)
    ]
    return np.asarray(np.clip(sum(parts) / 3, 0, 255), np.uint8)


def shifted(picture: Pixels, x: int, y: int, height: int = 96, width: int = 128) -> Pixels:
    """A window into a picture that looks further right and down by x and y."""
    return picture[8 + y : 8 + y + height, 8 + x : 8 + x + width]


def sharpness(picture: Pixels) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), cv2.CV_32F).var())


def noisy(picture: Pixels, seed: int) -> Pixels:
    """A painter that never paints the same twice."""
    noise = np.random.default_rng(seed).normal(0, 25, (picture.shape[0] // 2, picture.shape[1] // 2, 3))
    strokes = cv2.resize(noise, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(picture + strokes, 0, 255), np.uint8)


# --------------------------------------------------------------------------------------------------------------- motion


def test_flow_says_where_each_pixel_was() -> None:
    motion, picture = Motion(), texture()
    motion(shifted(picture, 0, 0))
    change = motion(shifted(picture, 4, 2))
    assert change.flow is not None
    inner = change.flow[16:-16, 16:-16]
    assert np.abs(inner - (4, 2)).mean() < 0.15
    assert change.trust[16:-16, 16:-16].mean() > 0.9
    assert change.trust[-2:].max() == 0  # came in from below, and from the right
    assert change.trust[:, -3:].max() == 0


def test_what_comes_out_from_behind_is_not_trusted() -> None:
    behind, before = texture(240, 320, seed=1), texture(240, 320, seed=2)
    frames = []
    for x in (60, 68):
        frame = behind.copy()
        frame[60:180, x : x + 160] = before[60:180, :160]
        frames.append(frame)
    motion = Motion()
    motion(frames[0])
    trust = motion(frames[1]).trust
    assert trust[64:176, 61:67].mean() < 0.2  # what the thing has uncovered
    assert trust[70:170, 90:200].mean() > 0.8  # the thing itself
    assert trust[:40].mean() > 0.9


@pytest.mark.parametrize("size", [(96, 128), (540, 960), (31, 640), (17, 19)])
def test_flow_is_found_on_reduced_frames_of_any_size(size: tuple[int, int]) -> None:
    motion = Motion()
    first = motion(texture(*size))
    assert first.cut
    assert max(first.small.shape) <= flow.SIDE
    change = motion(texture(*size))
    assert not change.cut
    assert change.flow is not None
    assert change.flow.shape == (*change.small.shape, 2)
    assert np.abs(change.flow).max() < 0.3


@pytest.mark.parametrize("size", [(1, 1), (8, 200), (200, 8), (15, 15)])
def test_frames_too_small_for_flow_are_painted_by_themselves(size: tuple[int, int]) -> None:
    motion, steadier = Motion(), Steadier(1.0)
    for seed in range(3):
        frame = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        change = motion(frame)
        assert change.cut
        np.testing.assert_array_equal(steadier(frame, change), frame)


def test_a_scene_that_changes_is_a_cut_and_motion_is_not() -> None:
    motion = Motion()
    cuts = [motion(shifted(texture(seed=s), x, 0)).cut for s, x in [(0, 0), (0, 6), (0, 12), (5, 0), (5, 3), (6, 0)]]
    assert cuts == [True, False, False, True, False, True]


def test_a_slow_fade_and_a_flash_are_no_cuts() -> None:
    picture = texture().astype(float)
    motion = Motion()
    assert [motion((picture * s).astype(np.uint8)).cut for s in (1, 0.97, 0.94, 0.91)] == [True, False, False, False]


def test_a_frame_of_one_colour_and_a_change_of_size() -> None:
    motion = Motion()
    grey = np.full((64, 64, 3), 90, np.uint8)
    assert [motion(grey).cut, motion(grey).cut] == [True, False]
    assert motion(np.full((64, 80, 3), 90, np.uint8)).cut


# ------------------------------------------------------------------------------------------------------------- steadier


def steadied(count: int, steady: float, *, step: int = 0) -> tuple[list[Pixels], list[Pixels]]:
    """Frames painted by a painter that flickers, as painted and made steady."""
    picture, motion, steadier = texture(120, 200), Motion(), Steadier(steady)
    plain, calm = [], []
    for i in range(count):
        frame = shifted(picture, step * i, 0)
        plain.append(noisy(frame, i))
        calm.append(steadier(plain[-1], motion(frame)))
    return plain, calm


def flicker(frames: list[Pixels], step: int = 0) -> float:
    """Mean squared difference of frames that show the same, moved by `step`."""
    pairs = zip(frames[1:], frames[:-1], strict=True)
    width = frames[0].shape[1] - step
    errors = [((a[:, :width].astype(float) - b[:, step:].astype(float)) ** 2).mean() for a, b in pairs]
    return float(np.mean(errors[2:]))


@pytest.mark.parametrize("step", [0, 3])
def test_flicker_falls_and_detail_stays(step: int) -> None:
    plain, calm = steadied(20, flow.STEADY, step=step)
    assert flicker(calm, step) < 0.3 * flicker(plain, step)
    ratios = [sharpness(a) / sharpness(b) for a, b in zip(calm, plain, strict=True)]
    assert ratios[0] == 1
    assert min(ratios) > 0.8
    assert np.mean(ratios[5:]) == pytest.approx(1, abs=0.15)


def test_detail_neither_fades_nor_grows_however_long() -> None:
    plain, calm = steadied(150, 1.0)
    late = [sharpness(a) / sharpness(b) for a, b in zip(calm[100:], plain[100:], strict=True)]
    assert 0.85 < np.mean(late) < 1.2
    assert np.abs(np.mean(calm[-1].astype(float) - np.mean(plain, axis=0))) < 3


def test_more_steadiness_is_calmer() -> None:
    values = [flicker(steadied(12, steady)[1]) for steady in (0.0, 0.25, 0.5, 1.0)]
    assert values == sorted(values, reverse=True)
    plain, calm = steadied(4, 0.0)
    assert all(a is b for a, b in zip(plain, calm, strict=True))


def test_after_a_cut_the_painting_is_that_of_a_fresh_start() -> None:
    motion, steadier = Motion(), Steadier(1.0)
    for i in range(5):
        frame = shifted(texture(seed=0), i, 0)
        steadier(noisy(frame, i), motion(frame))
    other = shifted(texture(seed=9), 0, 0)
    painted = noisy(other, 77)
    change = motion(other)
    np.testing.assert_array_equal(steadier(painted, change), painted)
    fresh_motion, fresh = Motion(), Steadier(1.0)
    np.testing.assert_array_equal(fresh(painted, fresh_motion(other)), painted)
    following = shifted(texture(seed=9), 2, 0)
    a, b = motion(following), fresh_motion(following)
    np.testing.assert_array_equal(steadier(painted, a), fresh(painted, b))  # and all that follows too


def test_nothing_of_what_has_gone_is_left() -> None:
    """A bright bar crosses a dark scene: where it has been must be dark at once."""
    behind = (texture(seed=3) // 4)[8:104, 8:136]
    motion, steadier = Motion(), Steadier(1.0)
    for i in range(12):
        frame = behind.copy()
        frame[:, 8 * i : 8 * i + 20] = 240
        calm = steadier(frame, motion(frame))
    where_it_was = slice(24, 8 * 11 - 12)
    error = np.abs(calm[:, where_it_was].astype(float) - behind[:, where_it_was]).mean(axis=2)
    assert error.mean() < 4
    assert np.quantile(error, 0.99) < 30


def test_a_lasting_change_that_no_flow_shows_comes_through() -> None:
    frame = texture()
    motion, steadier = Motion(), Steadier(1.0)
    for i in range(60):
        calm = steadier(np.full_like(frame, 40 if i < 10 else 200), motion(frame))
    assert calm.mean() > 190


def test_it_goes_on_from_its_state() -> None:
    picture = texture()
    motion, steadier = Motion(), Steadier()
    states = []
    for i in range(6):
        frame = shifted(picture, i, 0)
        change = motion(frame)
        calm = steadier(noisy(frame, i), change)
        states.append(steadier.state() | change.state())
    other_motion, other = Motion(), Steadier()
    other_motion.restore(states[3])
    other.restore(states[3])
    for i in (4, 5):
        frame = shifted(picture, i, 0)
        again = other(noisy(frame, i), other_motion(frame))
    np.testing.assert_array_equal(again, calm)


def test_a_painting_of_another_size_than_the_video() -> None:
    motion, steadier = Motion(), Steadier()
    for i in range(4):
        frame = shifted(texture(), i, 0)
        painted = cv2.resize(noisy(frame, i), (256, 192))
        calm = steadier(np.asarray(painted, np.uint8), motion(frame))
    assert calm.shape == (192, 256, 3)


def test_a_frame_without_a_change_is_left_as_it_is() -> None:
    frame = texture()
    assert Steadier()(frame, None) is frame
    nothing = Change(np.zeros((2, 2), np.uint8), None, np.zeros((2, 2), np.float32))
    assert Steadier()(frame, nothing) is frame


@pytest.mark.parametrize("steady", [-0.01, 1.01, float("nan")])
def test_steadiness_out_of_range(steady: float) -> None:
    with pytest.raises(ValueError, match=r"steady is .*; it must be from 0"):
        Steadier(steady)
