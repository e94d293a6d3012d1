"""Palettes, the style files of a `StyleNet`: joining those that come from one base."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from impasto.errors import StyleError
from impasto.export import export_style, load_trainable, stored_weights
from impasto.networks.own import flat
from impasto.networks.rewrite import for_inference
from impasto.networks.stylenet import StyleNet, tables, with_rows
from impasto.specs import StyleEntry, StyleSpec
from impasto.styles import ADDED, Style, find_style, read_style

ROUNDING = 2e-3
"""Largest difference of shared weights, of the largest among them: they were rounded to float16 and back."""
KINSHIP = 0.5
"""Least cosine of the convolutions' weights of two networks that come from one base; those of others are near 0."""


@dataclass(frozen=True, slots=True)
class Part:
    """A style of a palette that is to be joined with others."""

    entry: StyleEntry
    rows: dict[str, Tensor]
    """Its rows of the tables, by name."""
    added: Tensor | None
    """What it has other than the first palette's shared weights, (P,); None where it has just those."""


def merge(sources: Sequence[str | Path], output: str | Path, *, replace: bool = False) -> StyleSpec:
    """Write a palette that has the styles of all `sources`, which must come from one base; returns its spec.

    A source is a file, or the name of a built-in palette. Where all weights of one were trained, its styles keep them,
    as additions to the first one's. `replace`: of styles of one name the last is taken, in the first one's place.

    Raises:
        StyleError: A source cannot be used, they do not come from one base, or two have a style of one name.
        ValueError: There are fewer than two sources.

    """
    if len(sources) < 2:
        raise ValueError("a merge needs two palettes or more")
    files = [read_style(find_style(source)) for source in sources]
    nets = [load_palette(file) for file in files]
    for source, net in zip(sources[1:], nets[1:], strict=True):
        if not is_kin(nets[0], net):
            raise StyleError(f"{source}: does not share its base with {sources[0]}; train both with one --base")
    parts = [part for file, net in zip(files, nets, strict=True) for part in parts_of(file, net, nets[0])]
    names = [part.entry.name for part in parts]
    if (twice := sorted({name for name in names if names.count(name) > 1})) and not replace:
        raise StyleError(
            f"{output}: not written, since two palettes have a style {', '.join(twice)}; --replace takes the last one's"
        )
    parts = list({part.entry.name: part for part in parts}.values())
    additions = {id(part.added): part.added for part in parts if part.added is not None}
    numbers = {key: number for number, key in enumerate(additions, 1)}
    entries = [dataclasses.replace(part.entry, own=numbers.get(id(part.added), 0)) for part in parts]
    spec = dataclasses.replace(
        files[0].spec,
        entries=tuple(entries),
        recipe={
            "merged": [{"file": Path(file.source).name, "recipe": file.spec.recipe} for file in files],
        },
    )
    rows = {name: torch.cat([part.rows[name] for part in parts]) for name in tables(nets[0])}
    added = torch.stack([*additions.values()]) if additions else None
    export_style(with_rows(nets[0], rows), Path(output), spec, added=added)
    return spec


def load_palette(file: Style, own: int = 0) -> StyleNet:
    """Network of a palette, see `load_trainable`; raises StyleError for a network of one style."""
    net = load_trainable(file.stored, file.source, own)
    if not isinstance(net, StyleNet):
        raise StyleError(f"{file.source}: a {file.spec.architecture}, which has no rows; only palettes can be merged")
    return net


def parts_of(file: Style, net: StyleNet, base: StyleNet) -> Iterator[Part]:
    """A palette's styles, to be painted by another's network, which `is_kin`."""
    shift = None if share_base(base, net) else shared_weights(net) - shared_weights(base)
    stored = stored_weights(file.stored).get(ADDED, ())
    added = [shift, *(own if shift is None else own + shift for own in stored)]
    if len(stored) < file.spec.owners.shape[1]:
        raise StyleError(f"{file.source}: its graph has no weights {ADDED} of a StyleNet")
    for entry, place in zip(file.spec.entries, rows_by_style(file.spec).values(), strict=True):
        rows = {name: table.detach()[place] for name, table in tables(net).items()}
        yield Part(entry, rows, added[entry.own])


def rows_by_style(spec: StyleSpec) -> dict[str, slice]:
    """Where in the tables each style of a palette has its rows."""
    ends = accumulate(len(entry.strokes) for entry in spec.entries)
    return {entry.name: slice(end - len(entry.strokes), end) for entry, end in zip(spec.entries, ends, strict=True)}


def shared_weights(net: StyleNet) -> Tensor:
    """Weights that all styles share, one after another, as a style file has them, (P,)."""
    return flat(for_inference(net))


def is_kin(one: StyleNet, other: StyleNet) -> bool:
    """Whether two networks have the same shape, and one may have been trained from the other."""
    if one.args != other.args:
        return False
    own, theirs = (
        torch.cat([p.detach().flatten() for p in net.parameters() if p.ndim == 4])  # of convolutions
        for net in (one, other)
    )
    return bool(torch.cosine_similarity(own, theirs, dim=0) > KINSHIP)


def share_base(one: StyleNet, other: StyleNet) -> bool:
    """Whether two networks have the same shape and, but for rounding, the same weights outside their tables."""
    if one.args != other.args:
        return False
    own, theirs = (for_inference(net).state_dict() for net in (one, other))  # as they were rounded
    shared = own.keys() - tables(one).keys()
    return all((own[k] - theirs[k]).abs().max() <= ROUNDING * own[k].abs().max() + 1e-6 for k in shared)


def extended(file: Style, entries: Sequence[StyleEntry], *, unfreeze: bool) -> StyleNet:
    """A palette's network with rows for other styles; unless `unfreeze`, only they are trained.

    Those of a style that the palette has, of the same name and sizes of strokes, begin as they are there, all others as
    the mean. With `unfreeze` the shared weights begin with what such a style adds to them.
    """
    spec, names = file.spec, [entry.name for entry in entries]
    own = (spec.own(dict.fromkeys(names, 1.0)) or 0) if unfreeze else 0
    base = load_palette(file, own)
    slices = rows_by_style(spec)
    had = {entry.name: entry.strokes for entry in spec.entries if entry.own == own}
    begun = {}
    for name, table in tables(base).items():
        mean = torch.cat([table[slices[style]] for style in had or slices]).mean(0, keepdim=True)
        begun[name] = torch.cat(
            [
                table[slices[entry.name]]
                if had.get(entry.name) == entry.strokes
                else mean.expand(len(entry.strokes), -1)
                for entry in entries
            ]
        )
    net = with_rows(base, begun)
    if not unfreeze:
        new = tables(net)
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name in new)
    return net
