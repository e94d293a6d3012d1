"""Folders of photos larger than the memory for them: shares, tiles, and what is painted alone."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

import impasto
from impasto import BatchConfig, BatchStep, batch, cli, large, stylize_folder
from impasto.images import read_image, write_image
from impasto.painters import Here, Processes
from impasto.recipes import make_recipe, read_recipe
from impasto.styles import Style, load_style
from impasto.work import Job, Outcome, Work, paint_file

if TYPE_CHECKING:
    from concurrent.futures import Future

Pixels = npt.NDArray[np.uint8]
Noise = Callable[..., Pixels]
ITSELF = 1e6
"""Bytes that a process takes here."""
OPTIONS = dict.fromkeys(("strength", "stroke", "mask", "max_side")) | {"colors": "style"}
OPTIONS |= {"device": "auto", "precision": "float32"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: Noise) -> None:
    """Work in a folder of its own with a large and a small photo, where few pixels are worth tiles."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    write_image("photos/large.png", noise(500, 620))
    write_image("photos/small.png", noise(60, 50, seed=1))
    monkeypatch.setattr(large, "COMPILED", 0.0)
    monkeypatch.setattr(large, "SAMPLE", (50_000, 100_000))
    monkeypatch.setattr("impasto.work.ITSELF", ITSELF)
    monkeypatch.setattr(large, "ROUGH", 50_000)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float | None]]:
    """Paint in this process; how many at a time and with what memory it was asked for."""
    made: list[tuple[int, float | None]] = []

    class Beside(Here):
        def __init__(self, work: Work, count: int, _threads: int, memory: float | None, _abreast: int = 1) -> None:
            super().__init__(work)
            self.memory = memory
            made.append((count, memory))

        def submit(self, job: Job) -> "Future[Outcome]":
            return self.threads.submit(paint_file, self.work, job, self.memory)

    monkeypatch.setattr(batch, "Processes", Beside)
    return made


def paint(style: Path, workers: int = 2, **options: Any) -> BatchStep:
    """Paint the folder; the last step."""
    recipe = make_recipe("stylize", {"style": style.name, "weights": {"one": 1.0}, "mask": None}, [style])
    config = BatchConfig(workers=workers, retry_failed=True)
    steps = stylize_folder(
        "photos", "out", f"{style}:one", precision="float32", batch=config, recipe=recipe, name="one", **options
    )
    return list(steps)[-1]


def gigabytes(share: float) -> float:
    """Memory of which each of two processes may take a share beside itself."""
    return (2 * (share + ITSELF) + ITSELF) / 1e9


def tile_of(name: str) -> int | None:
    tile: int | None = read_recipe(Path("out", name))["settings"]["tile"]
    return tile


def test_what_a_share_does_not_hold_goes_by_tiles(palette: Path, asked: list[Any]) -> None:
    step = paint(palette, memory=gigabytes(1.4e7))
    assert (step.painted, step.failed) == (2, 0)
    assert asked == [(2, pytest.approx(1.4e7 + ITSELF))]
    tile = tile_of("large-one.png")
    assert tile is not None
    assert 100 < tile < 620
    expected = impasto.stylize(read_image("photos/large.png"), f"{palette}:one", precision="float32", tile=tile)
    np.testing.assert_array_equal(read_image("out/large-one.png"), expected)
    assert tile_of("small-one.png") is None


def test_what_fits_its_share_goes_whole(palette: Path, asked: list[Any]) -> None:
    paint(palette, memory=gigabytes(1e8))
    assert len(asked) == 1
    assert tile_of("large-one.png") is None
    expected = impasto.stylize(read_image("photos/large.png"), f"{palette}:one", precision="float32")
    np.testing.assert_array_equal(read_image("out/large-one.png"), expected)


@pytest.mark.parametrize("share", [3e6, 2e6], ids=["no tiles fit", "it cannot even be read"])
def test_what_no_tile_of_fits_is_painted_alone_with_all(palette: Path, asked: list[Any], share: float) -> None:
    step = paint(palette, memory=(8 * (share + ITSELF) + ITSELF) / 1e9, workers=8)
    assert (step.painted, step.failed) == (2, 0)
    assert [memory for _, memory in asked] == [pytest.approx(share + ITSELF), None]
    assert tile_of("small-one.png") is None


def test_what_does_not_fit_at_all_fails_by_itself(palette: Path, asked: list[Any]) -> None:
    step = paint(palette, memory=gigabytes(1.1e6))
    assert (step.painted, step.failed) == (1, 1)
    assert [memory for _, memory in asked] == [pytest.approx(1.1e6 + ITSELF), None]
    told = step.result.error if step.result else ""
    assert told.startswith(f"{Path('photos', 'large.png')}: a picture of 620 x 500 needs some 0.0 GB by the smallest")
    assert "allow more --memory" in told
    assert "\n" not in told
    step = paint(palette, memory=1)
    assert (step.painted, step.unchanged, step.failed) == (1, 1, 0)  # another memory is no other configuration


def test_what_is_left_gets_no_larger_share(palette: Path, asked: list[Any]) -> None:
    """So that a folder becomes what it would have become at once."""
    paint(palette, memory=gigabytes(1.4e7))
    before = Path("out/large-one.png").read_bytes()
    Path("out/large-one.png").unlink()
    step = paint(palette, memory=gigabytes(1.4e7))
    assert (step.painted, step.unchanged) == (1, 1)
    assert [memory for _, memory in asked] == [pytest.approx(1.4e7 + ITSELF)] * 2
    assert Path("out/large-one.png").read_bytes() == before


