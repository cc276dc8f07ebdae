"""Data-parallel training: the processes that ``torchrun`` starts train one network, each on its part of every batch.

``torchrun --nproc-per-node=2 gatito.py suite=classic`` is one run: the first process makes all stages, the others wait
for the distillation and take part in it.
"""

import datetime
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.base.errors import GatitoError

_CPU = torch.device("cpu")
_PATIENCE = datetime.timedelta(days=7)  # while the first process trains experts


@dataclass(frozen=True)
class Ranks:
    """This process in its group.

    Attributes:
        rank: the index of this process.
        size: the number of processes.
        device: the device of this process.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU

    @staticmethod
    def join(device: str) -> "Ranks":
        """Join the group of processes that ``torchrun`` started; blocks until all have joined.

        Args:
            device: ``cpu``, ``cuda`` (one GPU per process), or ``auto``: a GPU if there is one.

        Raises:
            GatitoError: if ``device`` is ``cuda`` and there is no GPU.
        """
        used = found_device(device)
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if used.type == "cuda" else "gloo", timeout=_PATIENCE)
        return Ranks(int(os.environ.get("RANK", "0")), size, used)

    @staticmethod
    def alone(device: str) -> "Ranks":
        """A group of this process only; errors and ``device`` as in :meth:`join`."""
        return Ranks(device=found_device(device))

    @property
    def leads(self) -> bool:
        """Whether this process writes and logs."""
        return self.rank == 0

    def agree(self, value: Any = None) -> Any:  # noqa: ANN401
        """Broadcast the first process's value (JSON) to all processes."""
        if self.size == 1:
            return value
        message = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(self.device)
        length = torch.tensor([len(message)], device=self.device)
        dist.broadcast(length, 0)
        if not self.leads:
            message = torch.empty(int(length), dtype=torch.uint8, device=self.device)
        dist.broadcast(message, 0)
        return json.loads(bytes(message.cpu().numpy()))

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, returned in each of them."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def add_up_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over all processes, in one message.

        A parameter without a gradient in every process keeps none, so that the optimiser skips it.
        """
        if self.size == 1:
            return
        used = list(parameters)
        counts = self.total(torch.tensor([float(weights.grad is not None) for weights in used], device=self.device))
        used = [weights for weights, count in zip(used, counts.tolist(), strict=True) if count]
        gradients = [torch.zeros_like(weights) if weights.grad is None else weights.grad for weights in used]
        flat = self.total(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for weights, gradient in zip(used, flat.split([weights.numel() for weights in used]), strict=True):
            weights.grad = gradient.view_as(weights)


def found_device(device: str) -> torch.device:
    """The device that a setting names: ``cpu``, ``cuda``, or ``auto``, a GPU if there is one.

    Raises:
        GatitoError: if it is ``cuda`` and there is no GPU.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise GatitoError("distill.device=cuda, but torch finds no GPU: set distill.device=cpu.")
    if not available or device == "cpu":
        return _CPU
    used = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(used)
    return used
