"""Style files: what one is, the built-in ones, and finding a style by name or path.

A style is one ONNX file: input `image` float32 (1, 3, H, W), RGB in [0, 1]; output `stylized` of the same shape; its
metadata property `impasto` is a `StyleSpec` as JSON. A palette holds many, and has an input `style` float32 (K,), the
weights of its rows: the photograph, then each style once a stroke size. Weights are inside, external data is refused.
"""

import difflib
import json
import re
from collections.abc import Collection, Mapping
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from impasto.errors import StyleError
from impasto.files import stamp
from impasto.images import READ_SUFFIXES, Floats
from impasto.protobuf import nodes_of, settled, weights_of
from impasto.runtimes import Runtime, load_model, make_runtime
from impasto.specs import KEY, StyleSpec

MAX_BYTES = 256 << 20
EXTERNAL = re.compile(rb"(\x08|\x88[\x80-\xff]*[\x00-\x7f])location")
"""How every encoder, an unusual one too, writes the key of a tensor's external file: its length of 8, and itself."""
ADDED, OWN = "own.added", ".own"
"""In a palette's graph: what single styles add to the shared weights, (A, P), and the end of the names of the sums."""
Description = tuple[str | None, dict[str, int], dict[str, int]]
"""Text of a model's file, inputs and outputs by name; see `runtimes.Model.describe`."""


class Style:
    """A loaded style, or a blend of a palette's, with its model, compiled once for each device and precision."""

    def __init__(
        self,
        spec: StyleSpec,
        data: bytes,
        source: str,
        weights: Mapping[str, float] | None = None,
        runtimes: dict[tuple[str, str, int | None], Runtime] | None = None,
        files: tuple[Path, ...] = (),
    ) -> None:
        self.spec = spec
        self.stored = data
        """Bytes of the style file."""
        self.source = source
        self.weights = weights if weights is not None else {spec.names[0]: 1.0} if len(spec.names) == 1 else {}
        """Of the file's styles, summing to 1; empty where none of several has been chosen."""
        self.files = files
        """Pictures that its entries were made of, where it was made of paintings."""
        self._runtimes = {} if runtimes is None else runtimes

    def __repr__(self) -> str:
        return f"Style({self.source!r}, {self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied to another process it goes without what is compiled, which is compiled there."""
        return Style, (self.spec, self.stored, self.source, self.weights, None, self.files)

    @property
    def name(self) -> str:
        """The style's name; of a blend, its names joined by hyphens."""
        return "-".join(self.weights)

    @property
    def strength(self) -> float:
        """Recommended strength; of a blend, the mean."""
        strengths = {entry.name: entry.strength for entry in self.spec.entries}
        return sum(weight * strengths[name] for name, weight in self.weights.items())

    @property
    def own(self) -> int | None:
        """Which of the file's additions to its shared weights it has, 0 for none; None of a blend that has several."""
        return self.spec.own(self.weights)

    @property
    def data(self) -> bytes:
        """Bytes of the network that paints it: the file's, with weights that do not wait for the rows where it can.

        Raises a StyleError where that is written in a way that only some readers take.
        """
        count = self.spec.owners.shape[1]
        if not count or self.own is None:
            return self.stored
        try:
            return settled_for(self.stored, self.own)
        except (KeyError, ValueError, IndexError) as error:
            raise StyleError(f"{self.source}: not a readable ONNX file ({error}); export it again") from error

    def runtime(self, device: str = "auto", precision: str = "auto") -> Runtime:
        """Compiled model; raises DeviceError where the device or precision is not to be had."""
        precision = self.spec.precision if precision == "auto" else precision
        key = (device, precision, self.own)
        if key not in self._runtimes:
            self._runtimes[key] = make_runtime(self.data, device, precision)
        return self._runtimes[key]

    def forget(self) -> None:
        """Give back the compiled models and their memory; asked for again they are compiled again."""
        self._runtimes.clear()

    def choose(self, weights: Mapping[str, float]) -> "Style":
        """One of a palette's styles or a blend of them, sharing the compiled model; weights are made to sum to 1.

        Raises:
            StyleError: A name is not in the file.
            ValueError: A weight is negative, or their sum 0 or not a number.

        """
        total = sum(weights.values())
        if not (0 < total < float("inf") and min(weights.values()) >= 0):
            raise ValueError(f"weights are {dict(weights)}; they must be at least 0, and not all 0")
        if unknown := [name for name in weights if name not in self.spec.names]:
            near = difflib.get_close_matches(unknown[0], self.spec.names, n=3, cutoff=0)
            raise StyleError(f"{self.source}: has no style {unknown[0]!r}; did you mean {' or '.join(near)}?")
        shares = {name: weight / total for name, weight in weights.items() if weight}
        return Style(self.spec, self.stored, self.source, shares, self._runtimes, self.files)


def read_style(path: str | Path) -> Style:
    """Load a style file.

    Raises:
        StyleError: It is missing, corrupt, not a style, keeps weights elsewhere, or is of a newer format.

    """
    path = Path(path)
    data = read_bytes(path, "style")
    return Style(parse_style(data, str(path)), data, str(path))


