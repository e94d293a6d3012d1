"""Messages between the server and its processes: a head of JSON and a payload of bytes, each after its length.

Nothing is pickled: what decodes hostile files must not be able to send more than data.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

Bytes = bytes | bytearray | memoryview
LENGTHS = struct.Struct(">IQ")
HEAD_BYTES = 1 << 18
"""Of a head, at most."""


class BrokenFrameError(Exception):
    """A message that is cut off or not of this form."""


def write_frame(stream: BinaryIO, head: Mapping[str, Any], *payload: Bytes) -> None:
    """Write a message; several payloads are written one after another."""
    text = json.dumps(head).encode()
    parts = [memoryview(part).cast("B") for part in payload]
    stream.write(LENGTHS.pack(len(text), sum(map(len, parts))) + text)
    for part in parts:
        stream.write(part)
    stream.flush()


def read_frame(stream: BinaryIO, limit: int) -> tuple[dict[str, Any], bytearray] | None:
    """Read a message whose payload is at most `limit` bytes; None at the end of the stream.

    Raises:
        BrokenFrameError: It is cut off, too large or not of this form.

    """
    lengths = stream.read(LENGTHS.size)
    if not lengths:
        return None
    if len(lengths) < LENGTHS.size:
        raise BrokenFrameError("cut off")
    size, length = LENGTHS.unpack(lengths)
    if size > HEAD_BYTES or length > limit:
        raise BrokenFrameError("too large")
    try:
        head = json.loads(fill(stream, size))
    except ValueError as error:
        raise BrokenFrameError("not JSON") from error
    if not isinstance(head, dict):
        raise BrokenFrameError("not a head")
    return head, fill(stream, length)


def fill(stream: BinaryIO, size: int) -> bytearray:
    """Exactly `size` bytes; raises BrokenFrameError where they end before."""
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        count = stream.readinto(view[done:])  # type: ignore[attr-defined]  # of every buffered stream
        if not count:
            raise BrokenFrameError("cut off")
        done += count
    return data
