"""Trains what paints after any painting: ``python recipes/any_painting.py --help``; interrupted, it continues.

``adain`` is the decoder from relu4_1 (Huang & Belongie 2017): content and style losses. ``wct1`` to ``wct5`` are those
of Li et al. 2017, which learn to undo the encoder and never see a style. The encoder is `vgg19-compact`, and stays as
it is. ``hourglass`` begins with the decoder of ``adain``, which must be there, and has the painting's statistics on
four levels (after Sheng et al. 2018).

Departures: losses are relative, and the style loss has Gram matrices beside means and deviations, since a small
encoder's are pleased too easily by the latter alone; some photos are painted at part of the strength, some not at
all, so that the way from photo to painting is trained too; paintings come in other colours, and photos stand in for
paintings, since sixty are few.
"""

import argparse
import copy
import io
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from impasto.engines import export_engine, export_statistics
from impasto.files import atomic_write
from impasto.images import Pixels, fit, read_image
from impasto.losses import TINY, distance, gram_distance, total_variation
from impasto.muon import optimizers, set_rate
from impasto.networks.autoencoder import Decoder, encoder
from impasto.networks.engines import ENGINES, HourglassNet, WCTNet, layer
from impasto.networks.weights import COMPACT, load_loss_network
from impasto.paintings import engines_folder
from impasto.photos import Crops, Photo, Prefetch, find_photos, permutation
from impasto.runs import channels_last
from impasto.statistics import adain, coloring, gram, mean_covariance, mean_deviation, squares
from impasto.targets import to_tensor

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
HELD_OUT = 6
"""One of so many paintings of a second folder is for judging alone, as of `vgg19-compact`."""
STEPS = {"adain": 12000, "hourglass": 16000} | {f"wct{level}": 6000 for level in range(1, 6)}
RATE, WARM_UP, AVERAGE = 1.5e-3, 100, 0.999
SAVE_EVERY = 250
"""Steps between checkpoints."""
STYLE_WEIGHT, HOURGLASS_STYLE_WEIGHT, TV_WEIGHT, RANGE_WEIGHT = 10.0, 25.0, 0.02, 30.0
CONTENT = ("relu3_1", "relu4_1")
FLAT = 1e-4
"""Total variation of a painting of hardly one colour, which a flatter one's is taken for."""
BATCHES = ((8, 128), (8, 128), (4, 192))
"""Crops a step and their size, for equal parts of a run."""
STYLE_SIDE, SMALLEST, LARGEST = 1.25, 192, 640
"""Size of a painting's crops over that of the photos', and reach of the painting's short side in pixels."""
OTHER_COLORS, PHOTOS_TOO = 0.6, 0.15
"""Shares of the paintings that get other colours, and in whose place is a photo."""

Losses = Mapping[str, Tensor]
Features = Mapping[str, Tensor]
Paint = Callable[[Tensor, Features, Features, Tensor], Tensor]
"""Of photos (N, 3, H, W), their features and the paintings', and strengths (N,)."""
Objective = Callable[[Tensor, Tensor, Tensor], Losses]
"""Of photos and paintings (N, 3, H, W) and strengths (N,)."""