@lru_cache(maxsize=8)
def settled_for(file: bytes, own: int) -> bytes:
    """Style file's bytes with one of the additions, from 1 on, put into its shared weights; 0 is none.

    Raises:
        KeyError, IndexError, ValueError: The file does not hold them as `export_style` writes them.

    """
    stored = {name.removesuffix(".half"): value for name, value in weights_of(file).items()}
    start, values = 0, dict[str, Floats]()
    for taken, given in nodes_of(file):
        if given[0].endswith(OWN):
            weight = stored[taken[0]]
            part = stored[ADDED][own - 1, start : start + weight.size].reshape(weight.shape) if own else np.float32(0)
            values[given[0]] = weight + part
            start += weight.size
    return settled(file, values)


def read_bytes(path: Path, what: str) -> bytes:
    """Bytes of a file that may be `what`; raises StyleError where it is missing or too large to be one."""
    try:
        with path.open("rb") as stream:
            large = path.stat().st_size > MAX_BYTES
            data = b"" if large else stream.read(MAX_BYTES + 1)  # a device states no size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StyleError(f"{path}: cannot read the {what} file: there is no such file; check the path") from error
    except OSError as error:
        raise StyleError(f"{path}: cannot read the {what} file: {error.strerror}") from error
    if large or len(data) > MAX_BYTES:
        raise StyleError(f"{path}: larger than any {what} ({MAX_BYTES >> 20} MiB); is it a {what} file?")
    return data


def read_description(data: bytes, source: str, key: str, what: str, ports: Collection[str]) -> Description:
    """What an ONNX file says under `key`, and its inputs and outputs; raises StyleError where it is not readable.

    Of what has several names, `ports` has those to use.
    """
    if EXTERNAL.search(data):
        raise StyleError(f"{source}: keeps its weights in another file, which is refused; save it as one file")
    model = load_model(data, source, what)
    try:
        return model.describe(key, ports)
    except ValueError as error:
        raise StyleError(f"{source}: has names that are not text; fetch or export it again") from error


def parse_style(data: bytes, source: str) -> StyleSpec:
    """Spec of a style file's bytes, checked against its graph; `source` names it in errors (StyleError)."""
    text, inputs, outputs = read_description(data, source, KEY, "style", ("image", "style", "stylized"))
    if text is None:
        raise StyleError(f"{source}: an ONNX model, but not an Impasto style; make one with impasto train or convert")
    try:
        spec = StyleSpec.from_json(text)
    except ValueError as error:
        raise StyleError(f"{source}: cannot be used as a style: {error}") from error
    expected = {"image": 3} | ({"style": spec.rows} if spec.rows else {})
    if inputs != expected or outputs != {"stylized": 3}:
        raise StyleError(f"{source}: its graph takes {inputs} and gives {outputs}; it should take {expected}")
    return spec


@cache
def builtin_styles() -> dict[str, dict[str, Any]]:
    """Index of the built-in styles: name -> file, and what the file says of it: title, artist, year, rights..."""
    index: dict[str, dict[str, Any]] = json.loads(zoo().joinpath("index.json").read_text("utf-8"))
    return index


def zoo() -> Path:
    """Folder of the built-in style files."""
    return Path(str(resources.files("impasto"))) / "zoo"


