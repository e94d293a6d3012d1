"""What settings may be, said once: types for the command line and configurations, values to check against."""

from typing import Final, Literal, get_args

Device = Literal["auto", "cpu", "gpu"]
"""Where a style's network runs."""
DEVICES: Final[tuple[str, ...]] = get_args(Device)
TorchDevice = Literal["auto", "cpu", "cuda", "mps"]
"""Where PyTorch computes."""
Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: Final[tuple[str, ...]] = get_args(Precision)
Colors = Literal["style", "luma", "match", "histogram"]
"""Whose colours a painting has."""
COLORS: Final[tuple[str, ...]] = get_args(Colors)
LargeColors = Literal["rgb", "luma", "histogram"]
"""Whose colours an enlarged picture has."""
LARGE_COLORS: Final[tuple[str, ...]] = get_args(LargeColors)
Icc = Literal["srgb", "keep"]
"""What is done with a colour profile: converted to sRGB, or kept."""
ICC: Final[tuple[str, ...]] = get_args(Icc)
Engine = Literal["hourglass", "adain", "wct"]
"""What paints after a painting, best first."""
ENGINES: Final[tuple[str, ...]] = get_args(Engine)
Start = Literal["photo", "noise", "grey", "style"]
"""What an optimisation begins with, other than a picture."""
STARTS: Final[tuple[str, ...]] = get_args(Start)
Convention = Literal["auto", "rgb255", "bgr255", "imagenet", "rgb1"]
"""Pixels as a checkpoint's network sees and paints them: RGB or BGR in [0, 255], RGB in [0, 1] with ImageNet's mean and
deviation taken off, or RGB in [0, 1]; ``auto`` is what its project uses."""
CONVENTIONS: Final[tuple[str, ...]] = get_args(Convention)
