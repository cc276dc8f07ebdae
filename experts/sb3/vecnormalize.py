"""Read the statistics of a pickled VecNormalize without unpickling.

A small machine follows the file's opcodes, of which it knows a closed list. It imports and calls nothing: it represents
a class or function by its name, and an object by a note of its constructor and state. Only the needed arrays and
numbers become values. Files with anything else are rejected.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.base.errors import GatitoError

_MOST_BYTES = 256 * 2**20
_PACKAGES = ("stable_baselines3", "numpy", "gymnasium", "gym", "collections")
_FUNCTIONS = {("_codecs", "encode"), ("copyreg", "_reconstructor"), ("builtins", "object"), ("builtins", "set")}
"""Names that a file may contain: those of these packages, and these functions."""
_NUMBERS = ("f4", "f8", "i4", "i8")
_VALUES = {
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "BINFLOAT"),
    *("FLOAT", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    "BYTEARRAY8",
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class RefusedError(Exception):
    """A file is rejected; the text says why."""


@dataclass(frozen=True)
class Named:
    """A class or function, known by its name only."""

    module: str
    name: str


@dataclass(eq=False)
class Noted:
    """An object that was not created: its constructor, arguments and state."""

    maker: object
    arguments: object
    state: object = None


@dataclass
class _Machine:
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, content: bytes) -> object:
        """Follow the opcodes and return the root object."""
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "STOP":
                return self.stack.pop()
            if opcode.name in _VALUES:
                self.stack.append(_CONSTANTS.get(opcode.name, argument))
            elif opcode.name in _TUPLES:
                self._gather(_TUPLES[opcode.name])
            elif opcode.name in _STEPS:
                _STEPS[opcode.name](self, argument)
            else:
                raise RefusedError(f"it has the opcode {opcode.name}, which such files do not need")
        raise RefusedError("it ends early")

    def _gather(self, count: int) -> None:
        if count > len(self.stack):
            raise IndexError
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        self.stack.append(tuple(items))

    def since_mark(self) -> list[Any]:
        """Pop everything above the last mark, and the mark."""
        place = max(index for index, value in enumerate(self.stack) if value is _MARK)
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def remember(self, key: int | None = None) -> None:
        self.memo[len(self.memo) if key is None else key] = self.stack[-1]

    def name(self, module: object, name: object) -> None:
        """Push a class or function by its name; reject names that such files do not contain."""
        named = Named(str(module), str(name))
        if named.module.partition(".")[0] not in _PACKAGES and (named.module, named.name) not in _FUNCTIONS:
            raise RefusedError(f"it would use {named.module}.{named.name}")
        self.stack.append(named)

    def note(self) -> None:
        arguments, maker = self.stack.pop(), self.stack.pop()
        self.stack.append(Noted(maker, arguments))

    def build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Noted):
            raise RefusedError("it sets the state of what has none")
        self.stack[-1].state = state

    def put(self, items: list[Any]) -> None:
        """Add keys and values to the dictionary on the stack; those of other mappings are ignored."""
        owner = self.stack[-1]
        if isinstance(owner, dict):
            owner |= dict(zip(items[::2], items[1::2], strict=True))

    def extend(self, items: list[Any]) -> None:
        owner = self.stack[-1]
        if isinstance(owner, list):
            owner += items


_MARK = object()
_STEPS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "POP": lambda machine, _: machine.stack.pop(),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "LIST": lambda machine, _: machine.stack.append(machine.since_mark()),
    "APPEND": lambda machine, _: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "SETITEM": lambda machine, _: machine.put([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.put(machine.since_mark()),
    "EMPTY_SET": lambda machine, _: machine.stack.append(Noted(None, ())),
    "ADDITEMS": lambda machine, _: machine.since_mark(),
    "FROZENSET": lambda machine, _: machine.stack.append(Noted(None, tuple(machine.since_mark()))),
    "GLOBAL": lambda machine, words: machine.name(*words.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(machine.stack.pop(-2), machine.stack.pop()),
    "REDUCE": lambda machine, _: machine.note(),
    "NEWOBJ": lambda machine, _: machine.note(),
    "BUILD": lambda machine, _: machine.build(),
    "MEMOIZE": lambda machine, _: machine.remember(),
    "PUT": lambda machine, key: machine.remember(key),
    "BINPUT": lambda machine, key: machine.remember(key),
    "LONG_BINPUT": lambda machine, key: machine.remember(key),
    "GET": lambda machine, key: machine.stack.append(machine.memo[key]),
    "BINGET": lambda machine, key: machine.stack.append(machine.memo[key]),
    "LONG_BINGET": lambda machine, key: machine.stack.append(machine.memo[key]),
}


def read_normalizer(path: Path) -> dict[str, Any] | None:
    """The observations' statistics of a ``vecnormalize.pkl``, as :func:`experts.sb3.normalizer.normalize` takes them.

    Returns:
        ``mean``, ``var``, ``count``, ``epsilon`` and ``clip``; for dictionary observations, such a mapping per key.
        None: observations are not normalised.

    Raises:
        GatitoError: if VecNormalize did not write the file, or it cannot be read without executing it.
    """
    try:
        return _statistics(_content(path))
    except RefusedError as error:
        reason = str(error)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"it is damaged: {type(error).__name__}"
    raise GatitoError(
        f"{path} is not read, for a pickle is never run and this one is no VecNormalize that can be read without "
        f"({reason}): save it anew with VecNormalize.save of stable-baselines3, or move it away and do without."
    )


def _content(path: Path) -> bytes:
    if path.stat().st_size > _MOST_BYTES:
        raise RefusedError(f"it has more than {_MOST_BYTES:,} bytes")
    return path.read_bytes()


def _statistics(content: bytes) -> dict[str, Any] | None:
    root = _Machine().run(content)
    if not isinstance(root, Noted) or not isinstance(root.maker, Named) or root.maker.name != "VecNormalize":
        raise RefusedError("it holds another object")
    state = root.state
    if not isinstance(state, dict):
        raise RefusedError("it has no settings")
    if state.get("norm_obs", True) is not True:
        return None
    bounds = {"epsilon": _number(state["epsilon"]), "clip": _number(state["clip_obs"])}
    moments = state["obs_rms"]
    if isinstance(moments, dict):
        keys = state.get("norm_obs_keys") or list(moments)
        return {str(key): _moments(moments[key], bounds) for key in keys}
    return _moments(moments, bounds)


def _moments(noted: object, bounds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not isinstance(noted, Noted) or not isinstance(noted.state, dict):
        raise RefusedError("it has no statistics of observations")
    found = {name: _number(noted.state[name]) for name in ("mean", "var", "count")} | dict(bounds)
    finite = all(np.isfinite(values).all() for values in found.values())
    if not finite or found["mean"].shape != found["var"].shape or (found["var"] < 0).any() or not found["clip"] > 0:
        raise RefusedError("its statistics are no means and variances")
    return found


def _number(noted: object) -> np.ndarray:
    """A number or an array, from its note."""
    if isinstance(noted, int | float) and not isinstance(noted, bool):
        return np.asarray(float(noted))
    if not isinstance(noted, Noted) or not isinstance(noted.maker, Named):
        raise RefusedError("a number of it is something else")
    arguments: Any = noted.arguments
    if noted.maker.module.partition(".")[0] == "numpy":
        if noted.maker.name == "_reconstruct":
            state: Any = noted.state
            _, shape, dtype, is_fortran, values = state
            return _array(values, dtype, shape, "F" if is_fortran else "C")
        if noted.maker.name == "_frombuffer":
            return _array(*arguments)
        if noted.maker.name == "scalar":
            dtype, values = arguments
            return _array(values, dtype, (), "C")
    raise RefusedError("a number of it is something else")


def _array(values: object, dtype: object, shape: Any, order: Any) -> np.ndarray:  # noqa: ANN401
    if isinstance(values, Noted) and values.maker == Named("_codecs", "encode"):  # bytes in pickle protocol 2
        text: Any = values.arguments
        values = text[0].encode("latin-1")
    if not isinstance(values, bytes | bytearray) or not isinstance(shape, tuple):
        raise RefusedError("an array of it has no bytes")
    array = np.frombuffer(bytes(values), _dtype(dtype)).reshape(shape, order=order)
    return array.astype(np.float64)


def _dtype(noted: object) -> np.dtype:
    if not isinstance(noted, Noted) or noted.maker != Named("numpy", "dtype"):
        raise RefusedError("an array of it has no type")
    arguments: Any = noted.arguments
    state: Any = noted.state
    if arguments[0] not in _NUMBERS:
        raise RefusedError(f"an array of it is of type {arguments[0]!r}")
    return np.dtype(arguments[0]).newbyteorder(">" if state and state[1] == ">" else "<")
