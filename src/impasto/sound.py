"""Sound and subtitles: copied packet by packet, as they are; re-coded only where the container cannot hold them.

What comes from strangers is not passed on as it is: then sound is decoded and coded anew, and the rest is left out.
"""

from __future__ import annotations

import warnings
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
from av.error import FFmpegError

from impasto.video import opened, time_base

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream


class Sound:
    """The audio and subtitle streams of a source, added to an output; `packets` yields what goes into it."""

    def __init__(
        self, source: Path, output: OutputContainer, begin: Fraction, end: Fraction | None, *, cut: bool, trusted: bool
    ) -> None:
        """Take what is heard until `end`, seconds of the source's clock, and not before `begin` if that is a cut."""
        self.source, self.begin, self.end, self.cut = source, begin, end, cut
        self.copied: dict[int, Stream] = {}
        self.recoded: dict[int, AudioStream] = {}
        with opened(source) as container:
            for stream in (*container.streams.audio, *container.streams.subtitles):
                if trusted:
                    self.add(stream, output)
                elif stream.type == "audio" and stream.codec_context is not None:
                    self.recode(stream, output)

    def add(self, stream: Any, output: OutputContainer) -> None:
        """Give the output a stream like this one, or tell why not."""
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
        if codec in output.supported_codecs:
            try:
                added = output.add_stream_from_template(stream)
            except (FFmpegError, ValueError):
                codec = "unknown"
            else:
                added.metadata.update(stream.metadata)
                added.disposition = stream.disposition
                self.copied[stream.index] = added
                return
        name = f"{self.source}: {stream.type} {stream.index} ({codec})"
        if stream.type != "audio" or stream.codec_context is None:
            warnings.warn(f"{name} cannot be kept in {output.format.name}; use .mkv to keep it", stacklevel=2)
            return
        warnings.warn(f"{name} is coded anew as {output.default_audio_codec} for {output.format.name}", stacklevel=2)
        self.recode(stream, output).metadata.update(stream.metadata)

    def recode(self, stream: Any, output: OutputContainer) -> AudioStream:
        """Give the output a stream of its own codec for this one's sound."""
        default = {"opus": "libopus"}.get(output.default_audio_codec, output.default_audio_codec)
        rate = 48000 if default == "libopus" else stream.codec_context.sample_rate
        added: Any = output.add_stream(default, rate=rate)
        added.codec_context.layout = stream.codec_context.layout
        self.recoded[stream.index] = added
        return cast("AudioStream", added)

    def packets(self) -> Iterator[tuple[Fraction, Packet[Any]]]:
        """Yield packets for the output in the source's order, each with its time in seconds."""
        if not self.copied and not self.recoded:
            return
        with opened(self.source) as container:
            resamplers = {index: resampler(added) for index, added in self.recoded.items()}
            for packet in demuxed(container, [*self.copied, *self.recoded]):
                base, index = time_base(packet.stream), packet.stream.index
                if packet.size and not self.wanted(packet, base):
                    continue
                if index in self.copied:
                    if packet.size:
                        yield self.moved(packet, base, self.copied[index])
                else:
                    yield from self.coded(packet, resamplers[index], self.recoded[index])

    def wanted(self, packet: Packet[Any], base: Fraction) -> bool:
        """Whether a packet belongs to what is heard; all do where nothing is cut."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            return not self.cut
        return not (self.cut and stamp * base < self.begin) and (self.end is None or stamp * base < self.end)

    def moved(self, packet: Packet[Any], base: Fraction, stream: Stream) -> tuple[Fraction, Packet[Any]]:
        """A packet with its bytes as they are, on the output's clock."""
        shift = round(self.begin / base)
        packet.stream = stream
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        packet.time_base = base
        stamp = packet.dts if packet.dts is not None else packet.pts
        return (stamp or 0) * base, packet

    def coded(
        self, packet: Packet[Any], convert: av.AudioResampler, stream: AudioStream
    ) -> Iterator[tuple[Fraction, Packet[Any]]]:
        """A packet decoded and coded anew; the empty one at the end brings what was held back."""
        try:
            frames: list[Any] = list(packet.decode())
        except FFmpegError:
            return
        sounds: list[Any] = [new for frame in frames for new in self.resampled(frame, convert)]
        if not packet.size:
            sounds += [*convert.resample(None), None]
        for sound in sounds:
            for coded in stream.encode(sound):
                yield Fraction(coded.dts or 0) * (coded.time_base or Fraction(1, 48000)), coded

    def resampled(self, frame: av.AudioFrame, convert: av.AudioResampler) -> list[av.AudioFrame]:
        """A decoded piece of sound on the output's clock, in the encoder's format."""
        if frame.pts is not None and frame.time_base:
            frame.pts -= round(self.begin / frame.time_base)
        return convert.resample(frame)


def resampler(stream: AudioStream) -> av.AudioResampler:
    """What turns any sound into what a stream's encoder takes."""
    context = stream.codec_context
    context.open()
    return av.AudioResampler(
        format=context.format, layout=context.layout, rate=context.sample_rate, frame_size=context.frame_size or None
    )


def demuxed(container: InputContainer, indexes: list[int]) -> Iterator[Packet[Any]]:
    """Packets of some streams until the end, or until the file breaks off."""
    packets = container.demux([container.streams[index] for index in indexes])
    while True:
        try:
            yield next(packets)
        except (StopIteration, FFmpegError):
            return
