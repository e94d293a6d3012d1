"""Palettes, the style files of a `StyleNet`: joining those that share a base."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from impasto.errors import StyleError
from impasto.export import export_style, load_trainable
from impasto.networks.rewrite import for_inference
from impasto.networks.stylenet import StyleNet, tables, with_rows
from impasto.specs import StyleSpec
from impasto.styles import Style, find_style, read_style

ROUNDING = 2e-3
"""Largest difference of shared weights, of the largest among them: they were rounded to float16 and back."""


def merge(sources: Sequence[str | Path], output: str | Path) -> StyleSpec:
    """Write a palette that has the styles of all `sources`, whose shared weights must be the same; returns its spec.

    A source is a file, or the name of a built-in palette.

    Raises:
        StyleError: A source cannot be used, they do not share a base, or two have a style of one name.
        ValueError: There are fewer than two sources.

    """
    if len(sources) < 2:
        raise ValueError("a merge needs two palettes or more")
    files = [read_style(find_style(source)) for source in sources]
    nets = [load_palette(file) for file in files]
    for source, net in zip(sources[1:], nets[1:], strict=True):
        if not share_base(nets[0], net):
            raise StyleError(f"{source}: does not share its base with {sources[0]}; train both with one --base")
    entries = [entry for file in files for entry in file.spec.entries]
    names = [entry.name for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise StyleError(f"{output}: not written, since two palettes have a style {', '.join(twice)}")
    rows = {name: torch.cat([tables(net)[name].detach() for net in nets]) for name in tables(nets[0])}
    spec = replace(
        files[0].spec,
        entries=tuple(entries),
        recipe={
            "merged": [{"file": Path(file.source).name, "recipe": file.spec.recipe} for file in files],
        },
    )
    export_style(with_rows(nets[0], rows), Path(output), spec)
    return spec


def load_palette(file: Style) -> StyleNet:
    """Network of a palette; raises StyleError for a network of one style."""
    net = load_trainable(file.data, file.source)
    if not isinstance(net, StyleNet):
        raise StyleError(f"{file.source}: a {file.spec.architecture}, which has no rows; only palettes can be merged")
    return net


def share_base(one: StyleNet, other: StyleNet) -> bool:
    """Whether two networks have the same shape and, but for rounding, the same weights outside their tables."""
    if one.args != other.args:
        return False
    own, theirs = (for_inference(net).state_dict() for net in (one, other))  # as they were rounded
    shared = own.keys() - tables(one).keys()
    return all((own[k] - theirs[k]).abs().max() <= ROUNDING * own[k].abs().max() + 1e-6 for k in shared)


def extended(base: StyleNet, rows: int, *, unfreeze: bool) -> StyleNet:
    """A base's network with `rows` rows that begin as the mean of its own; unless `unfreeze`, only they are trained."""
    means = {name: table.mean(0, keepdim=True).expand(rows - 1, -1) for name, table in tables(base).items()}
    net = with_rows(base, means)
    if not unfreeze:
        new = tables(net)
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name in new)
    return net
