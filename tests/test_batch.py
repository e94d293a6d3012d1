"""Folders in, folders out. Where it is not the processes that are tested, this process paints in their place."""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import impasto
from clipmaker import blocks, stamps, write_clip
from impasto import BatchConfig, BatchStep, ClipConfig, ImageError, ImpastoError, batch, painters, stylize_folder
from impasto.images import read_image, write_image
from impasto.painters import Here, Processes
from impasto.recipes import make_recipe, read_recipe
from impasto.runtimes import ABREAST
from impasto.styles import load_style
from impasto.work import Job, Outcome, Work, paint_file

Pixels = npt.NDArray[np.uint8]
Noise = Callable[..., Pixels]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Paint in this process; the jobs that were painted."""
    jobs: list[Job] = []

    def paint(work: Work, job: Job, memory: float | None = None) -> Outcome:
        jobs.append(job)
        return paint_file(work, job, memory)

    monkeypatch.setattr(batch, "Processes", lambda work, *_: Here(work))
    monkeypatch.setattr(painters, "paint_file", paint)
    return jobs


@pytest.fixture
def photos(noise: Noise) -> dict[str, Pixels]:
    """Pictures of noise by name, in the folder photos."""
    names = ("a.png", "b.png", "sub/a.png", "sub/deep/c.png")
    made = {name: noise(9 + i, 12, seed=i) for i, name in enumerate(names)}
    for name, pixels in made.items():
        save(f"photos/{name}", pixels)
    return made


def save(name: str, pixels: Pixels) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(name)


def paint(style: Any, source: Any = "photos", target: str = "out", **options: Any) -> BatchStep:
    """Paint a folder; the last step."""
    asked = {name: options.pop(name) for name in [*options] if name in BatchConfig.__dataclass_fields__}
    given: dict[str, Any] = {"precision": "float32", "batch": BatchConfig(**asked)} | options
    return list(stylize_folder(source, target, style, **given))[-1]


def counts(step: BatchStep) -> tuple[int, int, int, int]:
    return step.painted, step.unchanged, step.failed, step.failed_before


def outputs(folder: str = "out") -> list[str]:
    """Files in the output folder, hidden ones too, but for the manifest."""
    files = sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())
    return [name for name in files if name != "manifest.jsonl"]


def lines(folder: str = "out") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "manifest.jsonl").read_text("ascii").splitlines()]


# ------------------------------------------------------------------------------------------------------------- results


def test_processes_paint_a_folder_into_the_same_folders(photos: dict[str, Pixels], invert: Path) -> None:
    steps = list(stylize_folder("photos", "out", invert, precision="float32"))
    assert counts(steps[-1]) == (4, 0, 0, 0)
    assert steps[0].result is None
    assert sorted(step.result.input for step in steps if step.result) == sorted(photos)
    for name, pixels in photos.items():
        np.testing.assert_array_equal(read_image(f"out/{name[:-4]}-invert.png"), 255 - pixels)
    assert len(outputs()) == 4
    assert {line["status"] for line in lines()} == {"done"}
    assert all(line["bytes"] == Path("out", line["output"]).stat().st_size for line in lines())
    assert (lines()[0]["device"], lines()[0]["precision"]) == ("cpu", "float32")


def test_steps_tell_how_far_it_is(photos: dict[str, Pixels], here: list[Job], invert: Path) -> None:
    del photos
    steps = [step for step in stylize_folder("photos", "out", invert) if step.result]
    assert [step.left for step in steps] == [3, 2, 1, 0]
    assert all(step.total == 4 and step.files_per_second > 0 for step in steps)
    assert steps[-1].seconds_left == 0
    assert len(here) == 4


def test_options_styles_and_masks_reach_the_paintings(
    photos: dict[str, Pixels], invert: Path, colors: Path, here: list[Job]
) -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[:, 3:] = 255
    photo = photos["a.png"]
    asked: list[tuple[Any, dict[str, Any]]] = [
        (invert, {"strength": 0.4, "colors": "luma", "mask": mask}),
        (f"{colors}:red:0.5,{colors}:blue:0.5", {"stroke": 2.0}),
        ([(invert, mask), (f"{colors}:red", 255 - mask)], {}),
        (invert, {"max_side": 7}),
    ]
    for number, (style, options) in enumerate(asked):
        paint(style, "photos/a.png", f"out{number}", **options)
        expected = impasto.stylize(photo, style, precision="float32", **options)
        (name,) = outputs(f"out{number}")
        np.testing.assert_array_equal(read_image(f"out{number}/{name}"), expected)
    assert len(here) == 4


def test_pictures_carry_their_recipe(photos: dict[str, Pixels], invert: Path, here: list[Job]) -> None:
    del photos
    about = {"style": invert.name, "weights": {"invert": 1.0}, "mask": None}
    recipe = make_recipe("stylize", about, [invert])
    paint(invert, recipe=recipe)
    assert here
    found = read_recipe(Path("out/sub/a-invert.png"))
    whole = make_recipe("stylize", {"photo": "a.png", **about, "tile": None}, [Path("photos/sub/a.png"), invert])
    assert found == whole
    Path("out/a-invert.png").unlink()
    paint(invert, recipe=recipe | {"files": {"a.png": "another", **recipe["files"]}})
    with pytest.raises(ImageError, match="holds no recipe"):
        read_recipe(Path("out/a-invert.png"))


def test_videos_are_painted_after_the_photos(photos: dict[str, Pixels], invert: Path) -> None:
    write_clip(Path("photos/sub/clip.mp4"), blocks(count=12))
    steps = [step for step in stylize_folder("photos", "out", invert, clip=ClipConfig(end=0.2)) if step.result]
    assert counts(steps[-1]) == (len(photos) + 1, 0, 0, 0)
    assert steps[-1].result
    assert steps[-1].result.output == "sub/clip-invert.mp4"
    assert len(stamps(Path("out/sub/clip-invert.mp4"))) == 5
    assert counts(paint(invert, precision="auto", clip=ClipConfig(end=0.2))) == (0, 5, 0, 0)
    assert counts(paint(invert, precision="auto", clip=ClipConfig(end=0.3))) == (1, 4, 0, 0)


def test_a_video_fails_by_itself_without_its_extra(
    photos: dict[str, Pixels], invert: Path, here: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("photos/clip.mp4").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "impasto.encode", None)
    monkeypatch.setitem(sys.modules, "impasto.clips", None)
    assert counts(paint(invert)) == (len(photos), 0, 1, 0)
    assert "pip install 'impasto[video]'" in lines()[-1]["error"]
    assert here


@pytest.mark.parametrize(
    "name", ["two words.png", "-dash.png", "new\nline.png", "絵.png", "a\udcffb.png", "'$(x)'.png", "x" * 200 + ".png"]
)
def test_odd_names(name: str, noise: Noise, invert: Path, here: list[Job]) -> None:
    save("photos/a.png", noise(8, 8))
    Path("photos/a.png").rename(f"photos/{name}")
    assert counts(paint(invert)) == (1, 0, 0, 0)
    assert outputs() == [f"{name[:-4]}-invert.png"]
    assert counts(paint(invert)) == (0, 1, 0, 0)
    assert len(here) == 1


def test_odd_names_reach_the_processes(noise: Noise, invert: Path) -> None:
    save("photos/a.png", noise(8, 8))
    Path("photos/a.png").rename("photos/-a\n絵\udcffb.png")
    assert counts(paint(invert)) == (1, 0, 0, 0)
    assert outputs() == ["-a\n絵\udcffb-invert.png"]


# ------------------------------------------------------------------------------------------------- what has been done


def test_nothing_is_painted_twice(photos: dict[str, Pixels], invert: Path, here: list[Job]) -> None:
    paint(invert)
    before = {name: Path("out", name).stat().st_mtime_ns for name in outputs()}
    step = paint(invert)
    assert counts(step) == (0, 4, 0, 0)
    assert (step.left, step.seconds_left, step.files_per_second) == (0, None, 0)
    assert {name: Path("out", name).stat().st_mtime_ns for name in outputs()} == before
    assert len(here) == len(lines()) == len(photos)


@pytest.mark.parametrize("changed", ["pixels", "new", "output gone", "output cut", "manifest line gone"])
def test_what_has_changed_is_painted(
    photos: dict[str, Pixels], noise: Noise, invert: Path, here: list[Job], changed: str
) -> None:
    paint(invert)
    here.clear()
    if changed == "pixels":
        save("photos/sub/a.png", noise(30, 30, seed=7))
    elif changed == "new":
        save("photos/new.png", noise(30, 30, seed=7))
    elif changed == "output gone":
        Path("out/sub/a-invert.png").unlink()
    elif changed == "output cut":
        os.truncate("out/sub/a-invert.png", 20)
    else:
        manifest = Path("out/manifest.jsonl")
        manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(keepends=True)[:-1])[:-9])
    step = paint(invert)
    assert step.painted == len(here) == (2 if changed == "manifest line gone" else 1)
    assert step.painted + step.unchanged == len(photos) + (changed == "new")
    for name in outputs():
        np.testing.assert_array_equal(
            read_image(f"out/{name}"), 255 - read_image(f"photos/{name.replace('-invert', '')}")
        )


def test_a_photo_that_was_only_touched_is_read_and_not_painted(
    photos: dict[str, Pixels], invert: Path, here: list[Job]
) -> None:
    paint(invert)
    before = Path("out/a-invert.png").stat().st_mtime_ns
    os.utime("photos/a.png", (1, 1))
    assert counts(paint(invert)) == (0, len(photos), 0, 0)
    assert here[-1].known
    assert Path("out/a-invert.png").stat().st_mtime_ns == before
    here.clear()
    assert counts(paint(invert)) == (0, len(photos), 0, 0)
    assert not here  # its new time is known now


@pytest.mark.parametrize(
    "options",
    [{"strength": 0.5}, {"colors": "luma"}, {"max_side": 5}, {"quality": 50}, {"mask": np.full((3, 3), 9, np.uint8)}],
    ids=lambda options: next(iter(options)),
)
def test_other_options_paint_everything_anew(
    photos: dict[str, Pixels], invert: Path, here: list[Job], options: dict[str, Any]
) -> None:
    paint(invert)
    assert counts(paint(invert, **options)) == (len(photos), 0, 0, 0)
    assert counts(paint(invert, **options)) == (0, len(photos), 0, 0)
    assert len(here) == 2 * len(photos)


def test_without_resume_everything_is_painted_anew(photos: dict[str, Pixels], invert: Path, here: list[Job]) -> None:
    paint(invert)
    assert counts(paint(invert, resume=False)) == (len(photos), 0, 0, 0)
    assert counts(paint(invert)) == (0, len(photos), 0, 0)
    assert len(here) == 2 * len(photos)


def test_another_style_stands_beside_and_a_changed_one_replaces(
    photos: dict[str, Pixels], invert: Path, colors: Path, here: list[Job]
) -> None:
    Path("mine.onnx").write_bytes(invert.read_bytes())
    paint("mine.onnx", name="mine")
    assert counts(paint(f"{colors}:red")) == (len(photos), 0, 0, 0)
    assert len(outputs()) == 2 * len(photos)
    assert counts(paint("mine.onnx", name="mine")) == (0, len(photos), 0, 0)
    Path("mine.onnx").write_bytes(colors.read_bytes())
    assert counts(paint("mine.onnx:red", name="mine")) == (len(photos), 0, 0, 0)
    assert len(here) == 3 * len(photos)


# ------------------------------------------------------------------------------------------------------------ failures


def test_a_broken_file_costs_only_itself(photos: dict[str, Pixels], invert: Path, here: list[Job]) -> None:
    Path("photos/b.png").write_bytes(Path("photos/b.png").read_bytes()[:60])
    Path("photos/empty.jpg").write_bytes(b"")
    Path("photos/text.jpg").write_text("not a picture")
    steps = list(stylize_folder("photos", "out", invert))
    assert counts(steps[-1]) == (3, 0, 3, 0)
    errors = [step.result.error for step in steps if step.result and step.result.error]
    assert len(errors) == 3
    assert all("cannot read photos" in error for error in errors)
    assert len(outputs()) == 3
    here.clear()
    assert counts(paint(invert, precision="auto")) == (0, 3, 0, 3)
    assert not here
    assert counts(paint(invert, precision="auto", retry_failed=True)) == (0, 3, 3, 0)
    save("photos/b.png", photos["b.png"])
    assert counts(paint(invert, precision="auto")) == (1, 3, 0, 2)


def test_it_stops_after_so_many_errors(photos: dict[str, Pixels], invert: Path, here: list[Job]) -> None:
    for i in range(5):
        Path(f"photos/0{i}.jpg").write_bytes(b"x")
    with pytest.raises(ImpastoError, match="stopped after 2 failed, as --max-errors says"):
        paint(invert, max_errors=2)
    assert [line["status"] for line in lines()] == ["failed", "failed"]
    with pytest.raises(ImpastoError, match="stopped after 3"):
        paint(invert, max_errors=3)
    assert counts(paint(invert, max_errors=3)) == (len(photos), 0, 0, 5)
    assert len(here) == 9


def test_a_disk_that_refuses_ends_the_run_and_costs_no_photo(
    photos: dict[str, Pixels], invert: Path, here: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = ImageError("cannot write it: the disk is full; free some space")
    refusal.__cause__ = OSError(28, "No space left on device")

    def full(target: Path, *args: Any, **options: Any) -> None:
        if len(here) == 3:
            raise refusal
        write_image(target, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr("impasto.work.write_image", full)
        with pytest.raises(ImageError, match="the disk is full"):
            paint(invert)
    assert [line["status"] for line in lines()] == ["done", "done"]
    assert counts(paint(invert)) == (2, len(photos) - 2, 0, 0)


def test_warnings_of_a_photo_are_passed_on(noise: Noise, invert: Path) -> None:
    Path("photos").mkdir()
    Image.fromarray(noise(8, 8)).save("photos/a.png", icc_profile=b"broken" * 40)
    with pytest.warns(UserWarning, match="photos/a.png: the embedded colour profile is broken"):
        assert counts(paint(invert)) == (1, 0, 0, 0)


def test_what_does_not_fit_beside_others_is_painted_alone(
    photos: dict[str, Pixels], noise: Noise, invert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("photos/large.png", noise(300, 300))
    alone: list[str] = []

    class Spied(Processes):
        def paint(self, job: Job) -> Outcome:
            outcome = super().paint(job)
            if job.alone:
                alone.append(job.source)
            return outcome

    monkeypatch.setattr(batch, "Processes", Spied)
    monkeypatch.setattr(batch, "total_memory", lambda: 2 * 2 * 100 * 100 * 360.0)
    assert counts(paint(invert, workers=2)) == (len(photos) + 1, 0, 0, 0)
    assert alone == [str(Path("photos", "large.png"))]


def test_a_process_that_dies_costs_one_file(
    photos: dict[str, Pixels], invert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it paints one file, twice: the others are painted, by another process."""
    started = painters.Painter.started

    def doomed(self: painters.Painter) -> Any:
        child = started(self)
        if kill.pop(0):
            child.process.kill()
        return child

    kill = [True, False, False, False, True]
    monkeypatch.setattr(painters.Painter, "started", doomed)
    assert counts(paint(invert, workers=1)) == (len(photos) - 1, 0, 1, 0)
    assert "was ended by signal 9; was there memory enough?" in lines()[-1]["error"]
    kill[:] = [True, False]
    assert counts(paint(invert, workers=1, retry_failed=True)) == (1, len(photos) - 1, 0, 0)  # the second time alone


