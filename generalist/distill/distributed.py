"""The processes that train one network together, each on its part of every batch, as ``torchrun`` starts them.

``torchrun --nproc-per-node=2 gatito.py suite=classic`` is one run: the first process does everything, the others wait
until it distils and help it there.
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
    """One of the processes.

    Attributes:
        rank: its number.
        size: how many there are.
        device: what it computes on.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU

    @staticmethod
    def join(device: str) -> "Ranks":
        """This process among those that ``torchrun`` started; they wait for one another here.

        Args:
            device: ``cpu``, ``cuda`` (of several GPUs, each process has its own), or ``auto``: a GPU if there is one.

        Raises:
            GatitoError: if there is no GPU and one is asked for.
        """
        used = _found(device)
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if used.type == "cuda" else "gloo", timeout=_PATIENCE)
        return Ranks(int(os.environ.get("RANK", "0")), size, used)

    @staticmethod
    def alone(device: str) -> "Ranks":
        """This process by itself, whatever others there are; errors and ``device`` as with :meth:`join`."""
        return Ranks(device=_found(device))

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes and logs."""
        return self.rank == 0

    def agree(self, value: Any = None) -> Any:  # noqa: ANN401
        """The first process's value (of plain JSON), in all of them; they wait for it."""
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
        """The sum over all processes, in all of them."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def add_up_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Give every parameter the sum of its gradients over all processes; one message for all of them.

        One that none of them has a gradient for stays without: an optimiser leaves it as it is.
        """
        if self.size == 1:
            return
        used = list(parameters)
        there = self.total(torch.tensor([float(each.grad is not None) for each in used], device=self.device))
        used = [each for each, count in zip(used, there.tolist(), strict=True) if count]
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in used]
        flat = self.total(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for parameter, gradient in zip(used, flat.split([each.numel() for each in used]), strict=True):
            parameter.grad = gradient.view_as(parameter)


def _found(device: str) -> torch.device:
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise GatitoError("distill.device=cuda, but torch finds no GPU: set distill.device=cpu.")
    if not there or device == "cpu":
        return _CPU
    used = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(used)
    return used
