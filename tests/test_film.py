"""Videos by optimisation: that they hold still where the video does, and survive whatever happens to them."""

import gc
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from clipmaker import blocks, packets, stamps, write_clip
from conftest import loss_network, picture
from impasto import parts
from impasto.cli import main
from impasto.colors import keep_colors
from impasto.config import FilmConfig, OptimizeConfig
from impasto.errors import ImageError, OptimizationError, VideoError
from impasto.film import HIDDEN, Film, FilmPlan, FilmStep, Held, Leading, away_from_edges, moved_along, optimize_video
from impasto.flow import Change, Motion
from impasto.images import Picture, Pixels, read_image
from impasto.objective import Losses
from impasto.optimize import optimize
from impasto.video import Frame, read_clip, read_frames

pytestmark = pytest.mark.usefixtures("one_thread")


def noisy(count: int, height: int = 48, width: int = 64, *, step: int = 2, seed: int = 0) -> list[Pixels]:
    """Frames of blocks that move to the right, each with a noise of its own."""
    rng = np.random.default_rng(7)
    frames = blocks(height, width, count, step=step, seed=seed)
    return [np.clip(f + rng.normal(0, 6, f.shape), 0, 255).astype(np.uint8) for f in frames]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a painting, a loss network, and clips: one that moves, and one with a cut after three frames."""
    folder = tmp_path_factory.mktemp("world")
    picture(folder / "first.png", 90, 100, 50)
    loss_network(folder / "vgg.safetensors", "3_1")
    write_clip(folder / "moves.mp4", noisy(7), seconds_of_sound=0.4)
    write_clip(folder / "cut.mp4", [*noisy(3), *(255 - frame for frame in noisy(2, seed=9))])
    return folder


@dataclass
class Studio:
    """Optimises small videos in a folder of their own; `kept` has the paintings of the last one by frame and pass."""

    world: Path
    folder: Path
    kept: dict[tuple[int, int], Pixels]

    def config(self, name: str = "a.mp4", clip: str = "moves.mp4", /, **settings: Any) -> OptimizeConfig:
        defaults: dict[str, Any] = {
            "output": self.folder / name,
            "size": 64,
            "min_size": 45,
            "first_iterations": 12,
            "iterations": 8,
            "loss_network": (str(self.world / "vgg.safetensors"),),
            "content_layers": ("relu2_1",),
            "style_layers": ("relu1_1", "relu2_1", "relu3_1"),
        }
        paintings = settings.pop("paintings", (str(self.world / "first.png"),))
        return OptimizeConfig(self.folder / clip, paintings, **defaults | settings)

    def run(self, config: OptimizeConfig, *, stop: int | None = None, passes: int = 1, **film: Any) -> list[FilmStep]:
        """All steps, or so many, after which the run is closed."""
        self.kept.clear()
        run = optimize_video(config, FilmConfig(**{"frame_iterations": 5, "passes": passes} | film))
        steps = list(itertools.islice(run, stop))
        run.close()
        return steps

    def paintings(self, turn: int = 1) -> list[Pixels]:
        """Frames that a pass of the last run has painted, in their order."""
        return [pixels for (_, own), pixels in sorted(self.kept.items(), key=lambda item: item[0]) if own == turn]


@pytest.fixture
def studio(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    for clip in world.glob("*.mp4"):
        (tmp_path / clip.name).symlink_to(clip)
    made = Studio(world, tmp_path, {})
    keep = Film.keep

    def noting(film: Film, number: int, painted: Pixels, turn: int) -> None:
        made.kept[number, turn] = painted
        keep(film, number, painted, turn)

    monkeypatch.setattr(Film, "keep", noting)
    monkeypatch.setattr(parts, "PART_FRAMES", 3)
    return made


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flicker(frames: list[Pixels], step: int = 2) -> float:
    """Mean squared difference of frames from the ones before, moved to the right, in [0, 1]; away from the border."""
    light = [frame.astype(np.float32) / 255 for frame in frames]
    pairs = (
        (after[8:-8, 16:-8] - np.roll(before, step, 1)[8:-8, 16:-8]) for before, after in itertools.pairwise(light)
    )
    return float(np.mean([(difference**2).mean() for difference in pairs]))


# ------------------------------------------------------------------------------------------------------------- painting


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_it_holds_still_where_the_video_does(studio: Studio, optimizer: str) -> None:
    studio.run(studio.config("alone.mp4", optimizer=optimizer), steady=0)
    alone = studio.paintings()
    assert len(alone) == 7
    steps = studio.run(studio.config(optimizer=optimizer))
    steady = studio.paintings()
    assert flicker(steady) < 0.5 * flicker(alone)
    np.testing.assert_array_equal(steady[0], alone[0])
    own = [frame.pixels for frame in read_frames(studio.folder / "moves.mp4")]
    assert min(np.abs(a.astype(int) - b).mean() for a, b in zip(steady, own, strict=True)) > 4  # it is painted
    last = [steps[-1], next(s for s in steps if s.frame == 1 and s.iteration == s.iterations)]
    assert last[0].style < 2 * last[1].style
    assert last[0].temporal > 0 == last[1].temporal


def test_the_loss_itself_holds_beyond_the_start(studio: Studio) -> None:
    loose, firm = (
        flicker((studio.run(studio.config(init="noise"), steady=steady), studio.paintings())[1])
        for steady in (0.05, 1.0)
    )
    assert firm < 0.7 * loose


def test_steps_tell_how_far_it_is(studio: Studio) -> None:
    steps = studio.run(studio.config())
    assert [(s.frame, s.iteration) for s in steps] == [
        *((1, i) for i in range(1, 21)),
        *((frame, i) for frame in range(2, 8) for i in range(1, 11)),
    ]
    assert {s.iterations for s in steps if s.frame == 1} == {20}
    assert {s.iterations for s in steps if s.frame > 1} == {10}  # five at each of two sizes
    assert {s.frames for s in steps} == {7}
    assert steps[-1].seconds_left == 0
    assert steps[0].seconds_left is not None
    assert steps[0].seconds_left > 0
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(steps))


@pytest.mark.parametrize("init", ["photo", "noise"])
def test_a_cut_is_a_fresh_start_and_equal_to_a_picture(studio: Studio, init: str) -> None:
    steps = studio.run(studio.config("a.mp4", "cut.mp4", init=init))
    assert [(s.frame, s.iteration) for s in steps if s.event == "a cut: begun afresh"] == [(4, 1)]
    assert {s.frame: s.iterations for s in steps} == {1: 20, 2: 10, 3: 10, 4: 20, 5: 10}
    frames = [frame.pixels for frame in read_frames(studio.folder / "cut.mp4")]
    for number in (1, 4):
        photo = studio.folder / f"{number}.png"
        Image.fromarray(frames[number - 1]).save(photo)
        config = studio.config(f"{number}-painted.png", init=init)
        list(optimize(replace(config, photo=photo)))
        np.testing.assert_array_equal(studio.kept[number, 1], read_image(config.output))


def test_what_is_trusted_begins_with_the_last_painting_and_the_rest_with_the_photo(studio: Studio) -> None:
    config = studio.config(tv_weight=0.0)
    photo = np.full((48, 64, 3), 51, np.uint8)
    easel = Leading(config, Picture(photo))
    film = Film(config, FilmConfig())
    easel.plan = film.plan.after
    trust = torch.zeros(1, 1, 48, 64)
    trust[..., :32] = 1
    easel.other = torch.full((1, 3, 48, 64), 0.6), trust
    for place, (height, width) in enumerate(easel.plan.sizes):
        if place == 0:
            easel.start(easel.beginning())
        else:
            easel.best.fill_(0.4)
            easel.grow()
        assert easel.values.shape[2:] == (-(-height // 16) * 16, -(-width // 16) * 16)
        half = width // 2 - 1
        torch.testing.assert_close(easel.values[..., :half], torch.full_like(easel.values[..., :half], 0.6))
        rest = easel.values[..., half + 3 : width]
        torch.testing.assert_close(rest, torch.full_like(rest, 0.2 if place == 0 else 0.4))
        assert isinstance(easel.objective, Held)


def test_what_is_hidden_has_a_style_loss_of_its_own(studio: Studio) -> None:
    left = np.zeros((48, 64), np.uint8)
    left[:, :24] = 255
    Image.fromarray(left).save(studio.folder / "left.png")
    first = str(studio.world / "first.png")
    config = studio.config(paintings=(f"{first}:2", f"{first}@{studio.folder / 'left.png'}"))
    easel = Leading(config, Picture(np.zeros((48, 64, 3), np.uint8)))
    easel.plan = Film(studio.config(), FilmConfig()).plan.after
    assert len(easel.asked((48, 64))) == 2
    for trusted, weights in ((0, [2 * HIDDEN, HIDDEN]), (32, [HIDDEN]), (64, [])):
        trust = torch.zeros(1, 1, 48, 64)
        trust[..., :trusted] = 1
        easel.other = torch.zeros(1, 3, 48, 64), trust
        own = easel.asked((48, 64))[2:]
        assert [round(target.weight, 3) for target in own] == weights
        for target in own:
            assert target.mask is not None
            assert not target.mask[:, :trusted].any()
            assert target.mask[:, trusted:24].all() or trusted == 32


def test_the_temporal_loss_and_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    picture, other, trust = (torch.rand(1, count, 16, 16, generator=generator) for count in (3, 3, 1))
    trust[..., :8] = 0

    def nothing(values: torch.Tensor) -> tuple[Losses, torch.Tensor]:
        return Losses(1.0, 1.0, 0.0, 0.0), torch.zeros_like(values)

    held = Held(nothing, other, trust, 10.0)
    losses, gradient = held(picture)
    leaf = picture.clone().requires_grad_()
    spread = (other - other.mean((2, 3), keepdim=True)).square().mean()
    loss = (trust * (leaf - other).square()).mean() / spread
    (10 * loss).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(gradient, leaf.grad)
    assert held.temporal == pytest.approx(loss.item(), rel=1e-5)
    assert losses.total == pytest.approx(1 + 10 * loss.item(), rel=1e-5)
    assert not gradient[..., :8].any()
    assert Held(nothing, torch.zeros_like(other), trust, 1.0)(picture)[0].total < 1e6  # of one colour


def test_edges_of_motion_are_not_trusted() -> None:
    flow = np.zeros((32, 40, 2), np.float32)
    flow[:, 20:, 0] = 6
    calm = away_from_edges(flow)
    assert not calm[:, 19:21].any()
    assert calm[:, :18].all()
    assert calm[:, 22:].all()
    change = Change(np.zeros((32, 40), np.uint8), flow, np.ones((32, 40), np.float32))
    before = moved_along(np.zeros((32, 40, 3), np.uint8), change)
    assert before is not None
    np.testing.assert_array_equal(before[1][..., 0], calm)


def test_a_painting_is_moved_as_the_video_moves() -> None:
    first, second = blocks(96, 128, 2, step=4)
    motion = Motion()
    motion(first)
    change = motion(second)
    smooth = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8), (128, 96))
    there = moved_along(np.asarray(smooth, np.uint8), change)
    assert there is not None
    inner = (slice(8, -8), slice(24, -24))
    trusted = there[1][inner][..., 0] > 0.9
    assert trusted.mean() > 0.5
    off = np.abs(there[0] - np.roll(smooth, 4, 1) / 255)[inner][trusted]
    assert off.mean() < 0.02
    assert there[0].min() >= 0
    assert there[0].max() <= 1
    assert moved_along(first, Change(change.small, None, change.trust)) is None


def test_passes_go_backwards_and_forwards(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Pixels] = []

    def noted(painted: Pixels, photo: Pixels, mode: str) -> Pixels:
        written.append(painted)
        return keep_colors(painted, photo, mode)

    monkeypatch.setattr("impasto.film.keep_colors", noted)
    steps = studio.run(studio.config(), passes=3)
    order = [(s.turn, s.frame) for s in steps if s.iteration == 1]
    forth = range(1, 8)
    assert order == [*((1, i) for i in forth), *((2, i) for i in reversed(forth)), *((3, i) for i in forth)]
    assert {s.iterations for s in steps if s.turn > 1} == {5}  # at the last size alone
    assert steps[-1].seconds_left == 0
    assert all(s.seconds_left is not None and s.seconds_left > 0 for s in steps[:-1])
    one, two, three = (studio.paintings(turn) for turn in (1, 2, 3))
    assert [len(frames) for frames in (one, two, three)] == [7, 7, 7]
    assert flicker(two) < flicker(one)
    for painted, shown in zip(three, written, strict=True):
        np.testing.assert_array_equal(painted, shown)
    assert all((a != b).any() for a, b in zip(two, three, strict=True))


def test_masks_hold_for_every_frame(studio: Studio) -> None:
    write_clip(studio.folder / "plain.mp4", blocks(count=3, step=0))
    left = np.zeros((48, 64), np.uint8)
    left[:, :24] = 255
    Image.fromarray(left).save(studio.folder / "left.png")
    painting = f"{studio.world / 'first.png'}@{studio.folder / 'left.png'}"
    alone: dict[str, Any] = {"content_weight": 0.0, "tv_weight": 0.0, "style_layers": ("relu1_1",)}
    studio.run(studio.config("a.mp4", "plain.mp4", paintings=(painting,), **alone))
    frames = [frame.pixels for frame in read_frames(studio.folder / "plain.mp4")]
    assert len(studio.paintings()) == 3
    for painted, frame in zip(studio.paintings(), frames, strict=True):
        off = np.abs(painted.astype(int) - frame)
        assert off[:, 34:].mean() < 3 < off[:, :18].mean()


def test_colours_are_kept_at_the_end_alone(studio: Studio) -> None:
    studio.run(studio.config("plain.mp4"))
    plain = studio.paintings()
    studio.run(studio.config("luma.mp4", colors="luma"))
    for one, other in zip(plain, studio.paintings(), strict=True):
        np.testing.assert_array_equal(one, other)
    frames = [frame.pixels for frame in read_frames(studio.folder / "moves.mp4")]
    written = [frame.pixels for frame in read_frames(studio.folder / "luma.mp4")]
    wanted = [keep_colors(*pair, "luma") for pair in zip(plain, frames, strict=True)]
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(written, wanted, strict=True)) < 8
    assert np.abs(written[3].astype(int) - plain[3]).mean() > 8


# ----------------------------------------------------------------------------------------------------- what is written


def test_sound_times_and_size_are_kept(studio: Studio) -> None:
    studio.run(studio.config())
    source, target = studio.folder / "moves.mp4", studio.folder / "a.mp4"
    assert packets(target, "audio") == packets(source, "audio") != []
    assert stamps(target) == stamps(source)
    clip = read_clip(target)
    assert (clip.height, clip.width) == (48, 64)
    assert names(studio.folder) == ["a.mp4", "cut.mp4", "moves.mp4"]


@pytest.mark.parametrize(
    ("side", "size", "target"), [(63, (47, 63), "a.mp4"), (512, (47, 63), "a.webm"), (50, (38, 50), "a.gif")]
)
def test_odd_and_reduced_sizes(studio: Studio, side: int, size: tuple[int, int], target: str) -> None:
    write_clip(studio.folder / "odd.mp4", blocks(47, 63, 2), pix_fmt="yuv444p")
    studio.run(studio.config(target, "odd.mp4", size=side))
    clip = read_clip(studio.folder / target)
    assert (clip.height, clip.width) == size
    assert len(list(read_frames(studio.folder / target))) == 2


def test_a_piece_of_it(studio: Studio) -> None:
    steps = studio.run(studio.config(), start=0.08, preview=0.12)
    assert {s.frame for s in steps} == {1, 2, 3}
    assert len(stamps(studio.folder / "a.mp4")) == 3


# -------------------------------------------------------------------------------------------------------- interruptions


@pytest.mark.parametrize(
    ("stop", "finished", "passes"), [(20, 1, 1), (35, 2, 1), (40, 3, 1), (72, 6, 1), (50, 4, 2), (87, 7, 2)]
)
def test_a_resumed_video_is_as_if_never_stopped(studio: Studio, stop: int, finished: int, passes: int) -> None:
    studio.run(studio.config("whole.mp4"), passes=passes)
    studio.run(studio.config(), stop=stop, passes=passes)
    assert len(studio.kept) == finished + (stop == 87)
    assert not (studio.folder / "a.mp4").exists()
    rest = studio.run(studio.config(), passes=passes)
    again = (rest[0].turn, rest[0].frame, rest[0].iteration)
    assert again == ((2, 6, 1) if stop == 87 else (1, finished + 1, 1))
    assert (studio.folder / "a.mp4").read_bytes() == (studio.folder / "whole.mp4").read_bytes()
    assert names(studio.folder) == ["a.mp4", "cut.mp4", "moves.mp4", "whole.mp4"]


def test_nothing_is_left_of_a_run_that_finished_nothing(studio: Studio) -> None:
    studio.run(studio.config(), stop=5)
    assert names(studio.folder) == ["cut.mp4", "moves.mp4"]


def test_only_the_same_run_goes_on(studio: Studio) -> None:
    studio.run(studio.config(), stop=45)
    for settings, film, told in (
        ({"style_weight": 9.0}, {}, r"style_weight was 60\.0, is 9\.0"),
        ({}, {"steady": 0.5}, r"steady was 0\.75, is 0\.5"),
        ({}, {"quality": 9}, "another version, file or target"),
    ):
        with pytest.raises(OptimizationError, match=rf"of a run with other settings \({told}\); pass --no-resume"):
            studio.run(studio.config(**settings), **film)
    assert studio.run(studio.config(memory=20.0), stop=1)[0].frame == 4
    assert studio.run(studio.config(resume=False), stop=1)[0].frame == 1


def test_what_another_command_left_is_not_taken_for_it(studio: Studio) -> None:
    folder = studio.folder / ".a.mp4.parts"
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps({"settings": [1, 2]}))
    with pytest.raises(OptimizationError, match="of a run with other settings"):
        studio.run(studio.config())


@pytest.mark.parametrize("text", ["{", '{"history": 0}', '{"length": 3}', "3"])
def test_a_plan_that_cannot_be_is_told(studio: Studio, text: str) -> None:
    studio.run(studio.config(), stop=45)
    (studio.folder / ".a.mp4.parts" / "plan.json").write_text(text)
    with pytest.raises(OptimizationError, match="no plan of this version"):
        studio.run(studio.config())


def test_other_memory_changes_no_run_that_has_begun(studio: Studio) -> None:
    studio.run(studio.config(history=None), stop=30)
    plan = studio.folder / ".a.mp4.parts" / "plan.json"
    kept = json.loads(plan.read_text())
    assert kept["history"] == 10
    plan.write_text(json.dumps(kept | {"history": 3}))
    told: list[FilmPlan] = []
    run = optimize_video(studio.config(), FilmConfig(frame_iterations=5), told=told.append)
    next(run)
    run.close()
    assert told[0].fresh.history == told[0].after.history == 3


def test_memory_and_waiting_pictures_do_not_grow(studio: Studio) -> None:
    write_clip(studio.folder / "long.mp4", noisy(12))
    config = studio.config("a.mp4", "long.mp4", first_iterations=2, iterations=1)
    folder = studio.folder / ".a.mp4.parts"
    waiting, alive, others = [], [], frames_alive()
    for step in optimize_video(config, FilmConfig(frame_iterations=1)):
        studio.kept.clear()
        if step.iteration == step.iterations:
            waiting.append(len(list(folder.glob("*.png"))))
            alive.append(frames_alive() - others)
    assert waiting == [1, 2, 3] * 4
    assert max(alive) <= 3


def frames_alive() -> int:
    return sum(type(thing) is Frame for thing in gc.get_objects())


def test_a_full_disk_is_told_and_loses_nothing(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = Film.keep

    def full(film: Film, number: int, painted: Pixels, turn: int) -> None:
        if number == 3:
            raise ImageError("cannot write it: the disk is full")
        keep(film, number, painted, turn)

    with monkeypatch.context() as patch:
        patch.setattr(Film, "keep", full)
        with pytest.raises(ImageError, match="the disk is full"):
            studio.run(studio.config())
    assert studio.run(studio.config(), stop=1)[0].frame == 3


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("settings", "film", "error", "words"),
    [
        ({"save_every": 5}, {}, ValueError, "save_every is for pictures"),
        ({"init": "first.png"}, {}, ValueError, "init is 'first.png'; of a video it must be one of photo, noise"),
        ({"paintings": ("none.png",)}, {}, ImageError, "no such file"),
        ({"output": Path("a.avi")}, {}, ValueError, r"not in \.avi"),
        ({"output": Path("none/a.mp4")}, {}, VideoError, "cannot write"),
        ({"size": 36}, {}, VideoError, "36 x 28 is painted, which is less than 32 narrow"),
        ({"memory": 1e-4}, {}, OptimizationError, "may be used"),
        ({}, {"start": 9.0}, VideoError, "has no frame to paint from 9 seconds on"),
        ({"style_layers": ("relu4_1",)}, {}, ValueError, "relu4_1"),
    ],
)
def test_bad_input_is_told_in_one_line(
    studio: Studio,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    film: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    monkeypatch.chdir(studio.folder)
    with pytest.raises(error, match=words) as caught:
        studio.run(studio.config(**settings), **film)
    assert "\n" not in str(caught.value)
    assert names(studio.folder) == ["cut.mp4", "moves.mp4"]


def test_what_is_no_video_is_told(studio: Studio) -> None:
    (studio.folder / "text.mp4").write_text("words " * 50)
    for name, words in (("text.mp4", "it is no video, or is broken"), ("none.mp4", "No such file")):
        with pytest.raises(VideoError, match=words):
            studio.run(studio.config("a.mp4", name))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steady": 1.5}, "steady is 1.5"),
        ({"frame_iterations": 0}, "frame_iterations is 0"),
        ({"passes": 0}, "passes is 0"),
        ({"quality": 0}, "quality is 0"),
        ({"passes": 2, "steady": 0.0}, "passes is 2, which needs a steady above 0"),
        ({"start": 3.0, "end": 2.0}, "end is 2.0"),
    ],
)
def test_settings_out_of_range_are_value_errors(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FilmConfig(**settings)


def test_a_text_that_cannot_be_painted_is_a_value_error(studio: Studio) -> None:
    with pytest.raises(ValueError, match="paintings has"):
        studio.run(studio.config(paintings=(f"{studio.world / 'first.png'}:0",)))


# --------------------------------------------------------------------------------------------------------- command line


def arguments(studio: Studio, *more: str, clip: str = "moves.mp4") -> list[str]:
    files = [str(studio.folder / clip), "--style", str(studio.world / "first.png")]
    files += [] if "-o" in more else ["-o", str(studio.folder / "a.mp4")]
    layers = ["--content-layers", "relu2_1", "--style-layers", "relu1_1", "--size", "64", "--min-size", "45"]
    short = ["--first-iterations", "6", "--iterations", "4", "--loss-network", str(studio.world / "vgg.safetensors")]
    return ["optimize", *files, *layers, *short, *more]


def call(args: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(args)
    return int(ended.value.code or 0)


def test_the_command_paints_and_says_what_it_does(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    args = arguments(studio, "--frame-iterations", "2", "--preview", "0.12", clip="cut.mp4")
    assert call(args) == 0
    out, err = capsys.readouterr()
    assert out == f"{studio.folder / 'a.mp4'}\n"
    assert "64 x 48, 3 frames; 10 iterations where it begins afresh, 4 for each other frame\n" in err
    assert " GB\n" in err
    assert len(stamps(studio.folder / "a.mp4")) == 3


def test_a_plan_says_and_does_nothing(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(studio.folder.iterdir())
    assert call(arguments(studio, "--frame-iterations", "2", "--preview", "0.12", "--plan", clip="cut.mp4")) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("64 x 48, 3 frames; 10 iterations where it begins afresh, 4 for each other frame\nsome ")
    assert out.endswith(" GB\n")
    assert sorted(studio.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("more", "clip", "code", "words"),
    [
        (["--passes", "2"], "photo.png", 2, "--passes is for videos, and "),
        (["--steady", "0.5"], "photo.png", 2, "--steady is for videos, and "),
        (["--save-every", "5"], "moves.mp4", 2, "save_every is for pictures"),
        (["--steady", "3"], "moves.mp4", 2, "steady"),
        (["-o", "a.png"], "moves.mp4", 2, "not in .png"),
        (["-o", "none/a.mp4"], "moves.mp4", 2, "its folder does not exist"),
        (["-o", "moves.mp4"], "moves.mp4", 2, "one of the files that are read"),
        (["--codec", "vp9", "-o", "b.mov"], "moves.mp4", 2, "codec is 'vp9'"),
        ([], "none.mp4", 1, "No such file"),
    ],
)
def test_a_wrong_command_is_one_line(
    studio: Studio,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    clip: str,
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(studio.folder)
    picture(studio.folder / "photo.png", 60, 80, 1)
    assert call(arguments(studio, *more, clip=clip)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_a_command_asked_to_stop_keeps_what_is_finished(studio: Studio) -> None:
    args = arguments(studio, "--frame-iterations", "4000")
    command = [sys.executable, "-m", "impasto", *args]
    folder = studio.folder / ".a.mp4.parts"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        for _ in waiting(lambda: (folder / "000001-1.png").exists() or running.poll() is not None):
            pass
        running.send_signal(signal.SIGINT)
        assert running.stderr is not None
        told = running.stderr.read()
    assert running.returncode == 130
    assert f"stopped; run the same command to continue ({folder})" in told
    assert not (studio.folder / "a.mp4").exists()
    assert [path.name for path in folder.glob("*.png")] == ["000001-1.png"]


def waiting(ready: Any, seconds: float = 120.0) -> Iterator[None]:
    """Yield now and then until something is so."""
    import time

    limit = time.monotonic() + seconds
    while not ready() and time.monotonic() < limit:
        time.sleep(0.02)
        yield
