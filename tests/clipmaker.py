"""Tiny videos to test with."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
SAMPLES = 1024
"""Of one packet of AAC."""


def blocks(height: int = 48, width: int = 64, count: int = 10, *, step: int = 2, seed: int = 0) -> list[Pixels]:
    """Frames of blocks of colour that move to the right by `step` pixels."""
    rng = np.random.default_rng(seed)
    tile = rng.integers(30, 226, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    picture = np.kron(tile, np.ones((16, 16, 1), np.uint8))[:height, :width]
    return [np.roll(picture, step * i, axis=1) for i in range(count)]


def write_clip(
    path: Path,
    frames: Sequence[Pixels],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: Fraction | int = 25,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    format: str | None = None,  # noqa: A002
    matrix: int = 2,
    color_range: int = 0,
    transfer: int = 2,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    seconds_of_sound: float = 0.0,
    sound: str = "aac",
    metadata: dict[str, str] | None = None,
    change: Callable[[Any], None] | None = None,
) -> Path:
    """Write RGB (or RGBA) frames as a video, nearly without loss, with noise for sound."""
    with av.open(str(path), "w", format=format) as container:
        container.metadata.update(metadata or {})
        fine = {"libx264": {"crf": "1", "preset": "ultrafast"}}.get(codec, {})
        stream: Any = container.add_stream(codec, rate=rate, options=fine | (options or {}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        base = time_base or 1 / Fraction(rate)
        stream.codec_context.time_base = base
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, color_range
        stream.codec_context.color_trc = transfer
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        audio: Any = None
        if seconds_of_sound:
            audio = container.add_stream(sound, rate=48000)
            audio.layout = "stereo"
        if change:
            change(stream)
        for i, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(pixels), "rgba" if pixels.shape[2] == 4 else "rgb24"
            )
            space, span = {1: 1, 9: 9}.get(matrix, 5), color_range or 1
            frame = frame.reformat(format=pix_fmt, dst_colorspace=space, src_color_range=2, dst_color_range=span)
            frame.colorspace, frame.color_range, frame.color_trc = matrix, color_range, transfer
            frame.pts, frame.time_base = times[i] if times else i, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio:
            write_noise(container, audio, seconds_of_sound)
    return path


def write_noise(container: Any, audio: Any, seconds: float) -> None:
    """Code noise into an audio stream."""
    rng = np.random.default_rng(1)
    for i in range(round(seconds * 48000 / SAMPLES)):
        data = (0.1 * rng.standard_normal((2, SAMPLES))).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(data, "fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48000, i * SAMPLES
        container.mux(audio.encode(frame))
    container.mux(audio.encode(None))


def packets(path: Path, kind: str) -> list[tuple[int | None, bytes]]:
    """Times and bytes of the packets of all streams of a kind."""
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return [(packet.pts, bytes(packet)) for packet in container.demux(streams) if packet.size] if streams else []


def stamps(path: Path) -> list[Fraction]:
    """Times of a video's frames in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [Fraction(frame.pts or 0) * (stream.time_base or 1) for frame in container.decode(stream)]


def turn(path: Path, degrees: int) -> None:
    """Write a rotation into the display matrix of an MP4's video track."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    one = 1 << 16
    matrix = {
        90: (0, one, 0, -one, 0, 0, 0, 0, 1 << 30),
        180: (-one, 0, 0, 0, -one, 0, 0, 0, 1 << 30),
        270: (0, -one, 0, one, 0, 0, 0, 0, 1 << 30),
    }[degrees]
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)
