"""A stand-in for a GPU: a device that computes on the CPU, and refuses what a GPU refuses.

Tensors of two devices do not mix, and have to be moved to the CPU before numpy sees them. Torch cannot forget a device,
so :func:`install` is for a process of its own.
"""

from typing import Any

import torch
from torch.utils import _pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "other"
_KEPT: list[Any] = []  # a library is removed with its object


class _There(torch.Tensor):
    """A tensor of the device; ``here`` has its numbers."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> "_There":
        layout = {"strides": here.stride(), "storage_offset": here.storage_offset(), "dtype": here.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, here.size(), device=torch.device(NAME, 0), **layout)
        made.here = here
        return made

    def tolist(self) -> Any:
        return self.here.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(operation, *args, **kwargs or {})


def install() -> None:
    """Let torch know the device."""
    if _KEPT:
        return
    make = torch.tensor  # does not know devices without C++
    torch.tensor = lambda values, *, device=None, **how: make(values, **how).to(device)
    _setup_privateuseone_for_python_backend(NAME)
    library = torch.library.Library("_", "IMPL")
    library.fallback(_compute, "PrivateUse1")
    _KEPT.append(library)


@torch.inference_mode(False)  # a subclass has no inference tensors
def _compute(operation: Any, *args: Any, **kwargs: Any) -> Any:
    copies = operation in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    tensors = [leaf for leaf in _pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, _There)]
    # As on a GPU, numbers without dimensions may be on the CPU, and indices too.
    others = [tensor for tensor in tensors if not isinstance(tensor, _There) and tensor.dim()]
    if there and others and not copies and "index" not in operation._schema.name:
        raise RuntimeError(f"{operation} has tensors on two devices")
    result_is_there = bool(there)
    if kwargs.get("device") is not None:
        result_is_there = torch.device(kwargs["device"]).type == NAME
        kwargs = kwargs | {"device": torch.device("cpu")}
    elif operation is torch.ops.aten.copy_.default:
        result_is_there = isinstance(args[0], _There)
    args_here, kwargs_here = _pytree.tree_map_only(_There, lambda tensor: tensor.here, (args, kwargs))
    result = operation(*args_here, **kwargs_here)
    if operation._schema.is_mutable and args and result is args_here[0]:
        return args[0]
    return _pytree.tree_map_only(torch.Tensor, _There, result) if result_is_there else result
