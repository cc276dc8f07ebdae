"""Count parameters and floating-point operations of networks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401
    return sdpa_flop_count(query, key, value)


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401
    return sdpa_backward_flop_count(gradient, query, key, value)


CPU_ATTENTION: dict[Any, Any] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}  # torch's own table has the formulas (they take shapes), but not these two operators


def parameter_count(module: nn.Module) -> int:
    """Number of trained parameters of a module; target networks, which are copies, are left out."""
    return sum(values.numel() for name, values in module.named_parameters() if "target" not in name)


def count_flops(call: Callable[[], Any]) -> int:
    """Floating-point operations of one call, including backward passes in it."""
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        call()
    return counter.get_total_flops()


class FlopMeter:
    """Counts the operations of a module's linear and convolutional layers by hooks.

    For code that cannot be wrapped: :func:`count_flops` slows small networks down several times, hooks do not. A
    layer's backward pass costs twice its forward pass, and is counted if gradients are enabled. The gradient with
    respect to the first layer's input is counted too, although it is not computed.
    """

    def __init__(self, module: nn.Module) -> None:
        """Start at zero; ``flops`` may be set to the result of an earlier count."""
        self.flops = 0.0
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.register_forward_hook(self._count)

    def add(self, flops: float) -> None:
        """Add operations that the hooks do not see."""
        self.flops += flops

    def _count(self, layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:  # noqa: ANN401
        weight: Any = layer.weight  # linear: (out, in); convolution: (out, in / groups, height, width)
        products = output.numel() * weight[0].numel()
        self.flops += 2 * products * (3 if torch.is_grad_enabled() else 1)
