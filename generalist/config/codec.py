"""The settings of ``codec``: how observations and actions become numbers for the network."""

from dataclasses import dataclass

from benchmarks.base.errors import FatalError
from benchmarks.base.settings import check_settings, setting

CONDITIONINGS = ("none", "prompt", "task_id")
MEMORIES = ("all", "partial")
TEXTS = ("bytes", "words")
OUTPUTS = ("bins", "normal", "regression")


@dataclass
class CodecConfig:
    """How observations and actions become numbers for the network.

    The defaults are those of codec ``step``. Codec ``gato`` limits neither the number of actions nor their dimensions,
    and always uses earlier actions as inputs.
    """

    name: str = setting("step", "Which codec: step, gato, jat, or one of a plugin.")
    conditioning: str = setting(
        "none",
        "What identifies the task: none; prompt, a demonstration that every step attends to; or task_id, an embedding "
        "of the task (an upper bound: no new task can be played).",
        choices=CONDITIONINGS,
    )
    prompt_steps: int = setting(16, "Longest demonstration, in time steps.", at_least=1)
    previous_actions: bool = setting(
        False,
        "Whether the previous action is an input; needs memory=all. It invites copying that action instead of reacting "
        "to the observation.",
    )
    previous_action_dropout: float = setting(
        0.5, "Share of training windows without previous actions.", at_least=0, at_most=1
    )
    memory: str = setting(
        "partial",
        "Which steps attend to earlier ones: all, or only those with a partial view of the state (grids around the "
        "player) or a text. Steps without memory are sampled from anywhere in a recording.",
        choices=MEMORIES,
    )
    independent: float = setting(
        0.0,
        "Share of the training windows of steps with memory that hold independent steps instead, each attending to "
        "itself: batches are more diverse. With codec step.",
        at_least=0,
        below=1,
    )
    continuous: str = setting(
        "normal", "Output for continuous actions: bins, a normal distribution, or regression.", choices=OUTPUTS
    )
    critic: float = setting(
        0.0, "Weight of predicting the discounted return, which search needs; 0: no critic.", at_least=0
    )
    discount: float = setting(0.99, "Discount of that return, per step.", at_least=0, at_most=1)
    observation_loss: float = setting(
        0.0,
        "Weight of predicting the next observation, with codec jat; the action has 1 minus this weight.",
        at_least=0,
        below=1,
    )
    vector_width: int = setting(
        384, "Longest observation vector (Humanoid's has 348), and largest discrete observation space.", at_least=0
    )
    fourier_features: int = setting(
        4,
        "Sine and cosine pairs added to each observed number, each with twice the frequency of the previous one; they "
        "resolve small differences.",
        at_least=0,
    )
    image_frames: int = setting(4, "Frames of an image observation (Atari's stacks have 4); 0: no images.", at_least=0)
    image_size: int = setting(84, "Height and width of an image in pixels.", at_least=1)
    image_film: bool = setting(
        False,
        "Whether a text scales and shifts the features of an image (FiLM), as a mission does with a grid's, with codec "
        "step.",
    )
    image_detail: bool = setting(
        False,
        "Whether images are read in finer steps, at about twice the time, so that objects of a dozen pixels are seen.",
    )
    patch: int = setting(16, "Height and width of an image patch in pixels, with codec gato.", at_least=1)
    grid_size: int = setting(7, "Height and width of a grid of cells (MiniGrid's view has 7); 0: no grids.", at_least=0)
    grid_blocks: int = setting(
        0,
        "Residual blocks of convolutions over a grid's cells, with codec step; they relate neighbouring cells.",
        at_least=0,
    )
    board_features: int = setting(
        0,
        "Features of each square of a board game, read by convolutions, with codec step; 0: a board is a vector.",
        at_least=0,
    )
    text_length: int = setting(328, "Longest text in bytes (BabyAI's boss levels have 328); 0: no text.", at_least=0)
    text: str = setting(
        "bytes",
        "How text is read: as bytes at their positions, or as words in order, so that a clause has the same meaning at "
        "every position.",
        choices=TEXTS,
    )
    discrete_actions: int = setting(18, "Largest discrete action space (Atari's has 18).", at_least=1)
    action_dimensions: int = setting(17, "Most dimensions of a continuous action (Humanoid's has 17).", at_least=1)
    bins: int = setting(
        256, "Bins per continuous action dimension; with codec gato, of every continuous number.", at_least=1
    )
    min_std: float = setting(
        0.5,
        "Standard deviation, in bins, of the normal distribution around a recorded continuous action that is the "
        "target; larger values are more tolerant of near misses.",
        at_least=0.01,
    )

    def check(self) -> None:
        """Reject settings that cannot work.

        Raises:
            GatitoError: names the setting.
        """
        check_settings("codec", self)
        if self.previous_actions and self.memory != "all":
            raise FatalError("codec.previous_actions=true needs memory: set codec.memory=all.")
        if self.independent and self.name != "step":
            raise FatalError(f"codec.independent is for codec=step: codec {self.name} reads sequences only.")
        if self.discount >= 1 and self.critic:
            raise FatalError(
                f"codec.discount={self.discount} is for networks without a critic: set it below 1, or codec.critic=0."
            )
