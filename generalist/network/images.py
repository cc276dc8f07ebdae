"""Images of every size as large as the network's.

A network has ``codec.image_frames`` channels of ``codec.image_size`` pixels a side. An image of another size is resized
to that, bilinearly with antialiasing, whatever its shape was; channels that it lacks are black. Several images of one
observation are put together channel by channel, each in the size of the first.
"""

import numpy as np

from generalist.config.codec import CodecConfig


def fitted(images: np.ndarray, codec: CodecConfig) -> np.ndarray:
    """``(n, channels, height, width)`` as ``(n, image_frames, image_size, image_size)``, uint8."""
    images = resized(images, (codec.image_size, codec.image_size))
    missing = codec.image_frames - images.shape[1]
    return np.pad(images, ((0, 0), (0, missing), (0, 0), (0, 0))) if missing else images


def resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``(n, channels, height, width)`` in another height and width, uint8."""
    if images.shape[-2:] == size:
        return images
    import torch  # here: whoever asks for the modalities of a space needs no torch

    pixels = torch.from_numpy(images.astype(np.float32))
    pixels = torch.nn.functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return pixels.round().clamp(0, 255).byte().numpy()
