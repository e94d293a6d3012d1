"""Pictures by tiles on a GPU that PyTorch runs: as large.py does it, but for who measures and who paints.

The statistics that tiles share are asked of the PyTorch network itself (networks/shared.py).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from impasto.images import to_network
from impasto.large import Tiler
from impasto.mapped import release
from impasto.networks.shared import Joint, Part, Reached, Taken, divided

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from impasto.images import DeepPixels, Floats
    from impasto.large import Plan, Size
    from impasto.networks.shared import Sums
    from impasto.runtimes import TorchRuntime
    from impasto.styles import Style
    from impasto.tiles import Tile


class GpuTiler(Tiler):
    """A picture, its style and rows, ready to be painted by a plan of tiles on a GPU."""

    def __init__(
        self, photo: DeepPixels, style: Style, runtime: TorchRuntime, rows: Sequence[Floats], plan: Plan
    ) -> None:
        super().__init__(photo, style, runtime, rows, plan)
        self.network = runtime
        self.more = tuple(rows)

    def measured(self, crops: Floats, counts: Floats) -> list[Any]:
        """See `Tiler.measured`; of each statistic a `shared.Taken`."""
        with self.network.told(crops.shape[2:]), torch.inference_mode():
            joint = Joint(self.there(counts))
            self.network.forward(self.there(crops), *map(self.there, self.rows), taker=joint)
        return joint.found

    def swept(self, statistics: Sequence[Any]) -> list[Any]:
        """Statistics of all of the picture, one after another by all tiles, given about what they are."""
        found: list[Taken] = [*statistics]
        for place in range(len(found)):
            sums: list[Tensor] = []
            for tile in self.tiles():
                part = self.part_of(tile, found, place)
                sums = [one + other for one, other in zip(sums, part, strict=True)] if sums else [*part]
            count, first, second = sums
            found[place] = divided(found[place][0][0], (count, first, second))
        return found

    def part_of(self, tile: Tile, found: Sequence[Taken], place: int) -> Sums:
        """What a tile's core adds to one of the statistics."""
        top, bottom, left, right = tile.window
        counts = np.zeros((1, 1, bottom - top, right - left), np.float32)
        counts[:, :, *tile.features(1)] = 1
        seen = to_network(self.shown(tile.window))
        release(self.photo)
        with self.network.told(seen.shape[2:]), torch.inference_mode():
            part = Part(found, place, self.there(counts))
            with contextlib.suppress(Reached):
                self.network.forward(self.there(seen), *map(self.there, self.rows), taker=part)
        if part.sums is None:
            raise RuntimeError("the network takes other statistics than when it was measured")
        return part.sums

    def there(self, values: Floats) -> Tensor:
        """An array on the GPU."""
        return torch.from_numpy(values).to(self.network.device)

    def painter(self, statistics: Sequence[Any], _shape: Size) -> TorchRuntime:
        """Network whose statistics are given."""
        return self.network.given(statistics)