def test_tiles_of_a_side(palette: Path, asked: list[Any]) -> None:
    assert paint(palette, tile=300).painted == 2
    assert tile_of("large-one.png") == 300
    assert tile_of("small-one.png") is None
    assert paint(palette, tile=200).painted == 2  # which is another configuration
    assert tile_of("large-one.png") == 200
    assert len(asked) == 2


def test_tiles_that_a_share_does_not_hold_are_painted_alone(palette: Path, asked: list[Any]) -> None:
    assert paint(palette, tile=400, memory=gigabytes(5e6)).painted == 2
    assert [memory for _, memory in asked] == [pytest.approx(5e6 + ITSELF), None]
    assert tile_of("large-one.png") == 400


def test_processes_that_a_share_is_too_small_for(palette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes themselves: a share that holds none of them, and a memory that holds one."""
    alone: list[bool] = []

    class Spied(Processes):
        def paint(self, job: Job) -> Outcome:
            alone.append(job.alone)
            return super().paint(job)

    monkeypatch.setattr("impasto.work.ITSELF", 1.5e8)
    monkeypatch.setattr(batch, "Processes", Spied)
    step = paint(palette, memory=0.42)
    assert (step.painted, step.failed) == (2, 0)
    assert alone == [False, False, True, True]


def test_before_tiles_networks_give_back_what_pictures_took(palette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled network keeps the memory of the largest picture that it has painted whole."""
    forgotten: list[Style] = []
    style = load_style(f"{palette}:one")
    monkeypatch.setattr(Style, "forget", lambda self: forgotten.append(self))
    has = [0.0]
    monkeypatch.setattr("impasto.work.resident_memory", lambda: has[0])
    work = Work(style=style, options=OPTIONS, memory=1e9)
    job = Job(source="photos/large.png", target="out/a.png")
    for has[0], share, times in ((1e9, 1e8, 0), (1e5, 1.5e7, 0), (1e9, 1.5e7, 1)):
        assert paint_file(work, job, share).error == ""
        assert len(forgotten) == times


def test_a_style_that_was_forgotten_paints_the_same(palette: Path, noise: Noise) -> None:
    style, photo = load_style(f"{palette}:one"), noise(40, 50)
    before, runtime = impasto.stylize(photo, style), style.runtime()
    style.forget()
    assert style.runtime() is not runtime
    np.testing.assert_array_equal(impasto.stylize(photo, style), before)


@pytest.mark.parametrize(
    ("memory", "workers", "most"), [(None, None, 8), (4e9, None, 3), (1e10, None, 8), (1e5, None, 1), (1e5, 5, 5)]
)
def test_no_more_processes_than_memory_is_worth(
    invert: Path, memory: float | None, workers: int | None, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "processors", lambda: 8)
    work = Work(style=load_style(invert), options=OPTIONS, memory=memory)
    assert batch.Run([], work, "out", BatchConfig(workers=workers)).most_workers() == most


@pytest.mark.parametrize("argument", ["memory", "tile"])
def test_mistakes(palette: Path, argument: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} is 0; it must be"):
        paint(palette, **{argument: 0})
    assert not Path("out").exists()


# ------------------------------------------------------------------------------------------------------ command line


def call(*args: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(arg) for arg in args])
    return int(left.value.code or 0)


def test_the_command_line_takes_both_and_a_painting_is_made_again(palette: Path, asked: list[Any]) -> None:
    how = ("photos", "--style", f"{palette}:one", "--precision", "float32", "-o", "out")
    assert call("stylize", *how, "--workers", 2, "--memory", f"{gigabytes(1.4e7) * 1e3}MB") == 0
    assert asked == [(2, pytest.approx(1.4e7 + ITSELF))]
    tile = tile_of("large-one.png")
    assert tile
    assert 100 < tile < 620
    assert call("redo", "out/large-one.png", "-o", "again.png", "--files", "photos", palette.parent) == 0
    np.testing.assert_array_equal(read_image("again.png"), read_image("out/large-one.png"))
    assert call("stylize", *how, "--tile", 256) == 0
    assert tile_of("large-one.png") == 256


@pytest.mark.parametrize(("source", "words"), [("photos", "not for folders"), ("clip.mp4", "clip.mp4 is a video")])
def test_a_plan_is_of_photos_that_are_named(
    palette: Path, source: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("clip.mp4").write_bytes(b"x")
    assert call("stylize", source, "--style", f"{palette}:one", "-o", "out.mp4", "--plan") == 2
    assert words in capsys.readouterr().err
    assert not Path("out.mp4").exists()


@pytest.mark.parametrize(("device", "share"), [("cpu", 360), ("gpu", 360), ("mps", 360), ("cuda", 50)])
def test_a_photo_is_painted_in_a_gpus_own_memory(
    device: str, share: int, invert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or photos of some megapixels, several in hand, would all be too large to be painted beside others."""
    monkeypatch.setattr(Work, "prepare", lambda _: (device, "float16"))
    work = Work(style=load_style(invert), options={"max_side": None})
    assert work.needs(1000, 2000) == share * 2e6
