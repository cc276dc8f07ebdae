"""Conversion of images of all layouts to one: channels first.

An image is a Box of bytes, or of floats from 0 to 1, with a height and a width of at least 24 pixels:

| shape | channels |
|---|---|
| ``(height, width)`` | one grey channel |
| ``(channels, height, width)``, such as Atari's stacked frames | unchanged |
| ``(height, width, channels)`` | moved to the front |
| ``(frames, channels, height, width)``, ``(frames, height, width, channels)`` | the channels of all frames |
"""

import gymnasium as gym
import numpy as np

_LEAST = 24  # pixels per side; smaller arrays are grids of cells, or numbers


def image_layout(space: gym.Space) -> str | None:
    """The axes of an image, ``H``, ``W``, ``C`` for channels and ``F`` for frames; None: the space is not an image."""
    if not isinstance(space, gym.spaces.Box) or len(space.shape) < 2 or not _has_pixels(space):
        return None
    large = [size >= _LEAST for size in space.shape]
    match large:
        case [True, True]:
            return "HW"
        case [_, True, True]:
            return "CHW"
        case [True, True, False]:
            return "HWC"
        case [_, _, True, True]:
            return "FCHW"
        case [_, True, True, False]:
            return "FHWC"
    return None


def channels_of(space: gym.Space) -> int:
    """The number of channels of an image, those of all frames together."""
    assert space.shape is not None
    sizes = dict(zip(_axes(space), space.shape, strict=True))
    return sizes.get("F", 1) * sizes.get("C", 1)


def image_size(space: gym.Space) -> tuple[int, int]:
    """The height and the width of an image, in pixels."""
    assert space.shape is not None
    sizes = dict(zip(_axes(space), space.shape, strict=True))
    return sizes["H"], sizes["W"]


def channels_first(space: gym.Space, images: np.ndarray) -> np.ndarray:
    """``(n, *shape)`` images of a space → ``(n, channels, height, width)``, uint8."""
    axes = _axes(space)
    if axes == "CHW" and images.dtype == np.uint8:
        return images
    if images.dtype != np.uint8:
        images = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    order = [1 + axes.index(axis) for axis in "FCHW" if axis in axes]
    moved = images.transpose(0, *order)
    return moved.reshape(len(images), channels_of(space), *moved.shape[-2:])


def from_channels_first(space: gym.Space, images: np.ndarray) -> np.ndarray:
    """The inverse of :func:`channels_first`; floats are rounded to 8 bits."""
    axes, shape, dtype = _axes(space), space.shape, space.dtype
    assert shape is not None and dtype is not None
    ordered = [axis for axis in "FCHW" if axis in axes]
    sizes = [shape[axes.index(axis)] for axis in ordered]
    back = images.reshape(len(images), *sizes).transpose(0, *(1 + ordered.index(axis) for axis in axes))
    return back if dtype == np.uint8 else (back / 255).astype(dtype)


def _axes(space: gym.Space) -> str:
    axes = image_layout(space)
    assert axes is not None, f"{space} is not an image"
    return axes


def _has_pixels(space: gym.spaces.Box) -> bool:
    if space.dtype == np.uint8:
        return True
    return space.dtype.kind == "f" and bool((space.low == 0).all() and (space.high == 1).all())
