"""The schema of ``conf/codec/*.yaml``."""

from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.base.errors import FatalError, check_at_least, unknown

CONDITIONINGS = ("none", "prompt", "task_id")
MEMORIES = ("all", "partial")
TEXTS = ("bytes", "words")
OUTPUTS = ("bins", "normal", "regression")


@dataclass
class CodecConfig:
    """How observations and actions become numbers for the model.

    Codec ``gato`` has no limits of its own on actions, and always sees the earlier ones.

    Attributes:
        name: which codec, see ``generalist.network.codec.CODECS``.
        conditioning: what the network is told of the task: ``none``; ``prompt``, a demonstration of it; ``task_id``,
            which one it is (an upper bound: no new task can be played).
        prompt_steps: time steps of a demonstration, at most.
        previous_actions: whether the action before is an input.
        previous_action_dropout: share of windows in training that do without it all the same.
        memory: which steps see the ones before: ``all``, or those alone whose observation is a ``partial`` view of what
            there is to know, as a grid around the player is. Steps that do not see each other are drawn from anywhere
            in a recording, so a batch of them is far wider than one of neighbours.
        continuous: continuous actions as ``bins``, as a ``normal`` distribution, or by ``regression``; see
            ``generalist.network.continuous``.
        critic: weight, beside the actions', of predicting the discounted return; 0: the network has no critic.
        discount: of the return, per step.
        observation_loss: weight of predicting the next observation, beside 1 minus it of the action, for codecs that
            predict it.
        vector_width: longest observation vector (discrete observations are one-hot) that it can carry.
        fourier_features: sine and cosine pairs added to each observed number, with codecs that see numbers as
            such; each has twice the frequency of the one before.
        image_frames: frames of an image observation; 0: it carries no images.
        image_size: their height and width in pixels.
        patch: height and width of the patches that images are cut into, where they are.
        grid_size: height and width of a grid of cells; 0: it carries none.
        text_length: longest text in bytes; 0: it carries none.
        text: read as ``bytes``, whose places in the text count, or as ``words`` in order, with codecs that have an
            encoder of texts.
        discrete_actions: largest discrete action space.
        action_dimensions: most continuous action dimensions.
        bins: categories that each continuous action dimension is cut into; with ``gato``, observations are as well.
        min_std: least standard deviation, in bins, of the normal distribution that a continuous action's target is,
            with codecs that read actions from one hidden state; the wider, the more a near miss counts.
    """

    name: str = "step"
    conditioning: str = "none"
    prompt_steps: int = 16
    previous_actions: bool = False
    previous_action_dropout: float = 0.5
    memory: str = "all"
    continuous: str = "bins"
    critic: float = 0.0
    discount: float = 0.99
    observation_loss: float = 0.0
    vector_width: int = 384
    fourier_features: int = 0
    image_frames: int = 4
    image_size: int = 84
    patch: int = 16
    grid_size: int = 7
    text_length: int = 328
    text: str = "bytes"
    discrete_actions: int = 18
    action_dimensions: int = 17
    bins: int = 256
    min_std: float = 0.5

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            GatitoError: naming the setting.
        """
        if self.conditioning not in CONDITIONINGS:
            raise unknown("codec.conditioning", self.conditioning, CONDITIONINGS)
        if self.memory not in MEMORIES:
            raise unknown("codec.memory", self.memory, MEMORIES)
        if self.text not in TEXTS:
            raise unknown("codec.text", self.text, TEXTS)
        if self.continuous not in OUTPUTS:
            raise unknown("codec.continuous", self.continuous, OUTPUTS)
        least = {"prompt_steps": 1, "previous_action_dropout": 0, "patch": 1, "bins": 1, "fourier_features": 0}
        least_of_numbers = {"min_std": 0.01, "observation_loss": 0, "critic": 0, "discount": 0}
        check_at_least("codec", self, **least, **least_of_numbers)
        if self.previous_actions and self.memory != "all":
            raise FatalError("codec.previous_actions=true is a memory of what was done: set codec.memory=all.")
        if self.discount >= 1 and self.critic:
            raise FatalError(f"codec.discount={self.discount}: a critic foresees returns that end, set it below 1.")
        if self.observation_loss >= 1:
            raise FatalError(
                f"codec.observation_loss={self.observation_loss} leaves no weight to actions: set it below 1."
            )

    def what_decides(self) -> dict[str, Any]:
        """The settings, for fingerprints: those that came later are left out as long as they change nothing."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("text", "bytes")}
