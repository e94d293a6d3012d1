"""Video in figures: ``python benchmarks/video.py --help``.

``steadiness``: flicker and sharpness with `--steady` against every frame painted by itself, for five styles; ``cuts``:
the first frame after each cut against a fresh start; ``speed``: frames a second of 1280 x 720, end to end; ``memory``:
resident memory over a video of ten minutes; ``sound``: the packets of its sound; ``stills``: a picture to look at;
``colours``: how much mean colours change from frame to frame, painted in several ways; ``film``: flicker, sharpness and
losses of a video painted by optimisation, each frame by itself, led by the last one's painting, and in two passes.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import cv2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from PIL import Image

import impasto
from impasto.flow import STEADY, Motion, Steadier
from impasto.images import resize, write_image
from impasto.memory import keep_memory
from impasto.video import read_clip, read_frames
from pumping import entering, ways
from speed import parse, record

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
STYLES = ("candy", "mosaic", "udnie", "rain_princess", "starry_night")
MINUTES = 10
FPS = 25
SPEED_FRAMES = 60
DISC_FRAMES = 40
PICTURES = Path(__file__).parent.parent / "docs" / "pictures"


def main() -> None:
    """Measure what is asked for, print it and write it as JSON."""
    parser = argparse.ArgumentParser(description="Measure video.")
    parser.add_argument("names", nargs="*", help=f"{', '.join(MEASUREMENTS)}; all but film unless given")
    parser.add_argument(
        "--videos", nargs="+", type=Path, required=True, help="clips; sound, speed and memory take the first"
    )
    parser.add_argument("--frames", type=int, default=100, help="of each clip, for the steadiness and the film")
    parser.add_argument("--start", type=float, default=0.0, help="second at which the film begins")
    parser.add_argument("--painting", type=Path, help="picture whose style the film has")
    parser.add_argument("--size", type=int, default=256, help="long side in pixels of the film")
    parser.add_argument("--iterations", type=int, default=40, help="of the film's frames that are led, at each size")
    parser.add_argument("--fresh", type=int, default=150, help="iterations of others at each size, twice at the first")
    parser.add_argument("--sheets", type=Path, help="folder for pictures of the film's frames")
    args = parse(parser)
    keep_memory()  # as the command does

    def measure(name: str) -> dict[str, Any]:
        with TemporaryDirectory() as folder:
            return MEASUREMENTS[name](args, Path(folder))

    record(args.names or [name for name in MEASUREMENTS if name != "film"], args.json, measure, load=True)


# ---------------------------------------------------------------------------------------------------------- steadiness


def steadiness(args: argparse.Namespace, _: Path) -> dict[str, Any]:
    """Temporal error and sharpness of steadied frames, over those of plain ones, by clip and style."""
    results: dict[str, Any] = {"steady": STEADY, "clips": {}}
    for video in args.videos:
        frames = [frame.pixels for frame in itertools.islice(read_frames(video), args.frames)]
        flows = [flow_of(before, after) for before, after in itertools.pairwise(frames)]
        clip: dict[str, Any] = {"frames": len(frames), "input_error": temporal_error(frames, flows), "styles": {}}
        for style in STYLES:
            loaded, motion, steadier = impasto.load_style(style), Motion(), Steadier()
            plain = [impasto.stylize(frame, loaded) for frame in frames]
            calm = [steadier(painted, motion(frame)) for painted, frame in zip(plain, frames, strict=True)]
            errors = temporal_error(plain, flows), temporal_error(calm, flows)
            clip["styles"][style] = {
                "plain_error": errors[0],
                "steady_error": errors[1],
                "error_ratio": round(errors[1] / errors[0], 3),
                "sharpness_ratio": round(sharpness(calm) / sharpness(plain), 3),
                "sharpness_ratio_at_the_end": round(sharpness(calm[-10:]) / sharpness(plain[-10:]), 3),
            }
            print(video.stem, style, clip["styles"][style], flush=True)
        results["clips"][video.stem] = clip
    for what in ("error_ratio", "sharpness_ratio"):
        values = [s[what] for clip in results["clips"].values() for s in clip["styles"].values()]
        results[f"mean_{what}"] = round(statistics.mean(values), 3)
        results[f"worst_{what}"] = (max if what == "error_ratio" else min)(values)
    return results


def flow_of(before: Pixels, after: Pixels) -> tuple[Floats, npt.NDArray[np.bool_]] | None:
    """Backward flow at full size, finer than what steadies, and where nothing was hidden; None across a cut.

    Hidden is where forward and backward flow disagree, and at the edges of motion (Sundaram, Brox and Keutzer 2010).
    """
    dis: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    dis.setFinestScale(0)
    one, other = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (before, after))
    back, forth = dis.calc(other, one, None), dis.calc(one, other, None)
    returned = moved(forth, back)
    size = (back**2).sum(2) + (returned**2).sum(2)
    seen = ((back + returned) ** 2).sum(2) < 0.01 * size + 0.5
    height, width = one.shape
    x, y = back[..., 0] + np.arange(width), back[..., 1] + np.arange(height)[:, None]
    seen &= (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    along, across = np.gradient(back, axis=(0, 1))
    seen &= (along**2 + across**2).sum(2) < 0.01 * (back**2).sum(2) + 0.1
    return (back, seen) if seen.mean() > 0.2 else None


def moved(image: Any, flow: Floats) -> Any:
    """An image as it is where a flow points to."""
    height, width = flow.shape[:2]
    places = flow + np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
    return cv2.remap(image, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]


def temporal_error(frames: list[Pixels], flows: list[Any]) -> float:
    """Mean over pixels that were seen before of the squared difference from there, of values in [0, 1]."""
    errors = []
    for (before, after), flow in zip(itertools.pairwise(frames), flows, strict=True):
        if flow is not None:
            back, seen = flow
            difference = (after.astype(np.float32) - moved(before.astype(np.float32), back)) / 255
            errors.append(float((difference**2).mean(2)[seen].mean()))
    return float(np.mean(errors))


def sharpness(frames: list[Pixels]) -> float:
    """Mean variance of the Laplacian of lightness."""
    light = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in frames)
    return float(np.mean([cv2.Laplacian(image, cv2.CV_32F).var() for image in light]))


def cuts(args: argparse.Namespace, _: Path) -> dict[str, Any]:
    """The frames at which each clip is cut, as found, and how far the painting there is from a fresh start."""
    loaded = impasto.load_style(STYLES[0])
    results: dict[str, Any] = {}
    for video in args.videos:
        motion, steadier = Motion(), Steadier()
        found: list[int] = []
        worst = 0
        for i, frame in enumerate(read_frames(video)):
            change = motion(frame.pixels)
            painted = impasto.stylize(frame.pixels, loaded)
            calm = steadier(painted, change)
            if change.cut and i:
                found.append(i)
                fresh = Steadier()(painted, Motion()(frame.pixels))
                worst = max(worst, int(np.abs(calm.astype(int) - fresh).max()))
        results[video.stem] = {"cuts": found, "largest_difference_from_a_fresh_start": worst}
    return results


# --------------------------------------------------------------------------------------------------- speed and memory


def speed(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Frames a second of 1280 x 720 from file to file, and seconds of processor a frame, with and without steadying."""
    source = enlarged(args.videos[0], folder / "720p.mp4", (720, 1280), SPEED_FRAMES)
    results: dict[str, Any] = {"frames": SPEED_FRAMES}
    for steady in (STEADY, 0.0):
        rates, used = [], []
        for i in range(2):
            target = folder / f"{i}.mp4"
            begin, before = time.perf_counter(), time.process_time()
            stamps = [time.perf_counter() for _ in impasto.paint_video(source, target, STYLES[0], steady=steady)]
            rates.append(len(stamps) / (time.perf_counter() - begin))
            used.append((time.process_time() - before) / len(stamps))
        results[f"steady {steady:g}"] = {
            "frames_per_second": round(max(rates), 2),
            "all": [round(rate, 2) for rate in rates],
            "processor_seconds_per_frame": round(min(used), 4),
        }
    return results


