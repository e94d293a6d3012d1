"""Loss-network weights from every file that users have them in, told apart by content and read without pickles."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from impasto.errors import WeightsError
from impasto.networks.vgg import VGG


def load_loss_network(source: str | Path, *, pooling: str = "max") -> VGG:
    """Load a loss network from a file."""
    try:
        state = load_file(source)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{source}: cannot be read as safetensors ({error})") from error
    architecture = "vgg16" if "conv4_1.weight" in state and "conv3_4.weight" not in state else "vgg19"
    return VGG(architecture, state, pooling=pooling, padding="reflect")
