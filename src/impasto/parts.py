"""Finished parts of a video that is being painted: what survives an interruption, and is joined at the end.

A part is a file of packets, begun by a key frame, beside a small one that says when each of its frames is shown and
how the next part has to begin. Each is written whole or not at all. Frames are cut into the same parts whether the work
was interrupted or not, so the joined file is the same.
"""

from __future__ import annotations

import heapq
import io
import itertools
import json
import shutil
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import av
import numpy as np

from impasto.animations import write_gif, write_webp
from impasto.encode import CONTAINERS as FORMATS
from impasto.encode import Encoder, Target, add_stream, keep_metadata, muxer_options
from impasto.files import atomic_write
from impasto.sound import Sound
from impasto.video import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from impasto.images import Floats, Pixels
    from impasto.video import Clip, Frame

    State = Mapping[str, Pixels | Floats]

PART_FRAMES: Final = 120
"""Of one part: what is lost at most by an interruption."""
JOB: Final = "job.json"
FORMAT: Final = "nut"
"""Container of the parts; of its times only the order is used, since it moves them."""


@dataclass(frozen=True, slots=True)
class Part:
    """A finished part."""

    times: list[tuple[int, int]]
    """When each frame is shown, and for how long, in ticks."""
    delay: int
    """By how many frames at most one is coded after its turn."""