def main() -> None:
    """Train a part and write its weights."""
    parser = argparse.ArgumentParser(description="Train what paints after any painting.")
    parser.add_argument(
        "part", choices=[*STEPS, "export"], help="export writes the engines that are trained to the end"
    )
    parser.add_argument("--photos", type=Path, help="folder")
    parser.add_argument(
        "--paintings", nargs="+", type=Path, default=[], help="folders; of the second some are held out"
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder of checkpoints")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--engines", type=Path, default=engines_folder(), help="folder to export to")
    parser.add_argument(
        "--unfinished", action="store_true", help="export what is not trained to the end too, to look at"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--optimizer", default="muon", help="muon or adam")
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    # Two threads are slower wherever anything else runs: a weight's gradient in bfloat16 took 70 times as long.
    torch.set_num_threads(args.threads)
    if args.part == "export":
        export(args)
        return
    if args.photos is None or not args.paintings:
        parser.error("training needs --photos and --paintings")
    train(args)


class Eyes:
    """The encoder in bfloat16, and the maps of its features that keep Gram matrices' distances."""

    def __init__(self) -> None:
        self.narrow = encoder().to(torch.bfloat16).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.heads = load_loss_network(COMPACT).to(torch.bfloat16)

    def __call__(self, image: Tensor, layers: tuple[str, ...] = LAYERS) -> dict[str, Tensor]:
        """Features by layer of RGB (N, 3, H, W)."""
        features: dict[str, Tensor] = self.narrow(image.to(torch.bfloat16), layers)
        return features

    def wide(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features through those maps."""
        return {layer: self.heads.widened(layer.removeprefix("relu"), value) for layer, value in features.items()}


def adain_objective(net: nn.Module) -> Objective:
    """Content and style losses of a decoder from relu4_1."""
    eyes = Eyes()

    def losses(photo: Tensor, painting: Tensor, strength: Tensor) -> Losses:
        with torch.no_grad():
            own, wanted = eyes(photo), eyes(painting)
            target = own["relu4_1"].float()
            painted_target = adain(target, *mean_deviation(wanted["relu4_1"]))
            target = torch.lerp(target, painted_target, strength[:, None, None, None])
            moments = {k: mixed(mean_deviation(own[k]), mean_deviation(wanted[k]), strength) for k in LAYERS}
            grams = [{k: gram(v).float() for k, v in eyes.wide(features).items()} for features in (own, wanted)]
        with torch.autocast("cpu", torch.bfloat16):
            image = net(target.to(torch.bfloat16))
        found = eyes(image)
        style = [moments_distance(mean_deviation(found[k]), moments[k]) for k in LAYERS[:4]]
        wide = eyes.wide(found)
        mixtures = {k: torch.lerp(grams[0][k], grams[1][k], strength[:, None, None]) for k in LAYERS}
        gram_losses = [style_distance(wide[k], mixtures[k]) for k in LAYERS]
        content = distance(found["relu4_1"], target.to(torch.bfloat16), relative=True)
        return {
            "content": content.mean(),
            "moments": STYLE_WEIGHT / 2 * torch.stack(style).mean(),
            "gram": STYLE_WEIGHT / 2 * torch.stack(gram_losses).mean(),
            "photo": photo_loss(image, photo, 1 - strength),
        }

    return losses


def painting_objective(paint: Paint, style_weight: float = STYLE_WEIGHT) -> Objective:
    """Content, style and total-variation losses of a network that paints as the built-in palette does."""
    eyes = Eyes()

    def losses(photo: Tensor, painting: Tensor, strength: Tensor) -> Losses:
        with torch.no_grad():
            own, wanted = eyes(photo), eyes(painting)
            targets = eyes.wide(own)
            grams = {k: gram(v).float() for k, v in eyes.wide(wanted).items()}
            mixtures = {k: torch.lerp(gram(targets[k]).float(), grams[k], strength[:, None, None]) for k in LAYERS}
            variation = torch.lerp(total_variation(photo), total_variation(painting), strength) + FLAT
        image = paint(photo, own, wanted, strength)
        found = eyes.wide(eyes(image))
        content = [distance(found[k], targets[k], relative=True) for k in CONTENT]
        return {
            "content": torch.stack(content).mean(),
            "style": style_weight * torch.stack([style_distance(found[k], mixtures[k]) for k in LAYERS]).mean(),
            "tv": TV_WEIGHT * (total_variation(image) / variation).mean(),
            "photo": photo_loss(image, photo, 1 - strength),
            "range": RANGE_WEIGHT * (image - image.clamp(0, 1)).float().square().mean(),
        }

    return losses


def hourglass_paint(net: HourglassNet) -> Paint:
    """How a network paints that gives the photo's features the painting's statistics."""

    def paint(_: Tensor, own: Features, wanted: Features, strength: Tensor) -> Tensor:
        with torch.no_grad():
            statistics = []
            for level in net.levels:
                mean, covariance = mean_covariance(wanted[layer(level)])
                deviation = covariance.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()
                spread = coloring(covariance) if level in net.whitened else deviation
                statistics += [strength[:, None] * mean, strength.view(-1, *[1] * (spread.ndim - 1)) * spread]
            styled = net.styled(own, 1 - strength, statistics)
        with torch.autocast("cpu", torch.bfloat16):
            return net.decoder(*styled)  # type: ignore[no-any-return]

    return paint


def strengths(count: int, rng: np.random.Generator) -> Tensor:
    """Most at full strength, an eighth not painted at all, an eighth between."""
    drawn = rng.random((2, count))
    made = np.where(drawn[0] < 0.75, 1.0, np.where(drawn[0] < 0.875, 0.0, drawn[1]))
    return torch.from_numpy(made.astype(np.float32))


def mixed(ones: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor], strength: Tensor) -> tuple[Tensor, Tensor]:
    """Means and deviations (N, C) between two, by shares (N,)."""
    a, b = (torch.lerp(x, y, strength[:, None]) for x, y in zip(ones, others, strict=True))
    return a, b


def moments_distance(found: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]) -> Tensor:
    """Relative distance of means and deviations (N, C): (N,)."""
    a, b = torch.cat(found, 1), torch.cat(target, 1)
    return squares(a - b) / size_of(b)


def style_distance(features: Tensor, target: Tensor) -> Tensor:
    """Relative distance of the Gram matrices of features (N, C, H, W) to others (N, C, C): (N,)."""
    return gram_distance(features, target, relative=False) * target.shape[1] ** 2 / size_of(target)


def size_of(target: Tensor) -> Tensor:
    """What a distance to a painting's statistics is relative to: half their own square, half the batch's.

    Of a black crop there is next to nothing, and relative to that its loss was a thousand times the others'.
    """
    own = squares(target)
    return (own * own.mean() + TINY).sqrt()


def photo_loss(image: Tensor, photo: Tensor, weights: Tensor) -> Tensor:
    """Squared difference of images over the photos' variance, weighed (N,): 0 where no weight is 1."""
    difference = (image.float() - photo).square().mean((1, 2, 3))
    variance = photo.var((2, 3)).mean(1) + 1e-3
    whole = (weights == 1).float()
    return (whole * difference / variance).sum() / len(image)


def wct_objective(net: nn.Module, level: int) -> Objective:
    """Reconstruction, of pixels and features, of a decoder from relu<level>_1."""
    eyes, layer = Eyes(), f"relu{level}_1"

    def losses(photo: Tensor, painting: Tensor, _: Tensor) -> Losses:
        side = photo.shape[2]
        picture = torch.cat([photo[: len(photo) * 3 // 4], painting[len(photo) * 3 // 4 :, :, :side, :side]])
        with torch.no_grad():
            target = eyes(picture, (layer,))[layer]
        with torch.autocast("cpu", torch.bfloat16):
            image = net(target)
        found = eyes(image, (layer,))[layer]
        return {
            "pixels": 2 * photo_loss(image, picture, torch.ones(len(photo))),
            "features": distance(found, target, relative=True).mean(),
        }

    return losses


def begin(part: str, runs: Path) -> tuple[nn.Module, Objective]:
    """An untrained network, and what it is trained to do."""
    torch.manual_seed(0)
    if part == "hourglass":
        hourglass = channels_last(HourglassNet())
        hourglass.encoder.requires_grad_(False)
        begun = torch.load(runs / "adain.pt", weights_only=True)["average"]
        hourglass.decoder.load_state_dict(begun, strict=False)
        return hourglass, painting_objective(hourglass_paint(hourglass), HOURGLASS_STYLE_WEIGHT)
    level = 4 if part == "adain" else int(part[-1])
    net = channels_last(Decoder(level))
    return net, adain_objective(net) if part == "adain" else wct_objective(net, level)


class Paintings:
    """Random crops of paintings, which are kept in memory, in their own and in other colours."""

    def __init__(self, paintings: list[Photo], photos: list[Photo]) -> None:
        self.images = [fit(read_image(painting.read()), 2 * LARGEST) for painting in paintings]
        self.photos = photos
        self.pool = ThreadPoolExecutor(1)
        self.pending: dict[tuple[int, ...], Future[Pixels]] = {}

    def batch(self, step: int, first: int, count: int, side: int) -> Pixels:
        """Crops `first` to `first + count` of the run, of step `step`; those of the next steps are begun."""
        for i in range(4):
            key: tuple[int, ...] = (step + i, first + i * count, count, side)
            if key not in self.pending:
                self.pending[key] = self.pool.submit(self.crops, *key)
        result = self.pending.pop((step, first, count, side)).result()
        for key in [k for k in self.pending if k[0] <= step or k[2:] != (count, side)]:
            self.pending.pop(key).cancel()
        return result

    def crops(self, step: int, first: int, count: int, side: int) -> Pixels:
        """See `batch`."""
        rng = np.random.default_rng((11, step))
        return np.stack([self.crop(first + i, side, rng) for i in range(count)])

    def crop(self, position: int, side: int, rng: np.random.Generator) -> Pixels:
        """A square of a painting, turned or mirrored, at a random scale."""
        zoom, across, down, flip, photo, which, recolor = rng.random(7)
        epoch, place = divmod(position, len(self.images))
        image = self.images[int(permutation(len(self.images), 11, epoch)[place])]
        if photo < PHOTOS_TOO:
            image = read_image(self.photos[int(which * len(self.photos))].read())
        short = SMALLEST * (min(LARGEST, max(SMALLEST, min(image.shape[:2]))) / SMALLEST) ** zoom
        edge = min(image.shape[:2]) * min(1.0, side / short)
        left, top = across * (image.shape[1] - edge), down * (image.shape[0] - edge)
        crop = Image.fromarray(image).resize(
            (side, side), Image.Resampling.BICUBIC, box=(left, top, left + edge, top + edge), reducing_gap=2.0
        )
        if flip < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if flip % 0.25 < 0.0625:
            crop = crop.transpose(Image.Transpose.ROTATE_90)
        return recolored(np.asarray(crop), rng) if recolor < OTHER_COLORS else np.asarray(crop)


def recolored(image: Pixels, rng: np.random.Generator) -> Pixels:
    """A picture in other colours: hues turned about grey, of other strength, contrast and lightness, some inverted."""
    angle, chroma, contrast = rng.uniform(-np.pi, np.pi), rng.uniform(0.2, 1.6), rng.uniform(0.6, 1.3)
    grey = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)  # turns about grey by a right angle
    turned = grey + chroma * (np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross)
    sign = -1 if rng.random() < 0.1 else 1
    values = (image / 255.0 - 0.5) @ (sign * contrast * turned).T + 0.5 + rng.normal(0, 0.08, 3)
    return np.asarray(np.clip(values * 255 + 0.5, 0, 255), np.uint8)


def rate_at(step: int, steps: int) -> float:
    """Warm-up, then a cosine to a hundredth."""
    return RATE * min(1.0, (step + 1) / WARM_UP) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(args: argparse.Namespace) -> None:
    """Train a part, with a checkpoint every few hundred steps."""
    folders = [find_photos(folder) for folder in args.paintings]
    seen = [p for i, folder in enumerate(folders) for j, p in enumerate(folder) if i == 0 or j % HELD_OUT]
    photos = find_photos(args.photos)
    paintings = Paintings(seen, photos)
    net, objective = begin(args.part, args.runs)
    average = copy.deepcopy(net)
    optimisers = optimizers(net, RATE, args.optimizer)
    step = images = 0
    steps, checkpoint = args.steps or STEPS[args.part], args.runs / f"{args.part}.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        for optimiser, its in zip(optimisers, state["optimizers"], strict=True):
            optimiser.load_state_dict(its)
        step, images = state["step"], state["images"]
    sums: dict[str, float] = {}
    started, begun = time.perf_counter(), step
    with Prefetch(Crops(photos, 3)) as crops:
        while step < steps:
            count, side = BATCHES[step * len(BATCHES) // steps]
            photo = to_tensor(crops.batch(step, images, count, side))
            painting = to_tensor(paintings.batch(step, images, count, int(side * STYLE_SIDE)))
            losses = objective(photo, painting, strengths(count, np.random.default_rng((13, step))))
            net.zero_grad()
            torch.stack([*losses.values()]).sum().backward()  # type: ignore[no-untyped-call]
            norm = float(nn.utils.clip_grad_norm_(net.parameters(), 1.0))
            if math.isfinite(norm):
                for optimiser in optimisers:
                    set_rate(optimiser, rate_at(step, steps))
                    optimiser.step()
            step, images = step + 1, images + count
            move(average, net, max(1 - AVERAGE, 9 / (10 + step)))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.item()
            if step % 50 == 0 or step == steps:
                told = "  ".join(f"{name} {value / (step - begun):.4f}" for name, value in sums.items())
                seconds = (time.perf_counter() - started) / (step - begun)
                print(f"{args.part} {step}  {told}  norm {norm:.2f}  {seconds:.3f} s a step", flush=True)
                started, begun, sums = time.perf_counter(), step, {}
            if step % SAVE_EVERY == 0 or step == steps:
                save(checkpoint, net, average, optimisers, step, images)


def export(args: argparse.Namespace) -> None:
    """Write the network of the statistics, and each engine all of whose parts are trained."""
    args.engines.mkdir(parents=True, exist_ok=True)
    told = [export_statistics(args.engines)]
    for name, kind in ENGINES.items():
        net: nn.Module = kind()
        places = {f"wct{level}": f"decoders.{level}." for level in net.levels} if isinstance(net, WCTNet) else {}
        places = places or {name: "decoder." if name == "adain" else ""}
        if any(not trained(args, part) for part in places):
            print(f"{name} is not written: {', '.join(part for part in places if not trained(args, part))} to train")
            continue
        state = net.state_dict()
        for part, prefix in places.items():
            weights = torch.load(args.runs / f"{part}.pt", weights_only=True)["average"]
            state |= {prefix + key: value for key, value in weights.items()}
        net.load_state_dict(state)
        told.append(export_engine(name, net.eval().requires_grad_(False), args.engines))
    for path in told:
        print(f"{path}  {path.stat().st_size} bytes")


def trained(args: argparse.Namespace, part: str) -> bool:
    """Whether a part has a checkpoint, of the end of its training."""
    path = args.runs / f"{part}.pt"
    if not path.exists():
        return False
    step: int = torch.load(path, weights_only=True)["step"]
    return step >= (0 if args.unfinished else args.steps or STEPS[part])


def save(
    path: Path, net: nn.Module, average: nn.Module, optimisers: list[torch.optim.Optimizer], step: int, images: int
) -> None:
    """Write a checkpoint, whole or not at all."""
    state = {"net": net.state_dict(), "average": average.state_dict(), "step": step, "images": images}
    data = io.BytesIO()
    torch.save(state | {"optimizers": [optimiser.state_dict() for optimiser in optimisers]}, data)
    with atomic_write(path) as stream:
        stream.write(data.getbuffer())


@torch.no_grad()
def move(average: nn.Module, net: nn.Module, share: float) -> None:
    """Move averaged weights towards the current ones."""
    for old, new in zip(average.parameters(), net.parameters(), strict=True):
        old.lerp_(new, share)


if __name__ == "__main__":
    main()
