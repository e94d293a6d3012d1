"""Distils VGG-19 into ``vgg19-compact``: ``python recipes/vgg19_compact.py --help``; interrupted, it continues.

The student is a narrow VGG-19 to relu5_1, from random weights, with a linear map from each relu<b>_1 to VGG-19's own
channels. Its teachers are exact VGG-19 as deep as there is, and a compressed one below. It sees photographs, paintings
and painted photographs, and all of them in strange colours, mixed, noisy and blurred, since a loss network looks at
pictures that are not finished.
"""

import argparse
import io
import itertools
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from impasto.devices import pick_device
from impasto.files import atomic_write
from impasto.images import read_image
from impasto.losses import TINY, content_loss, gram_distance, style_loss
from impasto.muon import Muon, mixes
from impasto.networks.vgg import VGG, LossNetwork
from impasto.networks.weights import load_loss_network
from impasto.photos import Crops, Photo, Prefetch, find_photos
from impasto.statistics import gram
from impasto.targets import scale_to, to_tensor

WIDTHS = {
    "1_1": 16,
    "1_2": 20,
    "2_1": 40,
    "2_2": 32,
    "3_1": 80,
    "3_2": 64,
    "3_3": 64,
    "3_4": 64,
    "4_1": 128,
    "4_2": 112,
    "4_3": 112,
    "4_4": 128,
    "5_1": 128,
}
TEACHER = {"1_1": 64, "2_1": 128, "3_1": 256, "4_1": 512, "5_1": 512}
LAYERS = tuple(f"relu{name}" for name in TEACHER)
HELD_OUT = 6
"""One of so many paintings is for judging alone."""
JUDGED_SIDE = 384
RATES = (2e-3, 1e-2, 2e-3)
"""Highest learning rates: of the convolutions, the linear maps, the biases."""
CONTENT = {"relu3_1": 1.0, "relu4_1": 1.0}
GRAMS = (0.2, 0.8)
"""Share of the Gram matrices' distances in the loss, without and with pictures in the making."""
POOL, POOL_STEP, POOL_RATE = 48, 0.02, 0.4
"""Pictures in the making, their step in [0, 1], and the learning rates with them over the highest."""