@dataclass(slots=True)
class Parts:
    """The folder of a video's finished parts."""

    folder: Path
    target: Target
    done: list[Part] = field(default_factory=list)

    def open(self, job: Mapping[str, Any], *, resume: bool) -> bool:
        """Make the folder, or find what is finished of the same job; whether there was another job's to discard."""
        text = self.told(job)
        there, same = self.folder.is_dir(), self.found() == json.loads(text)
        if there and not (same and resume):
            shutil.rmtree(self.folder)
        self.folder.mkdir(exist_ok=True)
        if not (same and resume):
            write_bytes(self.folder / JOB, text.encode())
        while (path := self.path(len(self.done), "json")).is_file() and self.path(len(self.done), FORMAT).is_file():
            data = json.loads(path.read_text("utf-8"))
            self.done.append(Part([(time, duration) for time, duration in data["times"]], data["delay"]))
        return there and not same and resume

    def told(self, job: Mapping[str, Any]) -> str:
        """A job and its target, as JSON."""
        return json.dumps({**job} | {"target": asdict(self.target)}, sort_keys=True, default=str)

    def found(self) -> Any:
        """Job whose parts the folder has, with its target; None where it has none."""
        try:
            return json.loads((self.folder / JOB).read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def path(self, index: int, suffix: str) -> Path:
        """A file of a part."""
        return self.folder / f"{index:06}.{suffix}"

    @property
    def frames(self) -> int:
        """How many frames are finished."""
        return sum(len(part.times) for part in self.done)

    def state(self) -> dict[str, Any]:
        """Arrays with which the next part begins; none before the first."""
        if not self.done:
            return {}
        with np.load(self.path(len(self.done) - 1, "npz"), allow_pickle=False) as arrays:
            return dict(arrays)

    def add(self, times: list[tuple[int, int]], delay: int, state: State) -> None:
        """Note that the next part's packets are complete."""
        index = len(self.done)
        arrays = io.BytesIO()
        np.savez(arrays, **cast("dict[str, Any]", {**state}))
        write_bytes(self.path(index, "npz"), arrays.getvalue())
        write_bytes(self.path(index, "json"), json.dumps({"times": times, "delay": delay}).encode())
        self.done.append(Part(times, delay))
        if index:
            self.path(index - 1, "npz").unlink(missing_ok=True)

    def still(self, number: int, turn: int = 1) -> Path:
        """Where a painted frame waits as a picture: its number, from 1, and the pass that painted it; 0 is itself."""
        return self.folder / f"{number:06}-{turn}.png"

    @property
    def kept(self) -> int:
        """How many frames are painted, in parts or as pictures."""
        numbers = {int(path.name.partition("-")[0]) for path in self.folder.glob("*-[1-9]*.png")}
        return self.frames + sum(number > self.frames for number in numbers)

    def remove(self) -> None:
        """Remove the folder, with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def folder_of(target: Path) -> Path:
    """Where the finished parts of an output wait."""
    return target.with_name(f".{target.name}.parts")


class Coder:
    """Codes frames into one part after another."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.writer: PartWriter | None = None

    def write(self, frame: Frame, state: Callable[[], State]) -> bool:
        """Code a frame; returns whether a part is finished, with the `state` from which the next one goes on."""
        self.writer = self.writer or PartWriter(self.parts)
        self.writer.write(frame.pixels, frame.alpha, frame.time, frame.duration)
        return len(self.writer.times) == PART_FRAMES and self.finish(state)

    def finish(self, state: Callable[[], State]) -> bool:
        """Finish the part that is begun, if any."""
        if self.writer:
            self.writer.close(state())
        begun, self.writer = self.writer is not None, None
        return begun

    def abandon(self) -> None:
        """Forget the part that is begun, if any."""
        if self.writer:
            self.writer.abandon()


class PartWriter:
    """The part that is being written; it counts once `close` has ended well."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.path = parts.path(len(parts.done), f"{FORMAT}.tmp")
        self.container = av.open(str(self.path), "w", format=FORMAT)
        self.encoder = Encoder(self.container, parts.target)
        self.times: list[tuple[int, int]] = []
        self.coded: list[int] = []

    def write(self, pixels: Pixels, alpha: Pixels | None, time: int, duration: int) -> None:
        """Code a frame."""
        self.times.append((time, duration))
        self.mux(self.encoder.write(pixels, alpha, time - self.times[0][0], duration))

    def mux(self, packets: Iterator[Packet[Any]]) -> None:
        """Write packets, and note the order of their frames."""
        for packet in packets:
            self.coded.append(packet.pts or 0)
            self.container.mux(packet)

    def close(self, state: State) -> None:
        """Finish the part, with the arrays that the next one begins with."""
        self.mux(self.encoder.finish())
        self.container.close()
        rank = {stamp: place for place, stamp in enumerate(sorted(self.coded))}
        delay = max(i - rank[stamp] for i, stamp in enumerate(self.coded))
        self.path.replace(self.parts.path(len(self.parts.done), FORMAT))
        self.parts.add(self.times, delay, state)

    def abandon(self) -> None:
        """Forget the part."""
        try:
            self.container.close()
        finally:
            self.path.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all."""
    with atomic_write(path) as stream:
        stream.write(data)


# ------------------------------------------------------------------------------------------------------------ joining


def join(parts: Parts, target: Path, clip: Clip, first: int, end: float | None, *, trusted: bool) -> None:
    """Write the parts as one video that begins at the tick `first` of a clip, with its sound until `end`, seconds."""
    with atomic_write(target) as stream:
        place = Path(stream.name)
        if parts.target.suffix == ".gif":
            write_gif(place, Waiting(parts, first))
        elif parts.target.suffix == ".webp":
            write_webp(place, Waiting(parts, first), parts.target.quality)
        else:
            join_video(parts, place, clip, first, end, trusted=trusted)


def join_video(parts: Parts, place: Path, clip: Clip, first: int, end: float | None, *, trusted: bool) -> None:
    """Write the parts' packets, and the sound's, in the order of time."""
    suffix = parts.target.suffix
    with av.open(str(place), "w", format=FORMATS[suffix][0], options=muxer_options(suffix)) as container:
        stream = add_stream(container, parts.target)
        if trusted:
            with opened(clip.path) as original:
                keep_metadata(container, original.metadata)
                if not first and end is None and (chapters := original.chapters()):
                    container.set_chapters(chapters)
        begin = clip.start + first * clip.time_base
        last = None if end is None else clip.start + Fraction(end)
        sound = Sound(clip.path, container, begin, last, cut=first > 0, trusted=trusted)
        for _, packet in heapq.merge(pictures(parts, stream, first), sound.packets(), key=lambda pair: pair[0]):
            container.mux(packet)


def pictures(parts: Parts, stream: VideoStream, first: int) -> Iterator[tuple[Fraction, Packet[Any]]]:
    """Yield the packets of all parts with the times of their frames, each with the time of its decoding in seconds."""
    times = times_of(parts, first)
    delay = max(part.delay for part in parts.done)
    step = max(1, round(1 / (parts.target.rate * parts.target.time_base)))
    early = [times[0][0] - step * (delay - i) for i in range(delay)]
    stamps = early + [time for time, _ in times]  # when each packet, in the order of coding, is decoded
    done = 0
    for index, part in enumerate(parts.done):
        packets = packets_of(parts.path(index, FORMAT))
        for place, packet in enumerate(sorted(packets, key=lambda packet: packet.pts or 0)):
            packet.pts, packet.duration = times[done + place]
        for place, packet in enumerate(packets):
            packet.dts, packet.time_base, packet.stream = stamps[done + place], parts.target.time_base, stream
            yield packet.dts * parts.target.time_base, packet
        done += len(part.times)


def times_of(parts: Parts, first: int) -> list[tuple[int, int]]:
    """When each frame of all parts is shown, from the tick `first`, and for how long: until the next one."""
    stated = [time for part in parts.done for time in part.times]
    begins = [time - first for time, _ in stated]
    return list(
        zip(begins, [after - time for time, after in itertools.pairwise(begins)] + [stated[-1][1]], strict=True)
    )


def packets_of(path: Path) -> list[Packet[Any]]:
    """All packets of a part, in the order of coding."""
    with av.open(str(path), "r", format=FORMAT) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


class Waiting:
    """Frames of parts that were kept without loss."""

    def __init__(self, parts: Parts, first: int) -> None:
        self.parts = parts
        self.time_base = parts.target.time_base
        self.times = times_of(parts, first)

    def frames(self) -> Iterator[VideoFrame]:
        """The frames, bgra."""
        for index in range(len(self.parts.done)):
            with av.open(str(self.parts.path(index, FORMAT)), "r", format=FORMAT) as container:
                yield from container.decode(video=0)
