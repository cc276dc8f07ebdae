"""Layers in ONNX Runtime, for acting on a CPU: the same numbers to 1e-5, in a third of PyTorch's time.

PyTorch starts some twenty operations for each layer, and prepares the weights for each product anew. ONNX Runtime joins
them, and prepares the weights once. Attention stays in PyTorch, since its cache grows, shrinks and is copied.
"""

import abc
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from generalist.network.encoders import BoardEncoder
    from generalist.network.heads import ActionHeads
    from generalist.network.transformer import Transformer

_OPSET, _CONTRIB, _IR_VERSION = 17, 1, 9  # versions of ONNX's operations, of ONNX Runtime's own, and of the format


class Accelerated(nn.Module, abc.ABC):
    """A module that acts through ONNX Runtime after :meth:`accelerate`, with the weights as they are then."""

    _runtime: Any = None

    @abc.abstractmethod
    def make_runtime(self) -> Any:  # noqa: ANN401
        """What acts in its place."""

    @property
    def runtime(self) -> Any:  # noqa: ANN401
        """What acts in its place now; None if nothing does, or gradients are needed."""
        return None if torch.is_grad_enabled() else self._runtime

    def accelerate(self) -> None:
        """Act through ONNX Runtime until :meth:`train` or :meth:`eval` is called."""
        if self._runtime is None:
            self._runtime = self.make_runtime()

    def train(self, mode: bool = True) -> Self:
        """Switch the mode; weights that may have changed are read anew."""
        self._runtime = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_runtime": None}  # another process makes its own


