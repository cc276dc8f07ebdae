"""A network's weights: a codec and a model, saved and loaded together."""

from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from benchmarks import artifacts
from benchmarks.checkpoints import load_state, save_state
from benchmarks.errors import GatitoError
from generalist.codecs import CodecConfig, make_codec
from generalist.mixture import Batch
from generalist.model import make_model
from generalist.settings import ModelConfig

WEIGHTS = "model.safetensors"
SHAPE = "network.json"


class Network(nn.Module):
    """One network for every task that it learns: the generalist, or a specialist of one."""

    def __init__(self, model: ModelConfig, codec: CodecConfig) -> None:
        super().__init__()
        self.model = make_model(model)
        self.codec = make_codec(codec, model.width)

    def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Cross-entropy to the targets in nats per action, averaged over the real steps of the batch.

        Up to the targets' own entropy this is KL(expert || network). Returns ``loss`` and the share of steps whose
        most likely action is the expert's, ``accuracy`` (continuous: the same bin in every dimension).
        """
        hidden = self.model(self.codec.embed(batch.inputs))
        losses, hits, steps = [], [], batch.valid.sum()
        if len(batch.discrete):
            valid = batch.valid[batch.discrete]
            logits = self.codec.discrete_logits(hidden[batch.discrete], batch.counts)
            # An action that the task lacks has log-probability -inf and target 0: it must count as 0, not as NaN.
            log_probabilities = logits.log_softmax(dim=-1).masked_fill(logits.isneginf(), 0.0)
            losses.append(-(batch.probabilities * log_probabilities).sum(dim=-1)[valid].sum())
            hits.append((logits.argmax(dim=-1) == batch.probabilities.argmax(dim=-1))[valid].sum())
        if len(batch.continuous):
            valid = batch.valid[batch.continuous]
            logits = self.codec.bin_logits(hidden[batch.continuous], batch.normals.shape[2])
            targets = self.codec.bin_probabilities(batch.normals)
            place = torch.arange(batch.normals.shape[2], device=hidden.device)
            real = place < batch.dimensions[:, None]
            nats = -(targets * logits.log_softmax(dim=-1)).sum(dim=-1) * real[:, None]
            losses.append((nats.sum(dim=-1) / batch.dimensions[:, None])[valid].sum())
            same = (logits.argmax(dim=-1) == targets.argmax(dim=-1)) | ~real[:, None]
            hits.append(same.all(dim=-1)[valid].sum())
        return {"loss": torch.stack(losses).sum() / steps, "accuracy": torch.stack(hits).sum() / steps}


def save_network(folder: Path, network: Network) -> None:
    """Write weights and shape; both are needed to load."""
    save_state(folder / WEIGHTS, network.state_dict())
    shape = {"model": asdict(network.model.config), "codec": asdict(network.codec.config)}
    artifacts.write_json(folder / SHAPE, shape)


def load_network(folder: Path) -> Network:
    """Build the network from its shape and put the weights in.

    Raises:
        GatitoError: if a file is missing or damaged, or the weights belong to another shape.
    """
    if not (folder / SHAPE).exists():
        raise GatitoError(f"{folder} holds no network: run with stages=[distill,controls] first.")
    shape = artifacts.read_json(folder / SHAPE)
    network = Network(ModelConfig(**shape["model"]), CodecConfig(**shape["codec"]))
    try:
        network.load_state_dict(load_state(folder / WEIGHTS))
    except RuntimeError as error:
        raise GatitoError(f"{folder / WEIGHTS} does not fit {folder / SHAPE}: {error}") from None
    return network.eval()
