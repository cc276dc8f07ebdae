"""Chains of linear layers with their gradient written by hand, and the step of their optimiser."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

_ACTIVATIONS: dict[type[nn.Module], tuple[Callable[..., torch.Tensor], Callable[..., torch.Tensor]]] = {
    nn.Tanh: (torch.tanh_, torch.ops.aten.tanh_backward),
    nn.ReLU: (torch.relu_, functools.partial(torch.ops.aten.threshold_backward, threshold=0)),
}
"""Activations, in place, and their gradients, given the output's gradient and the output."""

Gradients: TypeAlias = list[torch.Tensor]


HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
"""The constant in the log-density of a normal distribution."""


def sees_numbers(policy: Any) -> bool:  # noqa: ANN401
    """Whether a policy's observations are rows of numbers, which reach its layers as they are."""
    observation = policy.observation_space
    rows = isinstance(observation, gym.spaces.Box) and len(observation.shape) == 1
    return rows and policy.features_extractor_class is FlattenExtractor


def is_chain(layers: Sequence[nn.Module]) -> bool:
    """Whether these are linear layers and activations in turn, all of which :class:`Network` knows."""
    linear = all(type(layer) is nn.Linear for layer in layers[::2])
    return linear and all(type(layer) in _ACTIVATIONS for layer in layers[1::2])


class Network:
    """Linear layers with activations between them, and one or several linear heads on the last hidden layer.

    Attributes:
        weights: each layer's matrix and bias, in order, and those of the heads.
        products: multiplications of one input's way through all layers.
    """

    def __init__(self, hidden: Sequence[Any], heads: Sequence[nn.Linear]) -> None:
        """Args: linear layers and activations in turn, which end with an activation; and the heads."""
        linear = [*hidden[::2], *heads]
        self.weights = [weight for layer in linear for weight in (layer.weight, layer.bias)]
        self.products = sum(layer.weight.numel() for layer in linear)
        views = [(layer.weight.detach(), layer.weight.detach().t(), layer.bias.detach()) for layer in linear]
        self._layers, self._heads = views[: len(hidden[::2])], views[len(hidden[::2]) :]
        self._activations = [_ACTIVATIONS[type(layer)] for layer in hidden[1::2]]

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """``(n, size)`` → the inputs of the layers, of which the last is that of all heads; and the heads' outputs.

        Each of them has n rows.
        """
        inputs = [x]
        for (_, transposed, bias), (activation, _) in zip(self._layers, self._activations, strict=True):
            inputs.append(activation(torch.addmm(bias, inputs[-1], transposed)))
        return inputs, [torch.addmm(bias, inputs[-1], transposed) for _, transposed, bias in self._heads]

    def backward(self, inputs: Sequence[torch.Tensor], grads: Sequence[torch.Tensor]) -> Gradients:
        """The gradients of :attr:`weights`, given those of the heads' outputs, ``(n, outputs)`` each."""
        found = [grad for head in grads for grad in (head.t() @ inputs[-1], head.sum(dim=0))]
        for number, grad in self._hidden(inputs, grads):
            found = [grad.t() @ inputs[number], grad.sum(dim=0), *found]
        return found

    def to_input(self, inputs: Sequence[torch.Tensor], grads: Sequence[torch.Tensor]) -> torch.Tensor:
        """The gradient of the input, ``(n, size)``, given those of the heads' outputs."""
        *_, (_, grad) = self._hidden(inputs, grads)
        return grad @ self._layers[0][0]

    def _hidden(self, inputs: Sequence[torch.Tensor], grads: Sequence[torch.Tensor]) -> Any:  # noqa: ANN401
        """Each hidden layer's number and the gradient of its linear part's output, from the last to the first."""
        if not self._layers:
            return
        grad = grads[0] @ self._heads[0][0]
        for head, (weight, _, _) in zip(grads[1:], self._heads[1:], strict=True):
            grad = torch.addmm(grad, head, weight)
        for number in reversed(range(len(self._layers))):
            grad = self._activations[number][1](grad, inputs[number + 1])
            yield number, grad
            if number:
                grad = grad @ self._layers[number][0]


class Adam:
    """``torch.optim.Adam`` without the bookkeeping around its one call: the same numbers, and the same state."""

    def __init__(self, optimizer: torch.optim.Optimizer, weights: Sequence[torch.Tensor]) -> None:
        """Args: stable-baselines3's optimiser, whose own ``step`` is used if it is another one; and what it trains."""
        self._optimizer, self._weights = optimizer, list(weights)
        group = optimizer.param_groups[0]
        own = {id(weight) for weight in group["params"]} == {id(weight) for weight in weights}
        plain = not any(group.get(name) for name in ("amsgrad", "maximize", "weight_decay", "differentiable"))
        self._is_fused = type(optimizer) is torch.optim.Adam and bool(group["fused"]) and plain and own

    def step(self, grads: Gradients, max_norm: float | None = None) -> None:
        """One step.

        Args:
            grads: one for each weight, of its shape; shortened in place.
            max_norm: the largest norm of all gradients together; None: any.
        """
        if max_norm is not None:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))  # type: ignore[attr-defined]
            torch._foreach_mul_(grads, (max_norm / (norm + 1e-6)).clamp_(max=1))  # type: ignore[attr-defined]
        states = [self._optimizer.state[weight] for weight in self._weights]
        if not self._is_fused or not all(states):  # its first step makes the state
            for weight, grad in zip(self._weights, grads, strict=True):
                weight.grad = grad
            self._optimizer.step()
            return
        group = self._optimizer.param_groups[0]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)  # type: ignore[attr-defined]
        torch._fused_adam_(  # type: ignore[attr-defined]
            self._weights,
            grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            eps=group["eps"],
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
        )