def enlarged(source: Path, target: Path, size: tuple[int, int], count: int) -> Path:
    """Write the first frames of a clip at another size (height, width)."""
    with av.open(str(target), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "veryfast"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for frame in itertools.islice(read_frames(source), count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(resize(frame.pixels, size), "rgb24")))
        container.mux(stream.encode(None))
    return target


MEMORY = """
import sys, impasto
from impasto.memory import keep_memory
keep_memory()
source, target, style = sys.argv[1:]
for step in impasto.paint_video(source, target, style):
    if step.frame % 250 == 0 or step.frame == step.frames:
        pages = int(open("/proc/self/statm").read().split()[1])
        print(step.frame, pages * 4096 / 1e6, flush=True)
"""


def memory(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Megabytes of a process that paints a video of ten minutes, every ten seconds of the video."""
    source = long_clip(args.videos[0], folder / "long.mp4")
    command = [sys.executable, "-c", MEMORY, str(source), str(folder / "out.mp4"), STYLES[0]]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    points = [(int(frame), float(size)) for frame, size in (line.split() for line in done.stdout.splitlines())]
    settled = [size for frame, size in points if frame >= 60 * FPS]
    draw_memory(points)
    return {
        "minutes": MINUTES,
        "megabytes_by_frame": {str(frame): round(size, 1) for frame, size in points},
        "after_a_minute": settled[0],
        "at_the_end": settled[-1],
        "most_after_a_minute": max(settled),
    }


def long_clip(source: Path, target: Path) -> Path:
    """Write ten minutes of a clip, over and over, small, with sound."""
    frames = [resize(frame.pixels, (68, 160)) for frame in itertools.islice(read_frames(source), 250)]
    with av.open(str(target), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = 68, 160, "yuv420p"
        sound: Any = container.add_stream("aac", rate=48000)
        sound.layout = "stereo"
        rng, place = np.random.default_rng(0), 0
        for i in range(MINUTES * 60 * FPS):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frames[i % len(frames)], "rgb24")))
            while place < (i + 1) * 48000 // FPS:
                data = (0.1 * rng.standard_normal((2, 1024))).astype(np.float32)
                piece = av.AudioFrame.from_ndarray(data, "fltp", layout="stereo")
                piece.sample_rate, piece.pts = 48000, place
                container.mux(sound.encode(piece))
                place += 1024
        container.mux([*stream.encode(None), *sound.encode(None)])
    return target


def draw_memory(points: list[tuple[int, float]]) -> None:
    """Draw memory over the length of the video."""
    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "impasto", "font.size": 8, "axes.grid": True, "grid.alpha": 0.3}
    _, axes = plt.subplots(figsize=(6, 2), layout="constrained")
    axes.plot([frame / FPS / 60 for frame, _ in points], [size for _, size in points], color="tab:blue")
    axes.set(xlabel="minutes of video painted", ylabel="MB resident", ylim=(0, None), xlim=(0, MINUTES))
    plt.savefig(PICTURES / "video-memory.svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close()


# ------------------------------------------------------------------------------------------------------ sound, stills


def sound(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Packets of sound that are the same, and the duration, for a clip with sound in three containers."""
    source = folder / "source.mp4"
    frames = [frame.pixels for frame in itertools.islice(read_frames(args.videos[0]), 100)]
    with av.open(str(source), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        audio: Any = container.add_stream("aac", rate=44100)
        audio.layout = "stereo"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        for i in range(4 * 44100 // 1024):
            wave = np.sin(np.arange(i * 1024, (i + 1) * 1024) * 0.05, dtype=np.float32)
            piece = av.AudioFrame.from_ndarray(np.stack([wave, wave]) * np.float32(0.3), "fltp", layout="stereo")
            piece.sample_rate, piece.pts = 44100, i * 1024
            container.mux(audio.encode(piece))
        container.mux([*stream.encode(None), *audio.encode(None)])
    results: dict[str, Any] = {}
    for suffix in (".mp4", ".mov", ".mkv"):
        target = folder / f"painted{suffix}"
        for _ in impasto.paint_video(source, target, STYLES[0], max_side=160):
            pass
        before, after = packets(source), packets(target)
        results[suffix] = {
            "packets": len(before),
            "identical": sum(a == b for a, b in zip(before, after, strict=False)) if len(before) == len(after) else 0,
            "seconds_longer": round(float(duration(target) - duration(source)), 4),
        }
    return results


def packets(path: Path) -> list[bytes]:
    """Packets of the first stream of sound."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def duration(path: Path) -> Fraction:
    """Seconds, as the container states them."""
    with av.open(str(path)) as container:
        return Fraction(container.duration or 0, av.time_base)


def stills(args: argparse.Namespace, _: Path) -> dict[str, Any]:
    """Neighbouring frames painted each by itself and steadied, and how they differ, side by side."""
    style, first, warm_up = "starry_night", 60, 20
    frames = [f.pixels for f in itertools.islice(read_frames(args.videos[0]), first, first + warm_up + 2)]
    loaded, motion, steadier = impasto.load_style(style), Motion(), Steadier()
    plain = [impasto.stylize(frame, loaded) for frame in frames]
    calm = [steadier(painted, motion(frame)) for painted, frame in zip(plain, frames, strict=True)]
    rows = []
    for pictures in (plain, calm):
        one, other = pictures[-2], pictures[-1]
        flow = flow_of(frames[-2], frames[-1])
        if flow is None:
            raise SystemExit(f"{args.videos[0]}: is cut at frame {first + warm_up}")
        difference = np.abs(other.astype(np.float32) - moved(one.astype(np.float32), flow[0])) * flow[1][..., None]
        rows.append(np.hstack((one, other, np.clip(255 - 3 * difference, 0, 255).astype(np.uint8))))
    sheet = np.vstack(rows)
    scale = 1500 / sheet.shape[1]
    shown = Image.fromarray(sheet).resize((1500, round(sheet.shape[0] * scale)), Image.Resampling.LANCZOS)
    write_image(PICTURES / "video.jpg", np.asarray(shown), quality=85)
    return {"style": style, "frames": [first + warm_up, first + warm_up + 1], "clip": args.videos[0].stem}


# ------------------------------------------------------------------------------------------------------------- colours


def colours(args: argparse.Namespace, _: Path) -> dict[str, Any]:
    """How mean colours change along the motion, in levels of 255: of each clip, and where a disc comes into a still.

    `change`: root of the mean square, from each frame to the next; `most`: the most between two frames.
    """
    clips = {video.stem: [f.pixels for f in itertools.islice(read_frames(video), args.frames)] for video in args.videos}
    still = next(iter(clips.values()))[0]
    clips["a disc comes in"] = entering(still, min(args.frames, DISC_FRAMES))
    results: dict[str, Any] = {"clips": {}}
    for name, frames in clips.items():
        flows = [flow_of(before, after) for before, after in itertools.pairwise(frames)]
        fresh = {number for number, flow in enumerate(flows, 1) if flow is None}
        clip: dict[str, Any] = {"frames": len(frames), "input": changes(frames, flows), "styles": {}}
        for style in STYLES:
            painted = ways(frames, impasto.load_style(style), fresh)
            clip["styles"][style] = {way: changes(seen, flows) for way, seen in painted.items()}
            print(name, style, clip["styles"][style], flush=True)
        results["clips"][name] = clip
    return results


def changes(frames: list[Pixels], flows: list[Any]) -> dict[str, float]:
    """Change of the mean colour of what both frames show, from each to the next: its root mean square, and the most."""
    found = []
    for (before, after), flow in zip(itertools.pairwise(frames), flows, strict=True):
        if flow is not None:
            back, seen = flow
            found.append((after.astype(np.float32) - moved(before.astype(np.float32), back))[seen].mean(0))
    values = np.array(found)
    return {"change": round(float(np.sqrt((values**2).mean())), 3), "most": round(float(np.abs(values).max()), 2)}


# ---------------------------------------------------------------------------------------------------------------- film

WAYS: dict[str, dict[str, Any]] = {"alone": {"steady": 0.0}, "led": {}, "two passes": {"passes": 2}}


def film(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Temporal error, sharpness and losses of each video painted by optimisation, in each of the ways."""
    if args.painting is None:
        raise SystemExit("film needs a --painting")
    about = {"size": args.size, "painting": args.painting.stem, "start": args.start}
    return about | {"clips": {video.stem: filmed(video, args, folder) for video in args.videos}}


def filmed(video: Path, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Figures of one video, and a picture of its frames: as they are, and a row for each of the ways."""
    end = args.start + (args.frames - 0.5) / float(read_clip(video).rate)
    results: dict[str, Any] = {}
    rows: list[list[Pixels]] = []
    for way, settings in WAYS.items():
        config = impasto.OptimizeConfig(
            video,
            (str(args.painting),),
            output=folder / f"{video.stem} {way}.mkv",
            size=args.size,
            first_iterations=2 * args.fresh,
            iterations=args.fresh,
        )
        piece = impasto.FilmConfig(start=args.start, end=end, quality=100, frame_iterations=args.iterations, **settings)
        last: dict[int, impasto.FilmStep] = {}
        begin = time.perf_counter()
        for step in impasto.optimize_video(config, piece):
            last[step.frame] = step
        seconds = (time.perf_counter() - begin) / len(last)
        painted = [frame.pixels for frame in read_frames(config.output)]
        if not rows:
            shown = read_frames(video, start=args.start, end=end)
            rows.append([resize(frame.pixels, painted[0].shape[:2]) for frame in shown])
            flows = [flow_of(before, after) for before, after in itertools.pairwise(rows[0])]
            results |= {"frames": len(painted), "input_error": temporal_error(rows[0], flows)}
        rows.append(painted)
        results[way] = {
            "error": temporal_error(painted, flows),
            "sharpness": sharpness(painted),
            "sharpness_of_the_last_quarter": sharpness(painted[-max(1, len(painted) // 4) :]),
            "content": statistics.mean(step.content for step in last.values()),
            "style": statistics.mean(step.style for step in last.values()),
            "seconds_a_frame": seconds,
        }
        if way != "alone":
            results[way]["over_alone"] = {k: round(v / results["alone"][k], 3) for k, v in results[way].items()}
        print(video.stem, way, results[way], flush=True)
    if args.sheets:
        columns = np.linspace(0, len(rows[0]) - 1, min(4, len(rows[0]))).round().astype(int)
        sheet = np.vstack([np.hstack([row[i] for i in columns]) for row in rows])
        write_image(args.sheets / f"film-{video.stem}.jpg", sheet, quality=85)
    return results


MEASUREMENTS: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    "steadiness": steadiness,
    "cuts": cuts,
    "speed": speed,
    "memory": memory,
    "sound": sound,
    "stills": stills,
    "colours": colours,
    "film": film,
}

if __name__ == "__main__":
    main()