def test_a_process_paints_several_at_a_time(noise: Noise, invert: Path) -> None:
    """And tells of each by itself; a small one need not wait for a large one."""
    save("large.png", noise(2000, 3000))
    save("small.png", noise(8, 8))
    Image.fromarray(noise(8, 9)).save("profile.png", icc_profile=b"broken" * 40)
    Path("broken.png").write_bytes(b"none")
    options = dict.fromkeys(("strength", "stroke", "mask", "max_side")) | {"colors": "style", "device": "auto"}
    work = Work(style=load_style(invert), options=options | {"precision": "float32"})
    jobs = {
        name: Job(source=f"{name}.png", target=f"out/{name}.png") for name in ("large", "small", "profile", "broken")
    }
    with batch.ended(Processes(work, 1, 1, None, abreast=4)) as several:
        assert several.size == 4
        made = {name: several.submit(job) for name, job in jobs.items()}
        for name in ("small", "profile", "broken"):
            made[name].result(60)
        assert not made["large"].done()
    found = {name: future.result() for name, future in made.items()}
    assert {name: one.status for name, one in found.items()} == dict.fromkeys(jobs, "done") | {"broken": "failed"}
    assert {name: len(one.notes) for name, one in found.items()} == dict.fromkeys(jobs, 0) | {"profile": 1}
    assert (found["large"].width, found["small"].width) == (3000, 8)


