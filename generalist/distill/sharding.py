"""FSDP2 (Zhao et al. 2023, arXiv:2304.11277): the blocks of a large network are cut into a part for each process.

Each process keeps its part of every block's weights, gradients and optimiser state, and gathers a block while it is
used. Encoders, heads and norms, which are small, are kept whole: not every process's batch uses all of them.
"""

import sys
from collections.abc import Sequence
from typing import Any

import torch

from generalist.config.settings import DistillConfig
from generalist.distill.distributed import Ranks
from generalist.network.network import Network


def shard_blocks(network: Network, ranks: Ranks) -> None:
    """Cut the blocks of a network that is on this process's device; all processes call it."""
    from torch.distributed.device_mesh import init_device_mesh  # slow to import, and few trainings need it
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(ranks.device.type, (ranks.size,))
    for block in network.trunk.blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    network.in_one_pass = True


def is_sharded(values: torch.Tensor) -> bool:
    """Whether this process has a part of a tensor only."""
    module = sys.modules.get("torch.distributed.tensor")  # no tensor is a part before this has been imported
    return module is not None and isinstance(values, module.DTensor)


def whole(state: Any) -> Any:  # noqa: ANN401
    """A state with whole tensors in place of parts; all processes call it together."""
    if isinstance(state, dict):
        return {name: whole(value) for name, value in state.items()}
    if isinstance(state, list):
        return [whole(value) for value in state]
    return state.full_tensor() if is_sharded(state) else state


def make_optimizer(network: Network, config: DistillConfig) -> torch.optim.AdamW:
    """AdamW for all weights, with weight decay on matrices only."""
    groups = []
    for sharded in (False, True):  # a group's tensors are updated together, so they are all parts or all whole
        used = [parameter for parameter in network.parameters() if is_sharded(parameter) == sharded]
        matrices = [parameter for parameter in used if parameter.dim() >= 2]
        others = [parameter for parameter in used if parameter.dim() < 2]
        if used or not sharded:
            groups += [
                {"params": matrices, "weight_decay": config.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)


def part_like(values: torch.Tensor, parameter: Any) -> torch.Tensor:  # noqa: ANN401
    """This process's part of a whole tensor, cut as a parameter is; the tensor itself if the parameter is whole."""
    if not is_sharded(parameter) or is_sharded(values):
        return values
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(values, parameter.device_mesh, parameter.placements)


def cut_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Cut the state that was loaded for parameters that are parts."""
    for parameter, state in optimizer.state.items():
        for name, values in state.items():
            if isinstance(values, torch.Tensor) and values.shape == parameter.shape:
                state[name] = part_like(values, parameter)


def add_up_parts(parameters: Sequence[torch.nn.Parameter], ranks: Ranks) -> None:
    """Turn gradients of parts, which FSDP has averaged over the processes, into sums."""
    for weights in parameters:
        if weights.grad is not None:
            weights.grad.mul_(ranks.size)


def clip_gradients(parameters: Sequence[torch.nn.Parameter], most: float) -> torch.Tensor:
    """Scale gradients so that their norm, over parts and whole ones, is at most ``most``; returns the norm before."""
    gradients = [weights.grad for weights in parameters if weights.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack([whole(torch.linalg.vector_norm(values)) for values in gradients]))
    for values in gradients:
        values.mul_(torch.clamp(most / (norm + 1e-6), max=1.0))
    return norm
