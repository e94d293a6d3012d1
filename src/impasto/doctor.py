"""What this machine and this installation can do, in words."""

import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from impasto import __version__

EXTRAS = {
    "train": "torch",
    "video": "av",
    "web": "fastapi",
    "cluster": "ray",
    "storage": "fsspec",
    "heif": "pillow_heif",
}
"""A package of each extra that tells whether it is installed."""
ENGINES = {"OpenVINO": "openvino", "PyTorch": "torch", "PyAV": "av", "Ray": "ray"}
"""What does the work: names and packages."""


def versions() -> str:
    """Versions of Impasto, Python and the engines that are installed, a line each; imports none of them."""
    there = {"impasto": __version__, "Python": platform.python_version()}
    for name, package in ENGINES.items():
        if found := version_of(package):
            there[name] = found
    return "\n".join(f"{name} {number}" for name, number in there.items())


def examine() -> dict[str, str]:
    """What there is: name -> words."""
    from impasto.downloads import cache_dir
    from impasto.images import READ_SUFFIXES, WRITE_SUFFIXES
    from impasto.runtimes import processors
    from impasto.styles import builtin_styles

    devices, precision = inference()
    readable = READ_SUFFIXES if find_spec(EXTRAS["heif"]) else READ_SUFFIXES - {".heic", ".heif"}
    return {
        "impasto": f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        "engine": ", ".join(f"{p} {installed(p)}" for p in ("openvino", "torch")),
        "device": devices,
        "precision": precision,
        "processors": str(processors()),
        "styles": ", ".join(builtin_styles()) or "none",
        "reads": " ".join(sorted(readable)),
        "writes": " ".join(sorted(WRITE_SUFFIXES)),
        "extras": ", ".join(f"{name} {'yes' if find_spec(p) else 'no'}" for name, p in EXTRAS.items()),
        "cache": f"{cache_dir()}{'' if cache_dir().exists() else ' (not there yet)'}",
    }


def inference() -> tuple[str, str]:
    """Devices that can run styles, and the precision that the CPU would use."""
    from impasto.runtimes import core, torch_gpu

    names = [f"{d} ({core().get_property(d, 'FULL_DEVICE_NAME').strip()})" for d in core().available_devices]
    capable = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    precision = "bfloat16" if "BF16" in capable else "float32"
    return ", ".join([*names, *filter(None, [torch_gpu()])]), f"{precision} on the CPU"


def installed(package: str) -> str:
    """Version of a package, or that it is not installed."""
    return version_of(package) or "not installed"


def version_of(package: str) -> str | None:
    """Version of a package, where it is installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
