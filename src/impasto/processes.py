"""The processes that train together, where `torchrun` started several; else there is one."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed

from impasto.errors import TrainingError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Processes:
    """Place of this process among those that train together."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def gathered(self, value: Tensor) -> Tensor:
        """Of `value` (N, ...), equally shaped in each process, all: (count * N, ...) in their order."""
        if self.count == 1:
            return value
        found = [torch.empty_like(value) for _ in range(self.count)]
        distributed.all_gather(found, value.contiguous())
        return torch.cat(found)

    def told(self, value: T) -> T:
        """What the first process has for `value`."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]


def launched() -> Processes:
    """What `torchrun` told this process."""
    if not distributed.is_torchelastic_launched():
        return Processes()  # another launcher's RANK is of no concern here
    return Processes(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


@contextlib.contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Meet the other processes, each with a GPU of its own where the device is ``cuda``.

    Raises:
        TrainingError: They cannot be reached.

    """
    processes = launched()
    if processes.count == 1:
        yield processes
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"the other processes of torchrun cannot be reached ({error})") from error
    try:
        yield processes
    finally:
        distributed.destroy_process_group()
