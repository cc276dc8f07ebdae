"""Checkpoints without pickle: a tree of tensors, arrays and plain values in one safetensors file.

Tensors and arrays are stored as tensors, equal ones only once (networks list shared parts under each of their names);
numbers, strings, booleans and None are JSON in the file's header. Nothing read from disk is ever executed.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors

from benchmarks.base.artifacts import write_bytes
from benchmarks.base.errors import GatitoError

if TYPE_CHECKING:
    import torch  # imported inside functions, since the command line's help and lists of tasks do not need it

_TENSOR = "__tensor__"
_HEADER = "gatito"


def save_state(path: Path, tree: Any) -> None:  # noqa: ANN401
    """Write a tree of dicts, lists, tensors, arrays and plain values atomically.

    Raises:
        TypeError: if the tree has anything else, such as a dict key that is not a string or an integer.
    """
    import safetensors.torch

    tensors: dict[str, torch.Tensor] = {}
    skeleton = json.dumps(_flatten(tree, "", tensors, {}))
    # A single entry: safetensors writes several in any order, but equal states should be equal files.
    header = json.dumps({"tree": skeleton, "sha256": _digest(skeleton, tensors)})
    write_bytes(path, safetensors.torch.save(tensors, metadata={_HEADER: header}))


def load_state(path: Path) -> Any:  # noqa: ANN401
    """Read the result of :func:`save_state`; arrays come back as tensors.

    Raises:
        GatitoError: if the file is missing or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header["sha256"] != _digest(header["tree"], tensors):
            raise KeyError("its content does not match its digest")
        skeleton = json.loads(header["tree"])
    except FileNotFoundError:
        raise GatitoError(f"{path} is missing. Run the stage that makes it first.") from None
    except (safetensors.SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise GatitoError(f"{path} is damaged ({error}). Remove it and run the same command again.") from None
    return _unflatten(skeleton, tensors)


def _digest(skeleton: str, tensors: "dict[str, torch.Tensor]") -> str:
    whole = hashlib.sha256(skeleton.encode())
    for name in sorted(tensors):
        whole.update(name.encode())
        whole.update(tensors[name].numpy().tobytes())
    return whole.hexdigest()


def _flatten(node: Any, name: str, tensors: "dict[str, torch.Tensor]", names: dict[Any, str]) -> Any:  # noqa: ANN401
    import torch

    if isinstance(node, np.ndarray):
        node = torch.from_numpy(np.array(node))  # a copy, since torch warns about read-only memory maps
    if isinstance(node, torch.Tensor):
        values = node.detach().cpu().contiguous()
        content = hashlib.sha256(values.numpy().tobytes()).digest()
        name = names.setdefault((values.dtype, values.shape, content), name)
        if name not in tensors:
            tensors[name] = values.clone()
        return {_TENSOR: name}
    if isinstance(node, dict):
        # Pairs keep integer keys (optimizer states have them) apart from strings.
        return {"dict": [[_key(key), _flatten(value, f"{name}/{key}", tensors, names)] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        return {"list": [_flatten(value, f"{name}/{index}", tensors, names) for index, value in enumerate(node)]}
    if isinstance(node, np.generic):
        node = node.item()
    if node is None or isinstance(node, bool | int | float | str):
        return {"value": node}
    raise TypeError(f"cannot store {type(node).__name__} at '{name}'")


def _key(key: object) -> str | int:
    if not isinstance(key, str | int):
        raise TypeError(f"cannot store a dict key of type {type(key).__name__}")
    return key


def _unflatten(node: dict[str, Any], tensors: "dict[str, torch.Tensor]") -> Any:  # noqa: ANN401
    if _TENSOR in node:
        return tensors[node[_TENSOR]].clone()  # equal tensors may change independently
    if "dict" in node:
        return {key: _unflatten(value, tensors) for key, value in node["dict"]}
    if "list" in node:
        return [_unflatten(value, tensors) for value in node["list"]]
    return node["value"]
