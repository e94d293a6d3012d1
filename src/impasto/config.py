"""Settings, declared once: the command line, TOML files, style files and the library all read these dataclasses.

They import without PyTorch, so that ``--help`` is quick and works on a base install.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from cyclopts import Parameter

from impasto.choices import Colors, Precision, TorchDevice
from impasto.memory import Gigabytes
from impasto.texts import parse_weighted


def check_choices(config: Any) -> None:
    """Raise a ValueError for the first field of a dataclass whose `Literal` type does not allow its value."""
    for name, hint in get_type_hints(type(config)).items():
        allowed = get_args(hint)
        if getattr(hint, "__origin__", None) is Literal and getattr(config, name) not in allowed:
            raise ValueError(f"{name} is {getattr(config, name)!r}; it must be one of {', '.join(map(str, allowed))}")


def check_range(config: Any, low: float, high: float, *names: str) -> None:
    """Raise a ValueError for the first named field outside [low, high]; each number of a tuple is checked."""
    for name in names:
        value = getattr(config, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not low <= number <= high:
                raise ValueError(f"{name} is {number}; it must be from {low:g} to {high:g}")


def check_training(config: Any) -> None:
    """Raise a ValueError for the first setting out of range of those that every training run has."""
    check_choices(config)
    check_range(config, 32, 4096, "image_size")
    for name in ("image_size", "batch_size", "loss_network"):
        if not getattr(config, name):
            raise ValueError(f"{name} is empty; it needs a value")
    check_range(config, 1, 1 << 16, "batch_size", "log_interval", "sample_interval", "checkpoint_interval")
    check_range(config, 0, 1e12, "warmup_steps")
    check_range(config, 0, 1 - 1e-9, "average_decay")
    check_range(config, 1e-12, 1e12, "learning_rate", "gradient_clip")
    check_range(config, 1, 1e12, "steps")
    check_range(config, 0, 2**63 - 1, "seed")
    if len(config.batch_size) not in (1, len(config.image_size)):
        raise ValueError(f"batch_size has {len(config.batch_size)} values and image_size {len(config.image_size)}")


def key_of(painting: Path) -> str:
    """What a painting is called in settings by painting: its stem, dots as underscores, since dots part settings."""
    return painting.stem.replace(".", "_")


@dataclass(frozen=True, kw_only=True)
class TransformerArgs:
    """Shape of a `TransformerNet`; but for the width the defaults are those of the usual published networks."""

    width: int = 16
    """Channels of the first layer, 32 in the papers; the next two have twice and four times as many."""
    blocks: int = 5
    """Residual blocks."""
    norm: Literal["instance", "batch"] = "instance"
    """Normalisation: instance (Ulyanov et al. 2016), or the first paper's batch."""
    upsample: Literal["nearest", "transposed"] = "nearest"
    """Nearest-neighbour resize before a convolution (no checkerboard), or a transposed convolution."""
    padding: Literal["reflect", "zeros", "start"] = "reflect"
    """Of every convolution; start: 40 reflected pixels at the input and unpadded residual blocks (the paper's)."""
    output: Literal["linear", "tanh"] = "linear"
    """Of the last layer: linear, or the paper's scaled tanh."""

    def __post_init__(self) -> None:
        """Check every value; raises ValueError."""
        check_choices(self)
        check_range(self, 1, 512, "width")
        check_range(self, 0, 64, "blocks")


