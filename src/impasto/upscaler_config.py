"""Settings of upscalers and of their training, declared once, as those in `config`; they import without PyTorch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import Parameter

from impasto.choices import Precision, TorchDevice
from impasto.config import check_choices, check_range, check_training
from impasto.texts import parse_weighted

Scale = Literal[2, 4, 8]
SCALES: tuple[int, ...] = get_args(Scale)


@dataclass(frozen=True, kw_only=True)
class UpscalerArgs:
    """Shape of an `UpscalerNet`."""

    scale: Scale = 4
    """How many times as wide and high a picture becomes."""
    width: int = 48
    """Channels of all layers but the last."""
    blocks: int = 5
    """Residual blocks."""

    def __post_init__(self) -> None:
        """Check every value; raises ValueError."""
        check_choices(self)
        check_range(self, 1, 512, "width")
        check_range(self, 0, 64, "blocks")

    @property
    def reach(self) -> int:
        """Small pixels on either side of it that a large pixel depends on."""
        return 2 * self.blocks + 2


@dataclass(frozen=True, kw_only=True)
class UpscalerConfig:
    """Everything that decides the training of an upscaler; it is printed at the start and stored in the file."""

    photos: Path
    """Folder of photos, flat or nested, or with .tar shards of photos."""
    output: Annotated[Path, Parameter(alias="-o")]
    """File to write, .onnx."""

    network: Annotated[UpscalerArgs, Parameter(name="*")] = field(default_factory=UpscalerArgs)
    """Shape of the network."""
    base: str = ""
    """Upscaler to begin from, a file or a built-in one by name; of another scale all but its last layer is taken."""

    steps: int = 12000
    """Training steps."""
    batch_size: tuple[int, ...] = (8, 8, 2)
    """Photos a step; several values go with several image sizes."""
    image_size: tuple[int, ...] = (128, 128, 288)
    """Side of the square patches, in large pixels; several are used one after another for equal shares of the run."""
    blur: float = 1.0
    """Deviation in pixels of the Gaussian blur before a patch is made small; 0 is none."""

    feature_weight: float = 1.0
    """Weight of the distance of the features to the photo's; 0 is an upscaler of pixel loss alone."""
    pixel_weight: float = 10.0
    """Weight of the mean absolute difference of the pixels to the photo's."""
    small_weight: float = 2.0
    """Weight of the same difference when both are small again: colours and contrast stay what they were."""
    feature_layers: tuple[str, ...] = ("relu2_1",)
    """Layers of the features, each with an optional weight: relu2_2:0.5."""
    loss_network: tuple[str, ...] = ("vgg19-compact",)
    """Names or files of loss networks; a layer is taken from the first that has it."""

    optimizer: Literal["muon", "adam"] = "muon"
    """Of the convolutions but the last; all else is always Adam's."""
    learning_rate: float = 1.5e-3
    """Highest learning rate, of either."""
    warmup_steps: int = 50
    """Steps over which the learning rate rises to it; then it falls as a cosine to a hundredth."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    average_decay: float = 0.999
    """Decay of the moving average of the weights, which is what is exported; 0 is none."""
    seed: int = 0
    """Of the network's first weights, the patches and their order."""
    device: TorchDevice = "auto"
    """Where to compute; auto is a GPU that PyTorch can use, else the CPU."""
    precision: Precision = "auto"
    """Of the arithmetic; auto is bfloat16 where the hardware has it. Weights are always float32."""

    checkpoint_dir: Path | None = None
    """Folder of checkpoint, log and samples; <output>.training beside the output unless given."""
    resume: bool = True
    """Continue from the checkpoint there is; otherwise start afresh over it."""
    validation: Path | None = None
    """Folder of photos for the samples; four that are then not trained on are kept out of the others unless given."""
    log_interval: int = 50
    """Steps between log lines."""
    sample_interval: int = 1000
    """Steps between samples: sheets of validation photos by bicubic interpolation, by the network, and as they were."""
    checkpoint_interval: int = 250
    """Steps between checkpoints."""
    tensorboard: bool = False
    """Write TensorBoard events too."""

    def __post_init__(self) -> None:
        """Check every value and what must go together; raises ValueError."""
        check_training(self)
        check_range(self, 0, 1e12, "feature_weight", "pixel_weight", "small_weight")
        check_range(self, 0, 8, "blur")
        if not self.feature_weight + self.pixel_weight:
            raise ValueError("feature_weight and pixel_weight are both 0; one of them must be more")
        for size in self.image_size:
            if size % self.network.scale:
                raise ValueError(f"image_size is {size}; it must be a multiple of the scale, {self.network.scale}")
        parse_weighted(self.feature_layers, "feature_layers")

    @property
    def folder(self) -> Path:
        """Where checkpoint, log and samples are kept."""
        return self.checkpoint_dir or self.output.with_name(f"{self.output.name}.training")
