"""As much of ONNX's file format, protocol buffers, as it takes to put constants into a model without `onnx`.

A message is a series of fields, each a key (its number and kind), and a value. Two messages one behind the other are
one, with the parts of both: a graph's constants may follow the graph.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from impasto.images import Floats

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Kinds of values."""
GRAPH, PROPERTY = 7, 14
"""Fields of a model."""
NODE, INITIALIZER, INPUT = 1, 5, 11
"""Fields of a graph."""
NODE_INPUT, NODE_OUTPUT = 1, 2
"""Fields of a node."""
GRAPH_OUTPUT = 12
"""Another field of a graph."""
TENSOR_NAME = 8
"""Field of a tensor; everything else that is named begins with its name."""
FLOAT: Final = 1
"""ONNX's number of float32."""
STORED: Final = {1: "<f4", 10: "<f2"}
"""ONNX's numbers of the types that weights are stored in: float32 and float16."""


def without_inputs(model: bytes, names: Collection[str], key: str | None = None) -> bytes:
    """Model's bytes without the inputs of these names and the metadata property `key`."""
    kept = []
    for number, kind, value in fields(model):
        if number == GRAPH:
            inner = [part for part in fields(value) if part[0] != INPUT or name_of(part[2]) not in names]
            kept.append(field(GRAPH, b"".join(written(*part) for part in inner)))
        elif number != PROPERTY or name_of(value) != key:
            kept.append(written(number, kind, value))
    return b"".join(kept)


def settled(model: bytes, values: Mapping[str, Floats]) -> bytes:
    """Model's bytes with constants in place of what computes the values of these names, and without what that took.

    Raises:
        ValueError: The model has no graph in one piece, or is cut off.

    """
    parts = [*fields(model)]
    (graph,) = (part for number, _, part in parts if number == GRAPH)
    inside = [*fields(graph)]
    needed = {name_of(part) for number, _, part in inside if number == GRAPH_OUTPUT}
    kept = []
    for number, kind, part in reversed(inside):  # nodes come after those whose values they take
        if number == NODE:
            outputs = names_of(part, NODE_OUTPUT)
            if not needed & (outputs - values.keys()):
                continue
            needed |= names_of(part, NODE_INPUT)
        kept.append((number, kind, part))
    kept = [one for one in reversed(kept) if one[0] != INITIALIZER or name_of(one[2], TENSOR_NAME) in needed]
    made = b"".join(written(*one) for one in kept)
    made += b"".join(field(INITIALIZER, tensor(name, value)) for name, value in values.items())
    return b"".join(field(GRAPH, made) if one[0] == GRAPH else written(*one) for one in parts)


def nodes_of(model: bytes) -> Iterator[tuple[list[str], list[str]]]:
    """Names of the values that each node of a model takes and gives, in order."""
    for node in inside(model, NODE):
        yield [*texts_of(node, NODE_INPUT)], [*texts_of(node, NODE_OUTPUT)]


def weights_of(model: bytes) -> dict[str, Floats]:
    """Constants of a model by name that are float32 or float16, as float32; raises ValueError where one is cut off."""
    found = {}
    for tensor in inside(model, INITIALIZER):
        parts = [*fields(tensor)]
        kind = next((read_varint(part, 0)[0] for place, _, part in parts if place == 2), 0)
        raw = next((part for place, _, part in parts if place == 9), b"")
        if kind in STORED and raw:
            shape = [read_varint(part, 0)[0] for place, _, part in parts if place == 1]
            found[name_of(tensor, TENSOR_NAME)] = np.frombuffer(raw, STORED[kind]).reshape(shape).astype(np.float32)
    return found


def inside(model: bytes, kind: int) -> Iterator[bytes]:
    """What the graph of a model has in a field, in order."""
    graphs = (value for number, _, value in fields(model) if number == GRAPH)
    return (value for graph in graphs for number, _, value in fields(graph) if number == kind)


def model(
    *, inputs: Mapping[str, Sequence[int]], constants: Mapping[str, Floats], properties: Mapping[str, str]
) -> bytes:
    """What follows a model's bytes to give it inputs (float32, by their shapes), float32 constants and metadata."""
    graph = b"".join(field(INPUT, value_info(name, shape)) for name, shape in inputs.items())
    graph += b"".join(field(INITIALIZER, tensor(name, value)) for name, value in constants.items())
    metadata = [field(1, key.encode()) + field(2, text.encode()) for key, text in properties.items()]
    return field(GRAPH, graph) + b"".join(field(PROPERTY, entry) for entry in metadata)


def constants_of(model: bytes, names: Mapping[str, str]) -> bytes:
    """What follows another model's bytes to give it constants of this one: by the names there, those here.

    Raises:
        KeyError: There is no such constant.

    """
    found = {name_of(value, TENSOR_NAME): value for value in inside(model, INITIALIZER)}
    return field(GRAPH, b"".join(field(INITIALIZER, renamed(found[here], name)) for name, here in names.items()))


def renamed(tensor: bytes, name: str) -> bytes:
    """A constant by another name."""
    return b"".join(
        written(number, kind, name.encode() if number == TENSOR_NAME else value)
        for number, kind, value in fields(tensor)
    )


def value_info(name: str, shape: Sequence[int]) -> bytes:
    """Name, type and shape of an input."""
    sides = b"".join(field(1, number(1, side)) for side in shape)
    return field(1, name.encode()) + field(2, field(1, number(1, FLOAT) + field(2, sides)))


def tensor(name: str, value: Floats) -> bytes:
    """A constant; little-endian, whatever the machine."""
    sides = b"".join(number(1, side) for side in value.shape)
    return sides + number(2, FLOAT) + field(8, name.encode()) + field(9, value.astype("<f4").tobytes())


def name_of(message: bytes, place: int = 1) -> str:
    """Name in a message, whose field it is."""
    return next(texts_of(message, place), "")


def names_of(message: bytes, place: int) -> set[str]:
    """Names in a message, whose field they are."""
    return {*texts_of(message, place)}


def texts_of(message: bytes, place: int) -> Iterator[str]:
    """Texts in a message, whose field they are, in order."""
    return (value.decode() for number, kind, value in fields(message) if (number, kind) == (place, BYTES))


def fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number, kind and value of a message's fields; raises ValueError where it is cut off."""
    place = 0
    while place < len(message):
        key, place = read_varint(message, place)
        kind, start = key & 7, place
        if kind == VARINT:
            _, place = read_varint(message, place)
        elif kind == BYTES:
            length, start = read_varint(message, place)
            place = start + length
        elif kind in (FIXED64, FIXED32):
            place += 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"field of unknown kind {kind}")
        if place > len(message):
            raise ValueError("message is cut off")
        yield key >> 3, kind, message[start:place]


def written(number: int, kind: int, value: bytes) -> bytes:
    """A field as `fields` reads it."""
    return field(number, value) if kind == BYTES else varint(number << 3 | kind) + value


def field(number: int, value: bytes) -> bytes:
    """Field that holds bytes: text, a tensor's data or another message."""
    return varint(number << 3 | BYTES) + varint(len(value)) + value


def number(field_number: int, value: int) -> bytes:
    """Field that holds a whole number of at least 0."""
    return varint(field_number << 3 | VARINT) + varint(value)


def varint(value: int) -> bytes:
    """Whole number of at least 0, seven bits a byte, lowest first."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def read_varint(message: bytes, place: int) -> tuple[int, int]:
    """Number at a place, and the place behind it; raises ValueError where it is cut off."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte, place = message[place], place + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("message is cut off")
