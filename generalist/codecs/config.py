"""The schema of ``conf/codec/*.yaml``."""

from dataclasses import dataclass


@dataclass
class CodecConfig:
    """How observations and actions become numbers for the model.

    Attributes:
        name: which codec, see ``generalist.codecs.CODECS``.
        vector_width: longest observation vector (discrete observations are one-hot) that it can carry.
        image_frames: frames of an image observation; 0: it carries no images.
        image_size: their height and width in pixels.
        grid_size: height and width of a grid of cells; 0: it carries none.
        text_length: longest text in bytes; 0: it carries none.
        discrete_actions: largest discrete action space.
        action_dimensions: most continuous action dimensions.
        bins: categories that each continuous action dimension is cut into.
    """

    name: str = "step"
    vector_width: int = 384
    image_frames: int = 4
    image_size: int = 84
    grid_size: int = 7
    text_length: int = 328
    discrete_actions: int = 18
    action_dimensions: int = 17
    bins: int = 256
