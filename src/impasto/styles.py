"""Style files: what one is and says of itself, the built-in ones, and finding a style by name or path.

A style is one ONNX file: input `image` float32 (1, 3, H, W), RGB in [0, 1]; output `stylized` of the same shape; its
metadata property `impasto` is a `StyleSpec` as JSON. Weights are inside, external data is refused.
"""

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from impasto.errors import StyleError
from impasto.images import READ_SUFFIXES
from impasto.runtimes import Runtime, load_model, make_runtime

FORMAT = 1
"""Version of the style file that this program reads and writes."""
KEY = "impasto"
"""Metadata property that holds the spec."""
MAX_BYTES = 256 << 20
EXTERNAL = re.compile(rb"(\x08|\x88[\x80-\xff]*[\x00-\x7f])location")
"""How every encoder, an unusual one too, writes the key of a tensor's external file: its length of 8, and itself."""


@dataclass(frozen=True, kw_only=True)
class StyleEntry:
    """A style of a file: what it is called and what it was learnt from."""

    name: str
    title: str = ""
    artist: str = ""
    year: str = ""
    rights: str = ""
    """Who may use the style, and how; of the painting it was learnt from."""


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
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """How it was trained or what it was converted from."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Measured quality."""
    format: int = FORMAT

    @property
    def name(self) -> str:
        """Name of the first style."""
        return self.entries[0].name

    def to_json(self) -> str:
        """As the JSON text of a style file."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "StyleSpec":
        """From the JSON text of a style file; unknown keys of a newer minor version are passed over.

        Raises:
            ValueError: The text is not a spec, or of a newer format.

        """
        try:
            data = json.loads(text)
        except RecursionError as error:
            raise ValueError("its description is nested too deeply") from error
        if not isinstance(data, dict) or not isinstance(data.get("format"), int):
            raise ValueError("not a style's description")  # noqa: TRY004 - the text is wrong, not a type
        if data["format"] > FORMAT:
            raise ValueError(f"format {data['format']} is newer than this program's {FORMAT}; update impasto")
        try:
            entries = tuple(StyleEntry(**known(StyleEntry, e)) for e in data["entries"])
            spec = cls(**known(cls, data) | {"entries": entries})
        except (KeyError, TypeError) as error:
            raise ValueError(f"its description is incomplete ({' '.join(str(error).split())})") from error
        spec.check()
        return spec

    def check(self) -> None:
        """Raise a ValueError for values of the wrong type or out of range, which a foreign file may hold."""
        texts = [self.architecture, *(value for entry in self.entries for value in asdict(entry).values())]
        sizes = (self.multiple, self.min_size)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("its description has something else where there should be text")
        if not all(isinstance(m, Mapping) for m in (self.arguments, self.recipe, self.figures)):
            raise ValueError("its description has something else where there should be names and values")
        if not self.entries or not all(entry.name for entry in self.entries):
            raise ValueError("its description names no style")
        if not all(type(size) is int for size in sizes) or not 1 <= sizes[0] <= 64 or not 1 <= sizes[1] <= 1024:
            raise ValueError(f"its description is out of range (multiple {sizes[0]}, min_size {sizes[1]})")


def known(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Items of `data` that are fields of the dataclass `kind`."""
    return {f.name: data[f.name] for f in fields(kind) if f.name in data}


class Style:
    """A loaded style: its spec and its model, compiled once for each device and precision that it is used with."""

    def __init__(self, spec: StyleSpec, data: bytes, source: str) -> None:
        self.spec = spec
        self.data = data
        self.source = source
        self._runtimes: dict[tuple[str, str], Runtime] = {}

    def __repr__(self) -> str:
        return f"Style({self.source!r})"

    def runtime(self, device: str = "auto", precision: str = "auto") -> Runtime:
        """Compiled model; raises DeviceError where the device or precision is not to be had."""
        if (device, precision) not in self._runtimes:
            self._runtimes[device, precision] = make_runtime(self.data, device, precision)
        return self._runtimes[device, precision]


def read_style(path: str | Path) -> Style:
    """Load a style file.

    Raises:
        StyleError: It is missing, corrupt, not a style, keeps weights elsewhere, or is of a newer format.

    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            large = path.stat().st_size > MAX_BYTES
            data = b"" if large else stream.read(MAX_BYTES + 1)  # a device states no size
    except OSError as error:
        raise StyleError(f"{path}: cannot read the style file ({error.strerror})") from error
    if large or len(data) > MAX_BYTES:
        raise StyleError(f"{path}: larger than any style ({MAX_BYTES >> 20} MiB); is it a style file?")
    return Style(parse_style(data, str(path)), data, str(path))


def parse_style(data: bytes, source: str) -> StyleSpec:
    """Spec of a style file's bytes, checked against its graph; `source` names it in errors (StyleError)."""
    if EXTERNAL.search(data):
        raise StyleError(f"{source}: keeps its weights in another file, which is refused; save it as one file")
    model = load_model(data, source)
    try:
        text, inputs, outputs = model.describe(KEY, ("image", "stylized"))
    except ValueError as error:
        raise StyleError(f"{source}: has names that are not text; fetch or export it again") from error
    if text is None:
        raise StyleError(f"{source}: an ONNX model, but not an Impasto style; make one with impasto train or convert")
    try:
        spec = StyleSpec.from_json(text)
    except ValueError as error:
        raise StyleError(f"{source}: cannot be used as a style: {error}") from error
    if inputs != {"image": 3} or outputs != {"stylized": 3}:
        raise StyleError(f"{source}: its graph takes {inputs} and gives {outputs}; a style takes image, gives stylized")
    return spec


@cache
def builtin_styles() -> dict[str, dict[str, Any]]:
    """Index of the built-in styles: name -> file, title, artist, year, rights, figures."""
    index: dict[str, dict[str, Any]] = json.loads(zoo().joinpath("index.json").read_text("utf-8"))
    return index


def zoo() -> Path:
    """Folder of the built-in style files."""
    return Path(str(resources.files("impasto"))) / "zoo"


def find_style(name: str | Path) -> Path:
    """File of a built-in style by name, or the path itself.

    Raises:
        StyleError: There is no such style; the message has the nearest names. A painting is told from a style file.

    """
    path, text = Path(name), str(name)
    if text in builtin_styles():
        return zoo() / str(builtin_styles()[text]["file"])
    if path.suffix.lower() in READ_SUFFIXES and path.is_file():
        raise StyleError(f"{path}: a picture, not a style file; learn a style from it with impasto train")
    if path.is_file() or path.suffix.lower() == ".onnx" or len(path.parts) > 1:
        return path
    near = difflib.get_close_matches(text, builtin_styles(), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "impasto styles lists the built-in ones"
    raise StyleError(f"unknown style {text!r}; {hint}")


def load_style(name: str | Path) -> Style:
    """Load a built-in style by name or a style file by path, once: later calls give the same, already compiled.

    Raises:
        StyleError: There is no such style, or its file cannot be used.

    """
    path = find_style(name)
    try:
        status = path.stat()
    except OSError as error:
        raise StyleError(f"{path}: cannot read the style file ({error.strerror})") from error
    return cached_style(path.resolve(), (status.st_mtime_ns, status.st_size, status.st_ino))


@lru_cache(maxsize=4)
def cached_style(path: Path, _stamp: tuple[int, ...]) -> Style:
    """Keep the last few styles compiled; a changed file is loaded anew."""
    return read_style(path)