@dataclass(frozen=True, kw_only=True)
class StyleNetArgs:
    """Shape of a `StyleNet`."""

    widths: tuple[int, ...] = (16, 48)
    """Channels at a half of the resolution, a quarter, and so on; the residual blocks work on the last."""
    blocks: int = 5
    """Residual blocks."""
    stem: int = 5
    """Kernel of the first convolution."""
    kernel: int = 7
    """Kernel of the last convolution, in pixels of the picture."""
    upsample: Literal["nearest", "bilinear"] = "nearest"
    """How maps are doubled before a convolution."""
    skips: bool = False
    """Add the maps on the way down to those of the same size on the way up."""
    separable: bool = False
    """Residual blocks of separable convolutions."""

    def __post_init__(self) -> None:
        """Check every value; raises ValueError."""
        check_choices(self)
        if not self.widths:
            raise ValueError("widths is empty; it needs a value")
        if len(self.widths) > 6:
            raise ValueError(f"widths has {len(self.widths)} values; the network halves the picture at most 6 times")
        check_range(self, 1, 512, "widths")
        check_range(self, 0, 64, "blocks")
        check_range(self, 1, 15, "stem", "kernel")
        for name in ("stem", "kernel"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be odd")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run; it is printed at the start and stored in the style file."""

    paintings: tuple[Path, ...]
    """Pictures whose styles are learnt."""
    _: KW_ONLY
    photos: Path
    """Folder of photos, flat or nested, or with .tar shards of photos."""
    output: Annotated[Path, Parameter(alias="-o")]
    """Style file to write, .onnx."""
    about: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of a painting's style: name, title, artist, year, rights, strength, stroke; --about.starry.title "At Night"."""

    architecture: Literal["StyleNet", "TransformerNet"] = "StyleNet"
    """Network that is trained: our own of many styles with strength and stroke, or Johnson's of one style."""
    stylenet: StyleNetArgs = field(default_factory=StyleNetArgs)
    """Shape of a StyleNet."""
    network: TransformerArgs = field(default_factory=TransformerArgs)
    """Shape of a TransformerNet."""
    base: str = ""
    """Style file, or built-in style, to begin from: a StyleNet is kept and learns rows, a TransformerNet goes on."""
    unfreeze: bool = False
    """Train the weights of a base that is a StyleNet too; palette merge keeps them as the style's own."""

    steps: int | None = None
    """Training steps (8000 unless epochs or minutes are given)."""
    epochs: float | None = None
    """Length of training as passes over the photos."""
    minutes: float | None = None
    """Length of training by the clock, its steps alone; such a run cannot be repeated to the bit."""
    batch_size: tuple[int, ...] = (8, 8, 4)
    """Photos a step, of all processes together; several values go with several image sizes."""
    image_size: tuple[int, ...] = (128, 128, 192)
    """Side of the square crops, in pixels; several are used one after another for equal shares of the run."""
    style_size: tuple[int, ...] = (320, 512, 820)
    """Long side of the paintings in pixels, which sets the size of strokes: several are the reach of --stroke."""

    content_weight: float = 1.0
    """Weight of the content loss."""
    style_weight: tuple[float, ...] = (10.0, 5.0)
    """Weight of the style loss; of several, as of image sizes, each has an equal share of the run."""
    emphasis: dict[str, float] = field(default_factory=dict)
    """Factor of a painting's style loss: --emphasis.starry 2; a run may continue with another."""
    tv_weight: float = 0.02
    """Weight of the total variation, relative to the painting's own."""
    stability_weight: float = 0.0
    """Weight of what in the painting does not move with a photo that moves a little, and is noisier and brighter."""
    content_layers: tuple[str, ...] = ("relu3_1", "relu4_1")
    """Layers of the content loss, each with an optional weight: relu4_1:0.5."""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """Layers of the style loss, each with an optional weight."""
    absolute: bool = False
    """Use Johnson's absolute losses, whose weights depend on painting and network, in place of relative ones."""
    loss_network: tuple[str, ...] = ("vgg19-compact",)
    """Names or files of loss networks; a layer is taken from the first that has it."""
    pooling: Literal["max", "avg"] = "max"
    """Pooling of the loss network."""

    optimizer: Literal["muon", "adam"] = "muon"
    """Of the convolutions: Muon (Jordan et al. 2024) learns in half the steps; all else is always Adam's."""
    learning_rate: float = 1.5e-3
    """Highest learning rate, of either; a palette's rows have four times as much."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises to it; then it falls as a cosine to a hundredth."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    average_decay: float = 0.999
    """Decay of the moving average of the weights, which is what is exported; 0 is none."""
    seed: int = 0
    """Of the network's first weights, the crops and their order."""
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
    log_interval: int = 25
    """Steps between log lines."""
    sample_interval: int = 500
    """Steps between samples: a sheet of validation photos and their painted versions."""
    checkpoint_interval: int = 250
    """Steps between checkpoints."""
    tensorboard: bool = False
    """Write TensorBoard events too."""

    def __post_init__(self) -> None:
        """Check every value and what must go together; raises ValueError."""
        check_training(self)
        for name in ("paintings", "style_size"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; it needs a value")
        check_range(self, 32, 4096, "style_size")
        check_range(self, 0, 1e12, "content_weight", "style_weight", "tv_weight", "stability_weight")
        check_range(self, 1e-12, 1e12, "epochs", "minutes")
        keys = [key_of(path) for path in self.paintings]
        for key, factor in self.emphasis.items():
            if key not in keys:
                raise ValueError(f"emphasis is of {key}; the paintings are {', '.join(keys)}")
            if not 0 < factor <= 1e6:
                raise ValueError(f"emphasis of {key} is {factor}; it must be above 0, at most 1000000")
        if self.unfreeze and (not self.base or self.architecture != "StyleNet"):
            raise ValueError("unfreeze is for a StyleNet's base; give one, or leave it out")
        if self.architecture == "TransformerNet":
            self.check_transformer()
        name, default = (
            ("stylenet", StyleNetArgs()) if self.architecture == "StyleNet" else ("network", TransformerArgs())
        )
        if self.base and getattr(self, name) != default:
            raise ValueError(f"{name} is the shape of a new network; a base has its own, so leave it out")
        if sorted(set(self.style_size)) != list(self.style_size):
            raise ValueError(f"style_size is {self.style_size}; it must rise")
        if sum(v is not None for v in (self.steps, self.epochs, self.minutes)) > 1:
            raise ValueError("steps, epochs and minutes all set the length of a run; give one of them")
        for name in ("content_layers", "style_layers"):
            parse_weighted(getattr(self, name), name)

    def check_transformer(self) -> None:
        """Raise a ValueError for what a TransformerNet cannot do."""
        if len(self.paintings) > 1:
            raise ValueError("paintings are several; a TransformerNet learns one, a StyleNet any number")

    @property
    def folder(self) -> Path:
        """Where checkpoint, log and samples are kept."""
        return self.checkpoint_dir or self.output.with_name(f"{self.output.name}.training")


@dataclass(frozen=True)
class OptimizeConfig:
    """Everything that decides an optimised picture; it is stored in the picture's file."""

    photo: Path
    """Photograph or video to paint."""
    paintings: Annotated[tuple[str, ...], Parameter(alias="--style")]
    """Pictures whose styles are used; with weight and masks: a.jpg:0.7@photo-mask.png@painting-mask.png."""
    _: KW_ONLY
    output: Annotated[Path, Parameter(alias="-o")]
    """Picture or video to write."""

    size: int = 512
    """Long side of the picture, in pixels; a smaller video keeps its own size."""
    min_size: int = 128
    """Least long side: painting begins with the first of the sizes that grow to the last by the square root of two."""
    first_iterations: int = 300
    """Iterations at the first size."""
    iterations: int = 150
    """Iterations at each later size."""
    init: str = "photo"
    """What the first size begins with: photo, noise, grey, style (noise in the paintings' colours) or a picture."""

    content_weight: float = 1.0
    """Weight of the content loss."""
    style_weight: float = 60.0
    """Weight of the style loss."""
    tv_weight: float = 0.02
    """Weight of the total variation, relative to the photo's own."""
    content_layers: tuple[str, ...] = ()
    """Layers of the content loss; unless given relu4_2, or relu3_1 and relu4_1 of a compressed network."""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """Layers of the style loss, each with an optional weight."""
    style_loss: Literal["gram", "moments", "wasserstein"] = "gram"
    """Statistics that are compared: Gram matrices, means and deviations, or means and covariances (2-Wasserstein)."""
    style_scale: float = 1.0
    """Long side of the paintings, enlarged up to twice, over that of the picture; more gives broader strokes."""
    loss_network: tuple[str, ...] = ("vgg19-compact",)
    """Names or files of loss networks; a layer is taken from the first that has it."""
    pooling: Literal["max", "avg"] = "max"
    """Pooling of the loss network."""

    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """L-BFGS, or Adam, which needs somewhat less memory."""
    learning_rate: float = 0.02
    """Of Adam."""
    average_decay: float = 0.99
    """Decay of the moving average of Adam's pictures, which is the result; 0 is none."""
    history: int | None = None
    """Steps that L-BFGS remembers; 10 unless given, or as many as fit the memory, 3 at least."""
    tile: int | None = None
    """Side of the tiles by which the picture is seen, in pixels; as large as fits the memory unless given."""
    colors: Colors = "style"
    """Whose colours: the style's, or the photo's kept by luma, match (mean and covariance) or histogram."""
    seed: int = 0
    """Of the noise."""
    device: TorchDevice = "auto"
    """Where to compute; auto is a GPU that PyTorch can use, else the CPU."""
    precision: Precision = "auto"
    """Of the loss network's arithmetic; auto is bfloat16 where the hardware has it."""

    memory: Annotated[Gigabytes | float | None, Parameter(metavar="GIGABYTES")] = None
    """Memory to use at most, as 4GB or 600MB, half of what is free unless given: larger pictures go by tiles."""
    resume: bool = True
    """Continue from the state that an interrupted run left beside the output; otherwise start afresh."""
    save_every: int = 0
    """Iterations between pictures of how far it is, <stem>-<iteration>.png beside the output; 0 is none."""

    def __post_init__(self) -> None:
        """Check every value; raises ValueError."""
        check_choices(self)
        if not self.paintings:
            raise ValueError("paintings is empty; it needs a picture")
        check_range(self, 32, 1 << 16, "size", "min_size")
        check_range(self, 1, 100, "history")
        check_range(self, 32, 1 << 17, "tile")
        check_range(self, 1, 1 << 20, "first_iterations", "iterations")
        check_range(self, 0, 1e12, "content_weight", "style_weight", "tv_weight", "save_every")
        check_range(self, 0.01, 100, "style_scale")
        check_range(self, 1e-12, 1e6, "learning_rate", "memory")
        check_range(self, 0, 1 - 1e-9, "average_decay")
        check_range(self, 0, 2**63 - 1, "seed")
        if not self.loss_network:
            raise ValueError("loss_network is empty; it needs a value")
        parse_weighted(self.style_layers, "style_layers")
        if self.content_layers:
            parse_weighted(self.content_layers, "content_layers")

    @property
    def state(self) -> Path:
        """File from which an interrupted run continues."""
        return self.output.with_name(f"{self.output.name}.state")


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """What a video asks for beyond a photo."""

    steady: float = 0.75
    """Of a video: 0 paints every frame by itself, 1 holds on to the last one's strokes as firmly as can be."""
    codec: Literal["h264", "h265", "vp9", "av1"] | None = None
    """Of a video; by default H.264 in .mp4, .mov and .mkv, VP9 in .webm."""
    start: float = 0.0
    """Where in a video to begin, in seconds."""
    end: float | None = None
    """Where in a video to end, in seconds."""
    preview: float | None = None
    """Paint only this many seconds of a video from its start."""

    def __post_init__(self) -> None:
        """Check every value; raises ValueError."""
        check_range(self, 0, 1, "steady")
        check_range(self, 0, 1e7, "start")
        if self.end is not None and not self.start < self.end:
            raise ValueError(f"end is {self.end}; it must be after the start, {self.start} seconds")
        if self.preview is not None and not self.preview > 0:
            raise ValueError(f"preview is {self.preview}; it must be more than 0 seconds")

    @property
    def until(self) -> float | None:
        """Second at which to end."""
        ends = [end for end in (self.end, self.preview and self.start + self.preview) if end]
        return min(ends, default=None)


@dataclass(frozen=True, kw_only=True)
class FilmConfig(ClipConfig):
    """What a video asks for beyond a photo where it is painted by optimisation."""

    frame_iterations: int = 40
    """Of a video: iterations at each size of a frame that is led by the last painting; others have those of a photo."""
    passes: int = 1
    """Of a video: how often all its frames are gone through, forwards and backwards in turn."""
    quality: int | None = None
    """Of a video, 1 to 100."""

    def __post_init__(self) -> None:
        """Check every value; raises ValueError."""
        super().__post_init__()
        check_range(self, 1, 1 << 20, "frame_iterations")
        check_range(self, 1, 100, "passes", "quality")
        if self.passes > 1 and not self.steady:
            raise ValueError(f"passes is {self.passes}, which needs a steady above 0; with 0 no frame knows another")


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """What folders ask for beyond a photo."""

    include: tuple[str, ...] = ()
    """Of folders, what to paint: patterns as '*.jpg' or 'raw/**'; all pictures and videos unless given."""
    exclude: tuple[str, ...] = ()
    """Of folders, what to leave out: patterns of files or folders in them."""
    workers: int | None = None
    """Of folders, how many pictures to paint at a time; one a processor unless given, fewer where memory is short."""
    cluster: str | None = None
    """Of folders: paint on Ray, auto for this machine or the cluster that it is in, or by a cluster's address."""
    retry_failed: Annotated[bool, Parameter(negative="")] = False
    """Of folders: paint what failed before once more."""
    max_errors: int | None = None
    """Of folders: stop once so many files have failed."""

    def __post_init__(self) -> None:
        """Check every value; raises ValueError."""
        check_range(self, 1, 1 << 16, "workers")
        check_range(self, 1, 1e12, "max_errors")
        for name in ("include", "exclude"):
            if not all(getattr(self, name)):
                raise ValueError(f"{name} has an empty pattern; leave it out")
        if self.cluster == "":
            raise ValueError("cluster is empty; it must be auto or an address")


def to_json(config: Any) -> dict[str, Any]:
    """Fields of a configuration as plain JSON values, nested ones too; paths as text."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, tuple):
            return [plain(v) for v in value]
        return str(value) if isinstance(value, Path) else value

    return {k: plain(v) for k, v in dataclasses.asdict(config).items()}