class TransformerRuntime:
    """The layers of a transformer with the weights that it has now.

    Graphs are made when they are first needed. Each holds its own copy of its weights.
    """

    def __init__(self, transformer: "Transformer") -> None:
        self._transformer = transformer
        self._depth = transformer.config.layers

    def alone(self, tokens: torch.Tensor) -> torch.Tensor:
        """See :meth:`.Transformer.alone`."""
        return _run(self._alone, tokens)[0]

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        """See :meth:`.Transformer.enter`."""
        return _run(self._pieces[0], x)[0]

    def advance(self, layer: int, x: torch.Tensor, mixed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :meth:`.Transformer.advance`."""
        x, following = _run(self._pieces[layer + 1], x, mixed)
        return x, following

    @functools.cached_property
    def _alone(self) -> Any:  # noqa: ANN401
        graph, x = _Graph(), "x"
        for layer in range(self._depth):
            block = self._block(layer)
            value = graph.product(graph.norm(x, block.attention_norm), block.attention.weight_alone())
            x = self._feedforward(graph, layer, graph.sum(x, value))
        return graph.session(["x"], [graph.norm(x, self._transformer.norm)])

    @functools.cached_property
    def _pieces(self) -> Sequence[Any]:
        """Before the first layer's attention, and after each layer's attention until the next one."""
        sessions = []
        for layer in range(-1, self._depth):
            graph, x = _Graph(), "x"
            if layer >= 0:
                out = graph.product("y", self._block(layer).attention.out.weight)
                x = self._feedforward(graph, layer, graph.sum(x, out))
            if layer + 1 < self._depth:
                following = self._block(layer + 1)
                result = graph.product(graph.norm(x, following.attention_norm), following.attention.qkv.weight)
            else:
                result = graph.norm(x, self._transformer.norm)
            sessions.append(graph.session(["x"], [result]) if layer < 0 else graph.session(["x", "y"], [x, result]))
        return sessions

    def _block(self, layer: int) -> Any:  # noqa: ANN401
        return self._transformer.blocks[layer]

    def _feedforward(self, graph: "_Graph", layer: int, x: str) -> str:
        block = self._block(layer)
        wide = graph.product(graph.norm(x, block.feedforward_norm), block.feedforward[0].weight)
        return graph.sum(x, graph.product(graph.gelu(wide), block.feedforward[2].weight))


class HeadsRuntime:
    """The head of continuous actions with the weights that it has now."""

    def __init__(self, heads: "ActionHeads") -> None:
        self._heads = heads
        self._sessions: dict[int, Any] = {}

    def numbers(self, hidden: torch.Tensor, dimensions: int) -> torch.Tensor:
        """See :meth:`.ActionHeads.numbers`."""
        if dimensions not in self._sessions:
            self._sessions[dimensions] = self._session(dimensions)
        return _run(self._sessions[dimensions], hidden)[0]

    def _session(self, dimensions: int) -> Any:  # noqa: ANN401
        first, _, last = self._heads.continuous
        graph = _Graph()
        offsets = graph.weight(self._heads.offsets(dimensions) + first.bias)  # type: ignore[operator]
        active = graph.gelu(graph.sum(graph.column(graph.product("x", first.weight)), offsets))  # type: ignore[arg-type]
        result = graph.sum(graph.product(active, last.weight), graph.weight(last.bias))  # type: ignore[arg-type]
        return graph.session(["x"], [result])


class BoardRuntime:
    """The encoder of boards with the weights that it has now."""

    def __init__(self, encoder: "BoardEncoder") -> None:
        graph = _Graph()
        hidden = graph.convolution("x", encoder.first)
        for block in encoder.blocks:
            _, first, _, second = block  # type: ignore[misc]
            inner = graph.convolution(graph.apply("Relu", hidden), first)
            hidden = graph.sum(hidden, graph.convolution(graph.apply("Relu", inner), second))
        join: Any = encoder.join[-1]
        flat = graph.apply("Flatten", graph.apply("Relu", hidden))
        self._session = graph.session(["x"], [graph.sum(graph.product(flat, join.weight), graph.weight(join.bias))])

    def encode(self, boards: torch.Tensor) -> torch.Tensor:
        """``(n, planes, rows, columns)`` → ``(n, width)``."""
        return _run(self._session, boards)[0]


class _Graph:
    """A graph of operations on arrays; results are known by their names. Of most, the last axis is the width."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def norm(self, x: str, norm: nn.RMSNorm) -> str:
        return self.apply("SimplifiedLayerNormalization", x, self.weight(norm.weight), axis=-1, epsilon=norm.eps)

    def product(self, x: str, matrix: torch.Tensor) -> str:
        return self.apply("MatMul", x, self.weight(matrix.T))

    def sum(self, x: str, y: str) -> str:
        return self.apply("Add", x, y)

    def gelu(self, x: str) -> str:
        return self.apply("Gelu", x, domain="com.microsoft")

    def convolution(self, x: str, layer: nn.Conv2d) -> str:
        assert layer.bias is not None
        [padding] = set(layer.padding)
        return self.apply("Conv", x, self.weight(layer.weight), self.weight(layer.bias), pads=[int(padding)] * 4)

    def column(self, x: str) -> str:
        """``(rows, width)`` → ``(rows, 1, width)``."""
        return self.apply("Unsqueeze", x, self.weight(torch.tensor([1])))

    def weight(self, values: torch.Tensor) -> str:
        from onnx import numpy_helper

        name = f"weight{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(values.detach().numpy()), name))
        return name

    def session(self, inputs: Sequence[str], outputs: Sequence[str]) -> Any:  # noqa: ANN401
        """What runs the graph, with as many threads as PyTorch."""
        import onnxruntime
        from onnx import TensorProto, helper

        given, found = (
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
            for names in (inputs, outputs)
        )
        versions = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", _CONTRIB)]
        graph = helper.make_graph(self._nodes, "layers", given, found, self._weights)
        model = helper.make_model(graph, opset_imports=versions, ir_version=_IR_VERSION)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave the CPU alone
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def apply(self, operation: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401
        from onnx import helper

        name = f"value{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        return name


def _run(session: Any, *arrays: torch.Tensor) -> list[torch.Tensor]:  # noqa: ANN401
    """Run a session on the tensors that it takes."""
    inputs = dict(zip(("x", "y"), (values.numpy() for values in arrays), strict=False))
    return [torch.from_numpy(found) for found in session.run(None, inputs)]
