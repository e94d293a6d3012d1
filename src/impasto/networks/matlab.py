"""MATLAB's MAT-files, version 5, as far as networks are stored in them: numbers, text, cells and structs.

SciPy's reader crashes the whole process on some damaged files; this one raises. The format is in MathWorks' "MAT-File
Format": tagged elements, little-endian, padded to 8 bytes, arrays in column order.
"""

from __future__ import annotations

import math
import mmap
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER_BYTES: Final = 128
DTYPES: Final = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
MATRIX, COMPRESSED, UTF8, UTF16 = 14, 15, 16, 17
CELL, STRUCT, CHAR = 1, 2, 4
NUMBER_CLASSES: Final = range(6, 16)
COMPLEX_FLAG: Final = 0x800
LARGEST_BYTES: Final = 1 << 31
"""What a compressed variable may grow to."""


def read_mat(path: Path) -> dict[str, Any]:
    """Variables by name: arrays, strings, lists for cells, dictionaries for structs (lists of them for struct arrays).

    Arrays are views of the file: what is not used is not read.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is no MAT-file of version 5, or broken, or holds what is not read here.

    """
    with path.open("rb") as stream:
        data = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    if len(data) < HEADER_BYTES or bytes(data[124:128]) != b"\x00\x01IM":
        raise ValueError("not a MAT-file of version 5; save it in MATLAB with -v7")
    try:
        return dict(_matrix(content) for content in _variables(data[HEADER_BYTES:]))
    except (struct.error, zlib.error, StopIteration, RecursionError, RuntimeError, TypeError) as error:
        raise ValueError(f"a broken MAT-file ({error})") from error


def _variables(data: memoryview) -> Iterator[memoryview]:
    """Content of every matrix element, unpacked where it is compressed."""
    for kind, content in _elements(data):
        if kind == COMPRESSED:
            yield from _variables(memoryview(zlib.decompressobj().decompress(content, LARGEST_BYTES)))
        elif kind == MATRIX:
            yield content


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each element; up to 4 bytes are stored inside the tag."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        start, end = at + 8, at + 8 + size
        if kind >> 16:
            kind, size = kind & 0xFFFF, kind >> 16
            start, end = at + 4, at + 4 + size
        if end > len(data):
            raise ValueError(f"an element of {size} bytes does not fit at byte {at}")
        yield kind, data[start:end]
        at = end if kind == COMPRESSED else end + -end % 8


def _matrix(data: memoryview) -> tuple[str, Any]:
    """Name and value of a matrix element: flags, dimensions, name, then what its class holds."""
    if not data:
        return "", np.empty(0)
    parts = _elements(data)
    flags = int(_numbers(*next(parts))[0])
    shape = tuple(int(n) for n in _numbers(*next(parts)))
    name = bytes(next(parts)[1]).decode("ascii", "replace")
    if (kind := flags & 0xFF) == CELL:
        return name, [_matrix(content)[1] for _, content in parts]
    if kind == STRUCT:
        return name, _structs(parts, math.prod(shape))
    if kind == CHAR:
        return name, _text(*next(parts))
    if kind not in NUMBER_CLASSES or flags & COMPLEX_FLAG:
        raise ValueError(f"an array of class {kind} is not read here")
    return name, _numbers(*next(parts)).reshape(shape, order="F")


def _structs(parts: Iterator[tuple[int, memoryview]], count: int) -> Any:
    """One struct as a dictionary, several as a list."""
    width = int(_numbers(*next(parts))[0])
    names = bytes(next(parts)[1])
    if width < 1:
        raise ValueError(f"field names of {width} bytes")
    fields = [names[i : i + width].split(b"\0")[0].decode("ascii", "replace") for i in range(0, len(names), width)]
    values = [_matrix(content)[1] for _, content in parts]
    if len(values) != count * len(fields):
        raise ValueError(f"{len(values)} values for {count} structs of {len(fields)} fields")
    structs = [dict(zip(fields, values[i : i + len(fields)], strict=True)) for i in range(0, len(values), len(fields))]
    return structs[0] if count == 1 else structs


def _numbers(kind: int, content: memoryview) -> np.ndarray[Any, np.dtype[Any]]:
    if kind not in DTYPES:
        raise ValueError(f"an element of type {kind} where numbers belong")
    return np.frombuffer(content, DTYPES[kind])


def _text(kind: int, content: memoryview) -> str:
    if kind in (UTF8, UTF16):
        return bytes(content).decode("utf-8" if kind == UTF8 else "utf-16-le", "replace")
    return "".join(map(chr, _numbers(kind, content).astype("u2").tolist()))
