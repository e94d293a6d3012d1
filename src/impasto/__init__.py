"""Impasto turns photographs into paintings: neural style transfer behind one verb, `stylize`.

The names below are loaded when they are first used, so that importing the package costs next to nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from impasto.batch import BatchStep, stylize_folder
    from impasto.clips import ClipStep, paint_video
    from impasto.config import (
        BatchConfig,
        ClipConfig,
        FilmConfig,
        OptimizeConfig,
        StyleNetArgs,
        TrainConfig,
        TransformerArgs,
    )
    from impasto.convert import Converted, convert
    from impasto.errors import (
        DeviceError,
        ImageError,
        ImpastoError,
        MissingExtraError,
        OptimizationError,
        StyleError,
        TrainingError,
        VideoError,
        WeightsError,
    )
    from impasto.film import FilmStep, optimize_video
    from impasto.images import Picture, read_image, read_picture, write_image
    from impasto.journal import Step, UpscalerStep
    from impasto.live import stylize_frames
    from impasto.manifest import FileResult
    from impasto.optimize import OptimizeStep, optimize
    from impasto.pages import write_page
    from impasto.paintings import write_style
    from impasto.palette import merge
    from impasto.preview import preview
    from impasto.sheets import matrix, sheet
    from impasto.specs import StyleEntry, StyleSpec
    from impasto.styles import Style, builtin_styles, load_style
    from impasto.stylize import stylize
    from impasto.train import train
    from impasto.train_upscaler import train_upscaler
    from impasto.upscale import upscale
    from impasto.upscaler_config import UpscalerArgs, UpscalerConfig
    from impasto.upscalers import Upscaler, UpscalerSpec, load_upscaler

__version__ = "0.1.0.dev0"

__all__ = [
    "BatchConfig",
    "BatchStep",
    "ClipConfig",
    "ClipStep",
    "Converted",
    "DeviceError",
    "FileResult",
    "FilmConfig",
    "FilmStep",
    "ImageError",
    "ImpastoError",
    "MissingExtraError",
    "OptimizationError",
    "OptimizeConfig",
    "OptimizeStep",
    "Picture",
    "Step",
    "Style",
    "StyleEntry",
    "StyleError",
    "StyleNetArgs",
    "StyleSpec",
    "TrainConfig",
    "TrainingError",
    "TransformerArgs",
    "Upscaler",
    "UpscalerArgs",
    "UpscalerConfig",
    "UpscalerSpec",
    "UpscalerStep",
    "VideoError",
    "WeightsError",
    "builtin_styles",
    "convert",
    "load_style",
    "load_upscaler",
    "matrix",
    "merge",
    "optimize",
    "optimize_video",
    "paint_video",
    "preview",
    "read_image",
    "read_picture",
    "sheet",
    "stylize",
    "stylize_folder",
    "stylize_frames",
    "train",
    "train_upscaler",
    "upscale",
    "write_image",
    "write_page",
    "write_style",
]

_HOMES = {
    "batch": ("BatchStep", "stylize_folder"),
    "clips": ("ClipStep", "paint_video"),
    "config": (
        "BatchConfig",
        "ClipConfig",
        "FilmConfig",
        "OptimizeConfig",
        "StyleNetArgs",
        "TrainConfig",
        "TransformerArgs",
    ),
    "convert": ("Converted", "convert"),
    "errors": (
        "DeviceError",
        "ImageError",
        "ImpastoError",
        "MissingExtraError",
        "OptimizationError",
        "StyleError",
        "TrainingError",
        "VideoError",
        "WeightsError",
    ),
    "film": ("FilmStep", "optimize_video"),
    "images": ("Picture", "read_image", "read_picture", "write_image"),
    "journal": ("Step", "UpscalerStep"),
    "live": ("stylize_frames",),
    "manifest": ("FileResult",),
    "optimize": ("OptimizeStep", "optimize"),
    "pages": ("write_page",),
    "paintings": ("write_style",),
    "palette": ("merge",),
    "preview": ("preview",),
    "sheets": ("matrix", "sheet"),
    "specs": ("StyleEntry", "StyleSpec"),
    "styles": ("Style", "builtin_styles", "load_style"),
    "stylize": ("stylize",),
    "train": ("train",),
    "train_upscaler": ("train_upscaler",),
    "upscale": ("upscale",),
    "upscaler_config": ("UpscalerArgs", "UpscalerConfig"),
    "upscalers": ("Upscaler", "UpscalerSpec", "load_upscaler"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name from its module; those that need PyTorch say so where it is missing."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'impasto' has no attribute {name!r}")
    try:
        value = getattr(import_module(f"impasto.{_HOME_OF[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name in ("torch", "onnx", "safetensors"):
            from impasto.errors import MissingExtraError

            raise MissingExtraError(f"impasto.{name} needs PyTorch: pip install 'impasto[train]'") from error
        if (error.name or "").partition(".")[0] in ("av", "cv2"):
            from impasto.errors import MissingExtraError

            raise MissingExtraError(f"impasto.{name} needs PyAV and OpenCV: pip install 'impasto[video]'") from error
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Package in which `stylize` and its like stay functions when Python would bind the modules that hold them."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