def find_style(name: str | Path) -> Path:
    """File of a built-in style or palette by name, or the path itself.

    Raises:
        StyleError: There is no such style; the message has the nearest names. A painting is told from a style file.

    """
    path, text = Path(name), str(name)
    if text in builtin_styles():
        return zoo() / str(builtin_styles()[text]["file"])
    if is_builtin_palette(text):
        return zoo() / f"{text}.onnx"
    if is_picture(text):
        raise StyleError(f"{path}: a picture, not a style file; learn a style from it with impasto train")
    if is_file(text) or path.suffix.lower() == ".onnx" or len(path.parts) > 1:
        return path
    if path.suffix.lower() in READ_SUFFIXES:
        raise StyleError(f"{path}: there is no such painting")
    near = difflib.get_close_matches(text, builtin_styles(), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "impasto styles lists the built-in ones"
    raise StyleError(f"unknown style {text!r}; {hint}")


def is_builtin_palette(name: str) -> bool:
    """Whether a name is that of a file of the package, which holds several styles."""
    return Path(name).name == name and is_file(str(zoo() / f"{name}.onnx"))


def load_style(name: str | Path, *, engine: str | None = None) -> Style:
    """Load a style: a built-in one by name, a style file or a painting by path, or a blend, ``candy:0.7,udnie:0.3``.

    A style of a palette is ``mine.onnx:candy``, or ``palette:candy`` of the built-in one. A file is loaded and compiled
    once, and a painting encoded once: later calls give the same. `engine`: of paintings, ``hourglass``, ``adain`` or
    ``wct``; the best there is unless given.

    Raises:
        StyleError: There is no such style, its file cannot be used, or a blend's styles are not in one file.
        ImageError: A painting cannot be read.
        ValueError: A weight is not a number of at least 0, or all are 0, or the engine is none.

    """
    if paintings := paintings_in(name):
        return load_paintings(paintings, engine)
    if engine is not None:
        raise ValueError(f"engine is {engine!r} and style {str(name)!r}; an engine is for paintings, as painting.jpg")
    if is_alone(name):
        return chosen(load_file(find_style(name)), {})
    parts = [parse_part(part) for part in split_blend(str(name))]
    files = [find_style(source) for source, _, _ in parts]
    if len({file.resolve() for file in files}) > 1:
        raise StyleError(
            f"{name}: styles of several files cannot be blended; join palettes that share a base with "
            "impasto palette merge"
        )
    loaded, weights = load_file(files[0]), dict[str, float]()
    for source, entry, weight in parts:
        inside = entry or (source if source in loaded.spec.names else "")
        if not inside and len(parts) == 1:
            return chosen(loaded, {})
        inside = inside or chosen(loaded, {}).name
        weights[inside] = weights.get(inside, 0.0) + weight
    return chosen(loaded, weights)


def is_alone(name: str | Path) -> bool:
    """Whether a style is the path of one file, whatever letters are in it."""
    return isinstance(name, Path) or (name not in builtin_styles() and is_file(name))


def paintings_in(name: str | Path) -> dict[Path, float]:
    """Paintings of a style by weight, as in ``a.jpg:0.6,b.jpg:0.4``; none where it is of style files.

    Raises:
        StyleError: It has both.

    """
    parts = [(str(name), "", 1.0)] if is_alone(name) else [parse_part(part) for part in split_blend(str(name))]
    shares: dict[Path, float] = {}
    for source, _, weight in parts:
        if is_picture(source):
            shares[Path(source)] = shares.get(Path(source), 0.0) + weight
    if shares and not all(is_picture(source) for source, _, _ in parts):
        raise StyleError(
            f"{name}: paintings are painted by another network than built-in styles and style files, so they cannot "
            "be blended; a mask for each works: a.jpg@left.png,candy@right.png"
        )
    return shares


def load_paintings(paintings: Mapping[Path, float], engine: str | None) -> Style:
    """Style of paintings; see `paintings.load_paintings`."""
    from impasto import paintings as module  # which imports this one

    return module.load_paintings(paintings, engine)


def is_picture(text: str) -> bool:
    """Whether a text is the path of a picture, by its name."""
    return Path(text).suffix.lower() in READ_SUFFIXES and is_file(text)


def split_blend(text: str) -> list[str]:
    """Parts of a blend between its commas, but for those in the paths of files that there are."""
    pieces = text.split(",")
    sources = ((n, parse_part(",".join(pieces[:n]))[0]) for n in range(1, len(pieces) + 1))
    count = next((n for n, source in sources if is_file(source) or is_builtin_palette(source)), 1)
    rest = ",".join(pieces[count:])
    return [",".join(pieces[:count]), *(split_blend(rest) if count < len(pieces) else [])]


def parse_part(text: str) -> tuple[str, str, float]:
    """``candy``, ``candy:0.7``, ``file.onnx``, ``palette:candy:0.7`` -> name or file, style in the file, weight."""
    head, _, tail = text.strip().rpartition(":")
    if is_picture(text.strip()):
        return text.strip(), "", 1.0
    if is_picture(head) and is_number(tail) and 0 <= float(tail) < float("inf"):
        return head, "", float(tail)
    matched = re.fullmatch(r"(?i)(.+?\.onnx|[^:]*)(?::(.*?))?(?::([^:]*))?", text.strip())
    source, entry, number = matched.groups(default="") if matched else (text, "", "")
    is_palette = source.lower().endswith(".onnx") or is_builtin_palette(source)
    if entry and not number and (not is_palette or is_number(entry)):
        entry, number = "", entry
    if number and not (is_number(number) and 0 <= float(number) < float("inf")):
        raise ValueError(f"style has {text!r}; a weight is a number of at least 0, as in candy:0.7,udnie:0.3")
    return source, entry, float(number) if number else 1.0


def is_name(text: str) -> bool:
    """Whether a style may be called so: it can be asked for, alone and in a blend, and be part of a file's name."""
    return bool(re.fullmatch(r"[\w+-][\w .+-]*", text)) and not is_number(text)


def is_file(text: str) -> bool:
    """Whether a text is the path of a file; one too long for a path is not."""
    try:
        return Path(text).is_file()
    except OSError:
        return False


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def chosen(style: Style, weights: Mapping[str, float]) -> Style:
    """`style` with these of its styles; raises StyleError where none of several is named."""
    if weights:
        return style.choose(weights)
    if not style.weights:
        names = style.spec.names
        raise StyleError(f"{style.source}: holds {', '.join(names)}; name one, as in {style.source}:{names[0]}")
    return style


def load_file(path: Path) -> Style:
    """Load a style file once: later calls give the same, already compiled, unless it has changed."""
    now = stamp(path)
    return cached_style(path.resolve(), now) if now else read_style(path)  # which says that it is not there


@lru_cache(maxsize=4)
def cached_style(path: Path, _stamp: tuple[int, ...]) -> Style:
    """Keep the last few styles compiled; a changed file is loaded anew."""
    return read_style(path)
