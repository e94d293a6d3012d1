"""What a style file says of itself, as JSON in its metadata: its network, its styles, how it was made."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from impasto.choices import PRECISIONS
from impasto.images import Floats

FORMAT = 1
"""Version of the style file that this program reads and writes."""
KEY = "impasto"
"""Metadata property that holds the spec."""


@dataclass(frozen=True, kw_only=True)
class StyleEntry:
    """A style of a file: what it is called and what it was learnt from."""

    name: str
    title: str = ""
    artist: str = ""
    year: str = ""
    rights: str = ""
    """Who may use the style, and how; of the painting it was learnt from."""
    strokes: tuple[int, ...] = ()
    """In a palette: long side of the painting in pixels for each of its rows, fine to broad strokes."""
    strength: float = 1.0
    """Recommended strength, which is used unless another is asked for."""
    stroke: int | None = None
    """In a palette: recommended size of strokes, as in `strokes`; the middle one unless given."""
    own: int = 0
    """In a palette: which of the file's additions to the shared weights the style has, from 1 on; 0 for none."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Measured quality: content and style distance, and what else there is."""

    @property
    def size(self) -> int:
        """Long side of the painting whose strokes a palette paints unless told otherwise."""
        return self.stroke or self.strokes[len(self.strokes) // 2]

    def check(self) -> None:
        """Raise a ValueError for values of the wrong type or out of range, which a foreign file may hold."""
        if not all(isinstance(text, str) for text in (self.name, self.title, self.artist, self.year, self.rights)):
            raise ValueError("its description has something else where there should be text")
        if not self.name:
            raise ValueError("its description names no style")
        if not all(type(size) is int and 1 <= size <= 1 << 16 for size in self.strokes) or sorted(
            set(self.strokes)
        ) != [*self.strokes]:
            raise ValueError("its description has stroke sizes that are not pixels, small to large")
        if type(self.strength) not in (int, float) or not 0 <= self.strength <= 1:
            raise ValueError("its description recommends a strength that is not from 0 to 1")
        if self.stroke is not None and (type(self.stroke) is not int or self.stroke not in self.strokes):
            raise ValueError("its description recommends strokes that are not among its sizes")
        if type(self.own) is not int or self.own < 0 or (self.own and not self.strokes):
            raise ValueError("its description gives a style weights of its own that are none")
        if not isinstance(self.figures, Mapping) or not all(type(v) in (int, float) for v in self.figures.values()):
            raise ValueError("its description has figures that are not numbers")


@dataclass(frozen=True, kw_only=True)
class StyleSpec:
    """What a style file says of itself."""

    architecture: str
    """Class of the network, as `TransformerNet`."""
    arguments: Mapping[str, Any]
    """Its arguments."""
    entries: tuple[StyleEntry, ...]
    """The styles in the file."""
    multiple: int = 4
    """Height and width of the image must be multiples of this; callers pad."""
    min_size: int = 8
    """Smallest height and width of the image; callers pad."""
    precision: str = "auto"
    """Of the arithmetic, where none is asked for: ``float32`` for a network that less would spoil."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """How it was trained or what it was converted from."""
    format: int = FORMAT

    @property
    def names(self) -> list[str]:
        """Names of the styles."""
        return [entry.name for entry in self.entries]

    @property
    def rows(self) -> int:
        """Rows of a palette; 0 for a network of one style, which has none."""
        strokes = sum(len(entry.strokes) for entry in self.entries)
        return 1 + strokes if strokes else 0

    @property
    def owners(self) -> Floats:
        """Of a palette, float32 (K - 1, A): 1 where a row, the photograph's left out, has one of A additions."""
        own = np.repeat([entry.own for entry in self.entries], [len(entry.strokes) for entry in self.entries])
        owners: Floats = (own[:, None] == np.arange(1, own.max(initial=0) + 1)).astype(np.float32)
        return owners

    def own(self, weights: Mapping[str, float]) -> int | None:
        """Which of the additions styles by weights have, all the same one; None where they have several."""
        found = {entry.own for entry in self.entries if weights.get(entry.name)}
        return found.pop() if len(found) == 1 else None

    def mix(self, weights: Mapping[str, float], *, strength: float = 1.0, size: float | None = None) -> Floats:
        """Weights of a palette's rows, float32 (K,): styles by weights that sum to 1, with strokes of a size.

        `strength`: 0 is the photograph, 1 the painting. `size`: long side of the painting in pixels, the recommended
        one unless given.
        """
        mixed = [np.full(1, 1 - strength)]
        for entry in self.entries:
            places = np.interp(np.log(size or entry.size), np.log(entry.strokes), range(len(entry.strokes)))
            mixed.append(strength * weights.get(entry.name, 0.0) * between(float(places), len(entry.strokes)))
        return np.concatenate(mixed).astype(np.float32)

    def to_json(self) -> str:
        """As the JSON text of a style file."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "StyleSpec":
        """From the JSON text of a style file; unknown keys of a newer minor version are passed over.

        Raises:
            ValueError: The text is not a spec, or of a newer format.

        """
        data = read_json(text, "a style's description", FORMAT)
        try:
            entries = tuple(
                StyleEntry(**known(StyleEntry, e) | {"strokes": tuple(e.get("strokes", ()))}) for e in data["entries"]
            )
            spec = cls(**known(cls, data) | {"entries": entries})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its description is incomplete ({' '.join(str(error).split())})") from error
        spec.check()
        return spec

    def check(self) -> None:
        """Raise a ValueError for values of the wrong type or out of range, which a foreign file may hold."""
        sizes = (self.multiple, self.min_size)
        if not isinstance(self.architecture, str):
            raise ValueError("its description has something else where there should be text")  # noqa: TRY004
        if not all(isinstance(m, Mapping) for m in (self.arguments, self.recipe)):
            raise ValueError("its description has something else where there should be names and values")
        if not self.entries:
            raise ValueError("its description names no style")
        for entry in self.entries:
            entry.check()
        if len(set(self.names)) < len(self.names):
            raise ValueError("its description names a style twice")
        if len({bool(entry.strokes) for entry in self.entries}) > 1 or (len(self.entries) > 1 and not self.rows):
            raise ValueError("its description lacks the stroke sizes of a style")
        own = {entry.own for entry in self.entries} - {0}
        if own and max(own) != len(own):
            raise ValueError("its description gives a style weights of its own that are none")
        if self.precision not in PRECISIONS:
            raise ValueError(f"its description asks for an arithmetic that is none of {', '.join(PRECISIONS)}")
        if not all(type(size) is int for size in sizes) or not 1 <= sizes[0] <= 64 or not 1 <= sizes[1] <= 1024:
            raise ValueError(f"its description is out of range (multiple {sizes[0]}, min_size {sizes[1]})")


def read_json(text: str, what: str, newest: int) -> dict[str, Any]:
    """A file's description of itself; raises ValueError where it is none, or of a newer format than the `newest`."""
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise ValueError("its description is nested too deeply") from error
    if not isinstance(data, dict) or type(data.get("format")) is not int:
        raise ValueError(f"not {what}")
    if data["format"] > newest:
        raise ValueError(f"format {data['format']} is newer than this program's {newest}; update impasto")
    return data


def known(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Items of `data` that are fields of the dataclass `kind`."""
    return {f.name: data[f.name] for f in fields(kind) if f.name in data}


def between(place: float, count: int) -> Floats:
    """Weights of `count` rows for a place among them, which may be between two: 0 is the first, count - 1 the last."""
    weights: Floats = np.maximum(0.0, 1.0 - np.abs(np.arange(count) - place)).astype(np.float32)
    return weights