def test_a_process_that_dies_with_several_in_hand_costs_none_of_them(
    photos: dict[str, Pixels], invert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, count = painters.Painter.started, [0]

    def doomed(self: painters.Painter) -> Any:
        child = started(self)
        count[0] += 1
        if count[0] == 3:
            child.process.kill()
        return child

    monkeypatch.setattr(painters.Painter, "started", doomed)
    monkeypatch.setattr(batch.Run, "abreast", lambda *_: 3)
    assert counts(paint(invert, workers=1)) == (len(photos), 0, 0, 0)
    assert count[0] > len(photos)


def play(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have such a program take the place of a process that paints."""
    Path("fool").write_text(f"#!{sys.executable}\nimport os, time\n{said}\n")
    Path("fool").chmod(0o700)
    monkeypatch.setattr(painters, "sys", type("Sys", (), {"executable": str(Path("fool").resolve()), "path": []}))


@pytest.mark.parametrize("said", ["nonsense", "[1]", "[7, {}]", "7"])
def test_a_process_that_speaks_nonsense_has_died(said: str, invert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(f"print('{{}}\\n{said}', flush=True)\ntime.sleep(60)", monkeypatch)
    begin = time.monotonic()
    with batch.ended(Processes(Work(style=load_style(invert), options={}), 1, 1, None)) as processes:
        outcome = processes.submit(Job(source="a.png", target="b.png")).result(30)
    assert (outcome.status, "a.png: the process that painted it was ended by signal 9" in outcome.error) == (
        "died",
        True,
    )
    assert time.monotonic() - begin < 30


def test_what_ends_a_thread_of_a_process_ends_the_process(
    noise: Noise, invert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or its answer would be waited for without end."""
    Path("leaving.py").write_text(
        "from impasto.work import Work\n\n\nclass Leaving(Work):\n"
        "    def needs(self, *_):\n        raise SystemExit(3)\n"
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    save("a.png", noise(8, 8))
    options = dict.fromkeys(("device", "precision"), "auto")
    work = importlib.import_module("leaving").Leaving(style=load_style(invert), options=options)
    with batch.ended(Processes(work, 1, 1, 1e9, abreast=2)) as processes:
        outcome = processes.submit(Job(source="a.png", target="b.png")).result(30)
    assert (outcome.status, outcome.error) == ("died", "a.png: the process that painted it ended with 1")


@pytest.mark.parametrize("now", [False, True])
def test_a_process_that_is_starting_is_stopped_too(now: bool, invert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play("open('begun', 'a').write('x')\ntime.sleep(60)", monkeypatch)
    processes, begin = Processes(Work(style=load_style(invert), options={}), 1, 1, None, abreast=3), time.monotonic()
    made = [processes.submit(Job(source="a.mp4", target="b.mp4", clip=True)) for _ in range(3)]
    while not Path("begun").exists() and time.monotonic() < begin + 20:
        time.sleep(0.01)
    if not now:
        processes.stop()
        for one in made:
            with pytest.raises(ImpastoError, match="does not start"):
                one.result(30)
    processes.close(now=now)
    assert time.monotonic() - begin < 30
    assert Path("begun").read_text() == "x"  # whoever waited for it starts no other


def test_that_no_process_starts_is_found_out_once(invert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play("open('begun', 'a').write('x')\ntime.sleep(0.2)\nos._exit(3)", monkeypatch)
    with batch.ended(Processes(Work(style=load_style(invert), options={}), 1, 1, None, abreast=4)) as processes:
        made = [processes.submit(Job(source="a.png", target="b.png")) for _ in range(4)]
        assert {str(one.exception(30)) for one in made} == {"a process to paint in does not start: it ended with 3"}
    assert Path("begun").read_text() == "x"


def test_how_a_process_that_does_not_start_ended_is_told(invert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play("os.close(1)\ntime.sleep(0.3)\nos._exit(3)", monkeypatch)  # as an interpreter is long in ending
    with batch.ended(Processes(Work(style=load_style(invert), options={}), 1, 1, None)) as processes:
        error = processes.submit(Job(source="a.png", target="b.png")).exception(30)
    assert str(error) == "a process to paint in does not start: it ended with 3"


def test_an_answer_that_cannot_be_taken_is_a_process_that_died(invert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = json.loads

    def full(text: bytes) -> Any:
        if text.startswith(b"[0"):
            raise MemoryError
        return loads(text)

    play("print('{}\\n[0, {}]', flush=True)\ntime.sleep(60)", monkeypatch)
    monkeypatch.setattr(json, "loads", full)
    with batch.ended(Processes(Work(style=load_style(invert), options={}), 1, 1, None)) as processes:
        assert processes.submit(Job(source="a.png", target="b.png")).result(30).status == "died"


@pytest.mark.parametrize(
    ("device", "cores", "options", "expected"),
    [
        ("cpu", 16, {}, 1),
        ("auto", 16, {}, 1),
        ("gpu", 1, {}, 1),
        ("gpu", 16, {}, 8),
        ("gpu", 64, {}, ABREAST),
        ("gpu", 16, {"workers": 3}, 1),
        ("gpu", 16, {"memory": 1e9}, 1),
    ],
)
def test_photos_in_hand_for_a_gpu(
    device: str, cores: int, options: dict[str, Any], expected: int, invert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "processors", lambda: cores)
    work = Work(style=load_style(invert), options={"device": device, "mask": None}, memory=options.pop("memory", None))
    run = batch.Run([], work, "out", BatchConfig(**options))
    assert run.abreast(run.most_workers()) == expected


def test_a_network_that_does_not_run_is_told_once(
    photos: dict[str, Pixels], invert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del photos
    monkeypatch.setattr(painters, "sys", type("Sys", (), {"executable": "false", "path": []}))
    with pytest.raises(ImpastoError, match="does not start"):
        paint(invert)
    assert lines() == []


# ----------------------------------------------------------------------------------------------- mistakes and the plan


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("nothing", ImpastoError, "cannot read nothing: there is no such file"),
        ("empty", ImageError, "empty: there is nothing to paint"),
        ("texts", ImageError, "texts: there is nothing to paint"),
        ("photos/*.gif", ImageError, "there is nothing to paint"),
        ([], ImageError, "there is nothing to paint"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_nothing_to_paint(source: Any, error: type[Exception], words: str, invert: Path, here: list[Job]) -> None:
    Path("empty").mkdir()
    Path("texts").mkdir()
    Path("texts/notes.txt").write_text("x")
    if source == "nothing":
        assert counts(paint(invert, source)) == (0, 0, 1, 0)
        assert words in lines()[0]["error"]
        return
    with pytest.raises(error, match=words):
        paint(invert, source)
    assert not Path("out").exists()
    assert not here


@pytest.mark.parametrize(
    ("target", "words"),
    [("photos", "the folder that is read"), ("photos/.", "the folder that is read"), ("a.png", "it is a folder"),
     ("file", "it is a folder")],
)  # fmt: skip
@pytest.mark.usefixtures("photos")
def test_outputs_that_cannot_be(target: str, words: str, invert: Path) -> None:
    Path("file").write_text("x")
    with pytest.raises(ValueError, match=words):
        paint(invert, target=target)


def test_the_output_may_be_in_the_input_and_above_it(photos: dict[str, Pixels], invert: Path, here: list[Job]) -> None:
    for _ in range(2):
        step = paint(invert, target="photos/painted")
        assert step.total == len(photos)
    assert counts(paint(invert, "photos/sub", "photos", exclude=("painted",))) == (2, 0, 0, 0)
    assert len(here) == len(photos) + 2


def test_an_input_is_never_written_over(photos: dict[str, Pixels], invert: Path, here: list[Job]) -> None:
    Path("out").mkdir()
    Path("out/a-invert.png").hardlink_to("photos/a.png")
    with pytest.raises(ValueError, match="one of the files that are read"):
        paint(invert)
    np.testing.assert_array_equal(read_image("photos/a.png"), photos["a.png"])
    assert not here


def test_names_that_would_be_the_same_are_kept_apart(noise: Noise, invert: Path, here: list[Job]) -> None:
    for name in ("a.png", "a.bmp", "a.jpg"):
        save(f"photos/{name}", noise(8, 8))
    save("photos/a.gif", noise(8, 8))
    with pytest.warns(UserWarning, match=r"becomes a\.bmp-invert\.png.*; so do 1 more"):
        assert counts(paint(invert)) == (4, 0, 0, 0)
    assert outputs() == ["a-invert.jpg", "a-invert.png", "a.bmp-invert.png", "a.gif-invert.png"]
    save("more/photos/a.png", noise(8, 8))
    with pytest.raises(ValueError, match=r"would both become .*leave one out by --exclude"):
        paint(invert, ["photos", "more/photos"], exclude=("*.bmp", "*.gif"))
    assert len(here) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [({"strength": 2}, "strength is 2"), ({"quality": 0}, "quality is 0"), ({"workers": 0}, "workers is 0"),
     ({"max_errors": 0}, "max_errors is 0"), ({"include": ("",)}, "include has an empty pattern"),
     ({"cluster": ""}, "cluster is empty"), ({"stroke": 1.0}, "a network of one style"),
     ({"mask": np.zeros((3, 3, 3), np.uint8)}, "mask is")],
)  # fmt: skip
@pytest.mark.usefixtures("photos")
def test_mistakes(options: dict[str, Any], words: str, invert: Path) -> None:
    with pytest.raises((ValueError, impasto.StyleError), match=words):
        paint(invert, **options)
    assert not Path("out").exists()


def test_a_style_of_a_file_of_several_has_to_be_named(photos: dict[str, Pixels], colors: Path) -> None:
    del photos
    with pytest.raises(impasto.StyleError, match="name one"):
        paint(colors)


# --------------------------------------------------------------------------------------------------- being interrupted


def test_closed_it_finishes_what_is_being_painted(photos: dict[str, Pixels], invert: Path) -> None:
    steps = stylize_folder("photos", "out", invert, precision="float32", batch=BatchConfig(workers=2))
    next(steps)
    while not next(steps).result:
        pass
    steps.close()
    done = lines()
    assert 1 <= len(done) <= 3
    assert sorted(line["output"] for line in done) == outputs()
    assert counts(paint(invert, workers=2)) == (len(photos) - len(done), len(done), 0, 0)


def test_a_video_that_is_stopped_goes_on(invert: Path) -> None:
    write_clip(Path("photos.mp4"), blocks(120, 160, 260, step=1))
    steps = stylize_folder("photos.mp4", "out", invert)
    limit = time.monotonic() + 60
    for step in steps:
        if Path("out/.photos-invert.mp4.parts/000000.json").exists() or step.result or time.monotonic() > limit:
            break
    steps.close()
    if Path("out/photos-invert.mp4").exists():
        pytest.skip("this machine is too fast to be stopped")
    assert lines() == []
    assert Path("out/.photos-invert.mp4.parts/000000.json").exists()
    assert counts(paint(invert, "photos.mp4", precision="auto")) == (1, 0, 0, 0)
    assert len(stamps(Path("out/photos-invert.mp4"))) == 260
    assert not Path("out/.photos-invert.mp4.parts").exists()


def test_a_video_is_stopped_too_where_who_asked_for_it_is_gone(invert: Path) -> None:
    write_clip(Path("photos.mp4"), blocks(120, 160, 260, step=1))
    options = dict.fromkeys(("strength", "stroke", "mask", "max_side")) | {"colors": "style", "device": "auto"}
    work = Work(style=load_style(invert), options=options | {"precision": "float32"})
    with batch.ended(Processes(work, 1, 1, None)) as processes:
        made, limit = processes.submit(Job(source="photos.mp4", target="out.mp4", clip=True)), time.monotonic() + 60
        while not Path(".out.mp4.parts").exists() and time.monotonic() < limit:
            time.sleep(0.005)
        child = processes.painters[0].child
        assert child
        assert child.process.stdin
        child.process.stdin.close()  # as where the other process was killed
        assert made.result(60).status == "stopped"


# ------------------------------------------------------------------------------------------------------------- storage


@pytest.fixture
def store() -> Iterator[Any]:
    """The files of fsspec's memory, which only this process sees."""
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    yield store
    store.store.clear()
    store.pseudo_dirs[:] = [""]


def test_from_and_to_a_store(photos: dict[str, Pixels], invert: Path, store: Any) -> None:
    store.put("photos", "/photos", recursive=True)
    store.pipe_file("/photos/broken.jpg", b"x")
    assert counts(paint(invert, "memory://photos", "memory://out")) == (len(photos), 0, 1, 0)
    store.get("/out", "got", recursive=True)
    assert outputs("got") == sorted(f"{name[:-4]}-invert.png" for name in photos)
    for name, pixels in photos.items():
        np.testing.assert_array_equal(read_image(f"got/{name[:-4]}-invert.png"), 255 - pixels)
    (error,) = (line["error"] for line in lines("got") if line["status"] == "failed")
    assert "cannot read memory://photos/broken.jpg" in error
    assert counts(paint(invert, "memory://photos", "memory://out")) == (0, len(photos), 0, 1)
    store.pipe_file("/photos/a.png", Path("photos/b.png").read_bytes())
    assert counts(paint(invert, "memory://photos", "memory://out")) == (1, len(photos) - 1, 0, 1)


def test_a_folder_to_a_store_and_a_video(photos: dict[str, Pixels], invert: Path, store: Any) -> None:
    write_clip(Path("photos/clip.mp4"), blocks(count=6))
    assert counts(paint(invert, "photos", "memory://out")) == (len(photos) + 1, 0, 0, 0)
    Path("clip.mp4").write_bytes(store.cat_file("/out/clip-invert.mp4"))
    assert len(stamps(Path("clip.mp4"))) == 6
    assert counts(paint(invert, "memory://out/**/*.mp4", "local", name="again")) == (1, 0, 0, 0)
    assert outputs("local") == ["clip-invert-again.mp4"]


# ---------------------------------------------------------------------------------------------------------- one's work


def test_the_configuration_is_all_that_decides_a_painting(invert: Path, colors: Path) -> None:
    options = dict.fromkeys(("strength", "stroke", "mask", "max_side")) | {"colors": "style"}
    options |= {"device": "auto", "precision": "auto"}
    style, palette = load_style(invert), load_style(f"{colors}:red")
    work = Work(style=style, options=options)
    mask = np.zeros((2, 3), np.uint8)
    others = [
        replace(work, style=palette),
        replace(work, style=palette.choose({"red": 1, "blue": 1})),
        replace(work, style=[(style, mask)]),
        replace(work, style=[(style, mask.T)]),
        replace(work, options=options | {"mask": mask}),
        replace(work, quality=3),
        replace(work, tile=512),
    ]
    hashes = [each.configuration(clip=False) for each in (work, *others)]
    assert len(set(hashes)) == len(hashes)
    steadier = replace(work, clip=ClipConfig(steady=0.1))
    assert steadier.configuration(clip=False) == work.configuration(clip=False)
    assert steadier.configuration(clip=True) != work.configuration(clip=True)
    for same in (replace(work, resume=False), replace(work, memory=1e9)):
        assert same.configuration(clip=True) == work.configuration(clip=True)
