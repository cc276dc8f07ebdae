"""The networks by the name of their codec, with their capabilities. Importing this does not import torch.

A new network is one module in ``generalist/network``, one line here and one YAML file in ``conf/codec/``.
"""

from dataclasses import dataclass
from typing import Any

from benchmarks.base.registry import Registry, import_object


@dataclass(frozen=True)
class NetworkKind:
    """The location of a network's class, and its capabilities; callers test these, never names.

    Attributes:
        path: ``module:class``, imported when it is first needed.
        tokens_per_step: tokens per time step; None if it depends on the task.
        has_distribution: whether it outputs the distribution of a whole action; otherwise it decodes actions token by
            token, and a decided action cannot be replaced by another.
        has_critic: whether it can predict returns (``codec.critic``).
        supports_perceptron: whether ``model.kind=perceptron`` can replace the transformer.
    """

    path: str
    tokens_per_step: int | None
    has_distribution: bool
    has_critic: bool
    supports_perceptron: bool

    @property
    def supports_ppo(self) -> bool:
        """Whether PPO can train it."""
        return self.has_distribution and self.has_critic


NETWORKS: Registry[NetworkKind] = Registry(
    "codec",
    {
        "gato": NetworkKind("generalist.network.gato.gato:GatoNetwork", None, False, False, False),
        "jat": NetworkKind("generalist.network.jat.jat:JatNetwork", 2, True, True, False),
        "step": NetworkKind("generalist.network.step:StepNetwork", 1, True, True, True),
    },
    attributes=("path", "tokens_per_step", "has_distribution", "has_critic", "supports_perceptron"),
)
"""Networks by their name in ``codec.name``."""


def network_kind(name: str) -> NetworkKind:
    """The capabilities of a codec's network.

    Raises:
        GatitoError: if there is no such codec.
    """
    return NETWORKS.load(name)


def network_class(name: str) -> Any:  # noqa: ANN401
    """The class of a codec's network, a :class:`generalist.network.network.Network`; only this imports torch.

    Raises:
        GatitoError: if there is no such codec.
    """
    return import_object(network_kind(name).path, f"the network of codec {name}")
