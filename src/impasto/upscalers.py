"""Upscaler files: what one is and says of itself, and the built-in ones.

An upscaler is one ONNX file: input `image` float32 (1, 3, H, W), RGB in [0, 1], any H and W; output `upscaled`
(1, 3, scale H, scale W); its metadata property `impasto_upscaler` is an `UpscalerSpec` as JSON. Weights are inside.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from impasto.errors import StyleError
from impasto.files import stamp
from impasto.runtimes import Runtime, make_runtime
from impasto.specs import known, read_json
from impasto.styles import read_bytes, read_description, zoo
from impasto.upscaler_config import SCALES, UpscalerArgs

FORMAT: Final = 1
"""Version of the file that this program reads and writes."""
UPSCALER_KEY: Final = "impasto_upscaler"
"""Metadata property that holds the spec."""


@dataclass(frozen=True, kw_only=True)
class UpscalerSpec:
    """What an upscaler's file says of itself."""

    arguments: UpscalerArgs
    """Shape of the network."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Measured quality."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """How it was trained."""
    format: int = FORMAT

    def to_json(self) -> str:
        """As the JSON text of a file."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "UpscalerSpec":
        """From the JSON text of a file; raises ValueError where it is none, or of a newer format."""
        data = read_json(text, "an upscaler's description", FORMAT)
        arguments, figures, recipe = (data.get(key, {}) for key in ("arguments", "figures", "recipe"))
        if not all(isinstance(value, dict) for value in (arguments, figures, recipe)):
            raise ValueError("its description has something else where there should be names and values")
        shape = known(UpscalerArgs, arguments)
        if not all(type(value) is int for value in shape.values()):
            raise ValueError("its description has a shape that is not of whole numbers")
        return cls(arguments=UpscalerArgs(**shape), figures=figures, recipe=recipe, format=data["format"])


class Upscaler:
    """A loaded upscaler with its model, compiled once for each device and precision."""

    def __init__(self, spec: UpscalerSpec, data: bytes, source: str) -> None:
        self.spec = spec
        self.data = data
        self.source = source
        self._runtimes: dict[tuple[str, str], Runtime] = {}

    def __repr__(self) -> str:
        return f"Upscaler({self.source!r}, {self.scale})"

    @property
    def scale(self) -> int:
        """How many times as wide and high a picture becomes."""
        return self.spec.arguments.scale

    def runtime(self, device: str = "auto", precision: str = "auto") -> Runtime:
        """Compiled model; raises DeviceError where the device or precision is not to be had."""
        if (device, precision) not in self._runtimes:
            self._runtimes[device, precision] = make_runtime(self.data, device, precision)
        return self._runtimes[device, precision]


def parse_upscaler(data: bytes, source: str) -> UpscalerSpec:
    """Spec of a file's bytes, checked against its graph; `source` names it in errors (StyleError)."""
    text, inputs, outputs = read_description(data, source, UPSCALER_KEY, "upscaler", ("image", "upscaled"))
    if text is None:
        raise StyleError(f"{source}: an ONNX model, but not an upscaler; make one with impasto train-upscaler")
    try:
        spec = UpscalerSpec.from_json(text)
    except ValueError as error:
        raise StyleError(f"{source}: cannot be used as an upscaler: {error}") from error
    if (inputs, outputs) != ({"image": 3}, {"upscaled": 3}):
        raise StyleError(f"{source}: its graph takes {inputs} and gives {outputs}; it should take image, give upscaled")
    return spec


def load_upscaler(source: str | Path) -> Upscaler:
    """Load an upscaler's file, or a built-in one by name, ``x4``; later calls give the same, already compiled.

    Raises:
        StyleError: It is missing, corrupt, not an upscaler, keeps weights elsewhere, or is of a newer format.

    """
    path = builtin_upscalers().get(str(source), Path(source))
    now = stamp(path)
    return cached_upscaler(path.resolve(), now) if now else read_upscaler(path)  # which says that it is not there


@lru_cache(maxsize=4)
def cached_upscaler(path: Path, _stamp: tuple[int, ...]) -> Upscaler:
    """Keep the last few upscalers compiled; a changed file is loaded anew."""
    return read_upscaler(path)


def read_upscaler(path: Path) -> Upscaler:
    """Load a file; raises what `load_upscaler` does."""
    data = read_bytes(path, "upscaler")
    return Upscaler(parse_upscaler(data, str(path)), data, str(path))


def upscalers_folder() -> Path:
    """Folder of the built-in upscalers' files."""
    return zoo() / "upscalers"


def builtin_upscalers() -> dict[str, Path]:
    """Files of the built-in upscalers by name."""
    files = {f"x{scale}": upscalers_folder() / f"x{scale}.onnx" for scale in SCALES}
    return {name: path for name, path in files.items() if path.is_file()}


def upscalers_for(scale: int) -> list[Upscaler]:
    """The built-in upscaler of a scale, or those that reach it one after another, large steps first.

    Raises:
        StyleError: There are none that do.

    """
    there, left, found = builtin_upscalers(), scale, []
    for step in sorted(SCALES, reverse=True):
        while f"x{step}" in there and left % step == 0:
            found.append(f"x{step}")
            left //= step
    if left > 1:
        raise StyleError(
            f"no upscaler for scale {scale} is in this installation; train one with impasto train-upscaler, and name "
            "its file by --upscaler"
        )
    return [load_upscaler(name) for name in found]
