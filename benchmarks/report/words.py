"""The table of tasks of writing, and samples of what was written."""

from dataclasses import dataclass

from benchmarks.play.text_records import Images
from benchmarks.report.formats import Table, interval_text
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.results import Results
from benchmarks.scoring.scoreboard import Scoreboard
from benchmarks.scoring.words_board import BITS, COMPRESSOR

WORDS = "words.csv"
_SAMPLES = 5  # test episodes of each task that the page shows
_CAPTION = (
    "F1: of the objects that are named. Exact: the answer equals a reference. chrF: character n-grams shared with the "
    "nearest reference. Predicted: share of next bytes that were the most likely ones. Bits per byte: mean of -log2 of "
    "the true byte's probability, given the true bytes before it; uniform bytes have 8."
)
_COMPRESSOR = " zstd compresses the whole held-out text with the whole training text as its dictionary."


@dataclass(frozen=True)
class WordsRow:
    """One quantity of one agent in one task of writing: a line of ``words.csv``.

    Attributes:
        task: the task's name.
        agent: the agent's name.
        round: the agent's round.
        label: the agent's configuration in a comparison.
        quantity: ``F1``, ``exact``, ``chrF``, ``predicted`` or ``bits per byte``.
        value: the quantity; ``low`` and ``high`` are its 95 % interval.
    """

    task: str
    agent: str
    round: int | None
    label: str
    quantity: str
    value: float
    low: float
    high: float


def words_rows(board: Scoreboard) -> list[WordsRow]:
    """Rows of ``words.csv``; none where no task is one of writing."""
    if board.words is None:
        return []
    return [
        WordsRow(task, agent.name, agent.round, agent.label, quantity, found.value, found.low, found.high)
        for (task, quantity, agent), found in board.words.scores.items()
    ]


def words_tables(board: Scoreboard) -> list[Table]:
    """A table with a row for each agent; none where no task is one of writing."""
    words = board.words
    if words is None:
        return []
    rows = []
    for agent in board.results.agents:
        cells = [words.scores.get((task, quantity, agent)) for task, quantity in words.columns]
        rows.append([str(agent), *("-" if cell is None else interval_text(cell) for cell in cells)])
    caption = _CAPTION
    if words.compressor is not None:
        found = [f"{words.compressor:.3f}" if quantity == BITS else "-" for _, quantity in words.columns]
        rows.append([COMPRESSOR, *found])
        caption += _COMPRESSOR
    names = [f"{task.partition('/')[2]}: {quantity}" for task, quantity in words.columns]
    return [Table(f"{board.results.suite}: what is written", ["agent", *names], rows, caption)]


def words_values(board: Scoreboard) -> dict[str, float]:
    """What is logged: every quantity of ``words.csv``, by name."""
    return {
        f"words/{row.quantity.replace(' ', '-')}/{row.task}/{AgentId(row.agent, row.round, row.label)}": row.value
        for row in words_rows(board)
    }


@dataclass(frozen=True)
class TextSample:
    """One test episode, and what each agent wrote.

    Attributes:
        prompt: what they were asked.
        reference: the first text that counts as right.
        seed: the episode's seed.
        written: by agent.
        image: the picture as a PNG file in base64; None without one.
    """

    prompt: str
    reference: str
    seed: int
    written: dict[str, str]
    image: str | None = None


def text_samples(results: Results, images: Images) -> dict[str, list[TextSample]]:
    """The first test episodes of each task of writing; they are not selected."""
    samples: dict[str, dict[int, TextSample]] = {}
    shown = [agent for agent in results.agents if agent.name not in ("random", "expert")]
    for agent in shown:
        for row in (row for row in results.texts if row.agent_id == agent):
            of_task = samples.setdefault(row.task, {})
            if row.episode_seed in of_task or len(of_task) < _SAMPLES:
                image = images.get(row.task, {}).get(str(row.episode_seed))
                new = TextSample(row.prompt, row.accepted[0], row.episode_seed, {}, image)
                of_task.setdefault(row.episode_seed, new).written[str(agent)] = row.written
    return {task: list(samples[task].values()) for task in results.task_names if task in samples}