def main() -> None:
    """Train, write the weights, and judge them."""
    parser = argparse.ArgumentParser(description="Distil VGG-19 into a compact loss network.")
    parser.add_argument("--photos", nargs="+", type=Path, required=True, help="folders, of painted photos too")
    parser.add_argument("--paintings", nargs="+", type=Path, required=True, help="folders")
    parser.add_argument("--validation", type=Path, required=True, help="folder of photos to judge on")
    parser.add_argument("--teachers", nargs="+", default=["vgg19"], help="a layer is the first's that has it")
    parser.add_argument("-o", "--output", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--json", type=Path, help="file for the figures; what it has of other networks is kept")
    parser.add_argument("--steps", type=int, default=18000, help="on photos, paintings and painted photos")
    parser.add_argument("--pool-steps", type=int, default=10000, help="then, half of them on pictures in the making")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--judge", action="store_true", help="only judge the file that is there")
    parser.add_argument("--layers", nargs="+", default=LAYERS, help="to judge; teachers may end early")
    args = parser.parse_args()
    device = torch.device(pick_device(args.device))
    paintings = [find_photos(folder) for folder in args.paintings]
    unseen = [*itertools.chain(*(folder[::HELD_OUT] for folder in paintings))]
    seen = [*itertools.chain(*(find_photos(folder) for folder in args.photos), *paintings)]
    teacher = LossNetwork([load_loss_network(name).to(torch.bfloat16) for name in args.teachers])
    teacher = teacher.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not args.judge:
        seen_paintings = [painting for painting in itertools.chain(*paintings) if painting not in unseen]
        train(args, [photo for photo in seen if photo not in unseen], seen_paintings, teacher, device)
    found = {
        name: judge(load_loss_network(args.output, thin=False).to(device), teacher, pictures, args.layers)
        for name, pictures in (("photos", find_photos(args.validation)), ("paintings", unseen))
    }
    print(json.dumps(found, indent=2))
    if args.json:
        about = {"teachers": [Path(name).stem for name in args.teachers]}
        others = json.loads(args.json.read_text()) if args.json.exists() else {}
        args.json.write_text(json.dumps(others | {args.output.stem: about | found}, indent=2) + "\n")


def begin() -> VGG:
    """The student, untrained."""
    torch.manual_seed(0)
    state = {"normalize.weight": 4 * torch.eye(3)[:, :, None, None], "normalize.bias": torch.full((3,), -2.0)}
    inputs = 3
    for name, width in WIDTHS.items():
        state[f"conv{name}.weight"] = torch.randn(width, inputs, 3, 3) * math.sqrt(2 / (9 * inputs))
        state[f"conv{name}.bias"] = torch.zeros(width)
        if name in TEACHER:
            state[f"linear{name}.weight"] = 0.1 * torch.randn(TEACHER[name], width, 1, 1)
            state[f"linear{name}.bias"] = torch.zeros(TEACHER[name])
        inputs = width
    net = VGG("vgg19", state, padding="reflect", thin=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, weights in net.named_parameters():
        weights.requires_grad_(not name.startswith("normalize"))
    return net  # type: ignore[no-any-return]


def optimizers(net: VGG) -> list[torch.optim.Optimizer]:
    """Muon for the convolutions, Adam for the linear maps, whose weights are large, and for all else."""
    kinds: list[list[Tensor]] = [[], [], []]
    for name, weights in net.named_parameters():
        if weights.requires_grad:
            kinds[1 if name.startswith("linear") else 0 if mixes(weights) else 2].append(weights)
    return [Muon(kinds[0], RATES[0]), *(torch.optim.Adam(kind, 1e-3) for kind in kinds[1:])]


def rate_at(step: int, args: argparse.Namespace) -> float:
    """Share of the highest learning rates: both parts of a training rise and fall, the second one less."""
    first = step < args.steps
    begun, steps = (0, args.steps) if first else (args.steps, args.pool_steps)
    rise, fall = min(1.0, (step - begun + 1) / 200), 0.5 * (1 + math.cos(math.pi * (step - begun) / steps))
    return (1.0 if first else POOL_RATE) * rise * (0.005 + 0.995 * fall)


class Pool:
    """Photos on their way to a painting's style, by the student as it is: it learns what the teacher sees in them.

    A network that only saw finished pictures can be misled by what is made to please it. Each picture takes a step of
    Adam when it is seen, and gives way to a new photo and painting when it is old.
    """

    def __init__(self, photos: Crops, paintings: Crops, side: int, device: torch.device) -> None:
        self.photos, self.paintings, self.side, self.device = photos, paintings, side, device
        self.rng, self.begun = np.random.default_rng(5), 0
        shape = (POOL, 3, side, side)
        self.values, self.photo, self.painting, self.first, self.second = (
            torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last) for _ in range(5)
        )
        self.age, self.life = np.zeros(POOL, int), np.zeros(POOL, int)
        self.weight = torch.ones(POOL, device=device)

    def draw(self, count: int) -> Tensor:
        """The next few: their places (count,), in turn; the old ones begun anew."""
        places = (np.arange(count) + self.begun) % POOL
        self.begun += count
        if len(old := places[self.age[places] >= self.life[places]]):
            number = int(self.rng.integers(1 << 31))
            crops = [kind.batch(number, number, len(old), self.side) for kind in (self.photos, self.paintings)]
            self.photo[old], self.painting[old] = (to_tensor(batch).to(self.device) for batch in crops)
            self.values[old] = self.photo[old]
            self.first[old], self.second[old] = 0.0, 0.0
            self.age[old], self.life[old] = 0, self.rng.integers(20, 120, len(old))
            self.weight[old] = torch.from_numpy(np.exp(self.rng.uniform(0, 4, len(old))).astype("f4")).to(self.device)
        return torch.from_numpy(places)

    def move(self, places: Tensor, net: VGG, image: Tensor, found: Mapping[str, Tensor]) -> None:
        """Take a step with the pictures of these places, the last of `image`, that the student found `found` in."""
        with torch.no_grad():
            wanted = net(self.photo[places], CONTENT)
            grams = {k: gram(v) for k, v in net(self.painting[places], LAYERS).items()}
        style = style_loss(found, grams, dict.fromkeys(LAYERS, 1.0))
        loss = content_loss(found, wanted, CONTENT) + self.weight[places] * style
        slope = torch.autograd.grad(loss.sum(), image, retain_graph=True)[0][-len(places) :]
        self.age[places] += 1
        ages = torch.from_numpy(self.age[places]).to(self.device)[:, None, None, None]
        self.first[places] = self.first[places].lerp(slope, 0.1)
        self.second[places] = self.second[places].lerp(slope.square(), 0.01)
        step = self.first[places] / (1 - 0.9**ages) / ((self.second[places] / (1 - 0.99**ages)).sqrt() + 1e-12)
        self.values[places] = (self.values[places] - POOL_STEP * step).clamp(0, 1)


def train(
    args: argparse.Namespace, pictures: list[Photo], paintings: list[Photo], teacher: LossNetwork, device: torch.device
) -> None:
    """Train a student, with a checkpoint beside the output, and write the average of its weights as float16."""
    net = begin().to(device)
    average = {name: value.clone() for name, value in net.state_dict().items()}
    optimisers, step, checkpoint = optimizers(net), 0, args.output.with_suffix(".pt")
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        net.load_state_dict(state["net"])
        average, step = state["average"], state["step"]
        for optimiser, its in zip(optimisers, state["optimizers"], strict=True):
            optimiser.load_state_dict(its)
    started, sums = time.perf_counter(), torch.zeros(len(LAYERS), device=device)
    pool = Pool(Crops(pictures, 1), Crops(paintings, 2), args.image_size, device)
    with Prefetch(Crops(pictures, 0)) as crops:
        while step < args.steps + args.pool_steps:
            own = 0 if step < args.steps else args.batch_size // 2
            batch = crops.batch(step, step * args.batch_size, args.batch_size - own, args.image_size)
            image = disturbed(to_tensor(batch), np.random.default_rng((7, step))).to(device)
            places = pool.draw(own)
            image = torch.cat([image, pool.values[places]]).requires_grad_(own > 0)
            with torch.no_grad():
                wanted = teacher(image.to(torch.bfloat16), LAYERS)
            with torch.autocast(device.type, torch.bfloat16):
                found = net(image, LAYERS)
                if own:
                    pool.move(places, net, image, {layer: value[-own:] for layer, value in found.items()})
            grams = GRAMS[own > 0]
            losses, cosines = zip(*(compare(found[k], wanted[k], grams) for k in LAYERS), strict=True)
            loss = torch.stack(losses).sum()
            net.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for optimiser, rate in zip(optimisers, RATES, strict=True):
                optimiser.param_groups[0]["lr"] = rate * rate_at(step, args)
                optimiser.step()
            step += 1
            for name, value in net.state_dict().items():
                average[name].lerp_(value, max(0.001, 9 / (10 + step)))
            sums += torch.stack(cosines).detach()
            if step % 50 == 0:
                seconds = (time.perf_counter() - started) / 50
                shown = "  ".join(f"{k} {value / 50:.4f}" for k, value in zip(LAYERS, sums.tolist(), strict=True))
                print(f"step {step}  loss {loss.item():.4f}  {shown}  {seconds:.3f} s a step", flush=True)
                started, sums = time.perf_counter(), torch.zeros_like(sums)
            if step % 500 == 0 or step == args.steps + args.pool_steps:
                states = [optimiser.state_dict() for optimiser in optimisers]
                data = io.BytesIO()
                torch.save({"net": net.state_dict(), "average": average, "optimizers": states, "step": step}, data)
                with atomic_write(checkpoint) as stream:
                    stream.write(data.getbuffer())
    with atomic_write(args.output) as stream:
        stream.write(save({name: value.half().contiguous() for name, value in average.items()}))


def compare(found: Tensor, wanted: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Loss and mean cosine of features (N, C, H, W) against the teacher's.

    The loss is their relative distance, a part of their cosines, and a `share` of the relative distance of their Gram
    matrices, which is what they are for.
    """
    dot, square = Products.apply(found, wanted)  # type: ignore[no-untyped-call]
    wanted_square = (wanted * wanted).sum(1, dtype=torch.float32)
    cosine = (dot / (square * wanted_square).clamp_min(TINY).sqrt()).mean()
    distance = (square - 2 * dot + wanted_square).sum((1, 2)) / (wanted_square.sum((1, 2)).mean() + TINY)
    grams = gram_distance(found, gram(wanted), relative=True)
    return (distance + share * grams).mean() + 0.3 * (1 - cosine), cosine


class Products(torch.autograd.Function):
    """Sums over the channels of F W and of F F, for features F and W (N, C, H, W): (N, H, W) each, float32.

    Cosines and distances follow from these. Made by differentiable steps in float32 they took longer than all three
    networks: 0.31 s of a step of 0.57 s, now 0.10 s.
    """

    @staticmethod
    def forward(ctx: Any, f: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        ctx.save_for_backward(f, w)
        return (f * w).sum(1, dtype=torch.float32), (f * f).sum(1, dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dot: Tensor, square: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        f, w = ctx.saved_tensors
        return torch.addcmul(w * dot[:, None].to(w.dtype), f, (2 * square)[:, None].to(f.dtype)), None


def disturbed(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Images (N, 3, H, W), some in other colours, mixed with each other, noisy fine or coarse, or blurred."""
    count, draw = len(image), torch.Generator().manual_seed(int(rng.integers(1 << 31)))

    def some(share: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=draw) * (torch.rand(count, 1, 1, 1, generator=draw) < share)

    gain = 1 + 0.3 * torch.randn(count, 3, 1, 1, generator=draw)
    shifted = (image - 0.5) * gain + 0.5 + 0.1 * torch.randn(count, 3, 1, 1, generator=draw)
    mixed = torch.lerp(shifted, shifted.flip(0), some(0.25))
    coarse = torch.randn(count, 3, image.shape[2] // 4, image.shape[3] // 4, generator=draw)
    coarse = F.interpolate(coarse, image.shape[2:], mode="bicubic")
    fine = torch.randn(image.shape, generator=draw)
    noise = torch.where(torch.rand(count, 1, 1, 1, generator=draw) < 0.5, fine, coarse)
    noisy = mixed + 0.15 * some(0.3) * noise
    blurred = F.avg_pool2d(F.pad(noisy, (1, 1, 1, 1), mode="reflect"), 3, 1) if rng.random() < 0.2 else noisy
    return blurred.clamp(-0.1, 1.1).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def judge(student: VGG, teacher: LossNetwork, pictures: Sequence[Photo], layers: Sequence[str]) -> Mapping[str, float]:
    """Mean cosine between features of student and teacher by layer, over all places of all pictures."""
    found: dict[str, list[float]] = {layer: [] for layer in layers}
    device = next(student.parameters()).device
    for picture in pictures:
        image = to_tensor(scale_to(read_image(picture.read()), JUDGED_SIDE, multiple=16)).to(device)
        wanted, its = teacher(image.to(torch.bfloat16), layers), student(image, layers)
        for layer, cosines in found.items():
            cosines.append(F.cosine_similarity(its[layer], wanted[layer].float(), dim=1).mean().item())
    return {layer: round(sum(cosines) / len(cosines), 4) for layer, cosines in found.items()}


if __name__ == "__main__":
    main()
