"""Tables of a report: headline, fractions, mean scores, summary, probability of improvement and compute."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.base.compute import Cost
from benchmarks.report.formats import Table, duration, interval_text, listed, magnitude, number, percent, plural
from benchmarks.scoring.agents import AGENTS, AgentId, describe_agent, last_rounds, with_label
from benchmarks.scoring.scoreboard import AGGREGATES, MARKS, Estimate, Scoreboard, share_name

_WIDEST = 12
"""Most agents that tables with a column for each agent show with every round."""

_HEADLINE_AGENTS = {
    "specialist": "one specialist per task",
    "multitask-rl": "the same network trained by PPO on all tasks",
    "generalist": "one generalist for all tasks",
}


@dataclass(frozen=True)
class TidyScore:
    """One agent on one task, or one aggregate over tasks: a line of ``table.csv``.

    Attributes:
        suite: the suite's name.
        task: the task's name, or the aggregate's.
        agent: the agent's name; with ``round`` and ``label`` its :class:`AgentId`.
        round: the agent's round; None before any.
        label: the agent's configuration in a comparison.
        train_seeds: number of training seeds.
        preliminary: whether there is a single training seed, so that the variation between seeds is unknown.
        raw: mean score; None for aggregates.
        raw_low: lower end of its 95 % interval.
        raw_high: upper end of its 95 % interval.
        f: fraction of the expert; None if the task is unscored.
        f_low: lower end of its 95 % interval.
        f_high: upper end of its 95 % interval.
        fieller_low: lower end of f's interval in closed form, a cross-check.
        fieller_high: upper end of the same; -inf to inf where the ratio is unbounded.
        gate: why the task is unscored; empty if it is scored.
    """

    suite: str
    task: str
    agent: str
    round: int | None
    label: str
    train_seeds: int
    preliminary: bool
    raw: float | None
    raw_low: float | None
    raw_high: float | None
    f: float | None
    f_low: float | None
    f_high: float | None
    fieller_low: float | None
    fieller_high: float | None
    gate: str


def headline(board: Scoreboard) -> str:
    """One sentence: the fraction that one network for all tasks keeps, against one network per task.

    Without a generalist, the fraction that each agent from outside the project keeps.
    """
    last = max((score.agent.round or 0 for score in board.suite), default=0)
    shown = [
        score for score in board.suite if score.agent.name in _HEADLINE_AGENTS and (score.agent.round or 0) in (0, last)
    ]
    shown = shown or [score for score in board.suite if score.agent.name not in AGENTS]
    start = "Preliminary, one training seed: " if board.preliminary else ""
    if not shown:
        return f"{start}no task is scored." if not board.suite else f"{start}no generalist was scored."
    clauses = []
    for score in shown:
        rounds = f" after {last} {plural(last, 'round')}" if score.agent.round else ""
        name = _HEADLINE_AGENTS.get(score.agent.name, f"agent {score.agent.name}")
        subject = with_label(name + rounds, score.agent.label)
        clauses.append(f"{subject} {'' if clauses else 'keeps '}{interval_text(score.aggregates['IQM'])}")
    scored = len(board.results.task_names) - len(board.unscored)
    seeds = len(board.results.train_seeds)
    data = f"{scored} {plural(scored, 'task')}" + ("" if seeds == 1 else f" and {seeds} training seeds")
    text = f"{start}{listed(clauses)} of its experts' performance (IQM of f over {data}, 95 % intervals)"
    generalists = [score.agent for score in shown if score.agent.name == "generalist" and not last]
    text += "".join(_sharing_clause(board, agent) for agent in generalists)
    return text[0].upper() + text[1:] + "."


def _sharing_clause(board: Scoreboard, generalist: AgentId) -> str:
    """The cost of sharing one network: f of the specialists less f of the generalist."""
    specialist = generalist.in_same_run("specialist", board.results.agents)
    gap = specialist and board.differences.get((specialist, generalist))
    if not gap:
        return ""
    where = f" with {generalist.label}" if generalist.label else ""
    verdict = "no significant difference" if gap.low <= 0 <= gap.high else "the interval excludes 0"
    verdict = "" if board.preliminary else f", {verdict}"
    return f"; sharing one network{where} costs {interval_text(gap)} of the expert{verdict}"


def failed_lines(failures: Mapping[str, str]) -> list[str]:
    """One line for each task that failed."""
    return [f"{task} failed: {line}" for task, line in failures.items()]


def all_tables(board: Scoreboard, by_return: Scoreboard | None = None) -> list[Table]:
    """Every table of a report: the console shows the first two; the last one has wall times.

    Args:
        board: the scores.
        by_return: the scores by return; None if no task has success as its metric.
    """
    second_summary = [] if by_return is None else [summary_by_return(by_return)]
    others = (raw_table, improvement_table, cost_table)
    return [score_table(board), summary_table(board), *second_summary, *(make(board) for make in others)]


def shown_agents(board: Scoreboard) -> list[AgentId]:
    """The agents that wide tables and charts show: with more than :data:`_WIDEST`, only the last round of each."""
    agents = board.results.agents
    return list(agents) if len(agents) <= _WIDEST else last_rounds(agents)


def shown_competitors(board: Scoreboard) -> list[AgentId]:
    """Those of them that are measured by the anchors."""
    return [agent for agent in shown_agents(board) if not agent.is_anchor]


def left_out(board: Scoreboard, where: str = "in table.csv") -> str:
    """What a caption says about the agents that are not shown."""
    shown = len(shown_agents(board)) == len(board.results.agents)
    return "" if shown else f" Rounds before the last are {where}."


def score_table(board: Scoreboard) -> Table:
    """For each task: the anchors' mean scores, and every other agent's fraction of the expert."""
    cells = {(score.task, score.agent): score for score in board.tasks}
    anchors = [agent for agent in board.results.agents if agent.is_anchor]
    shown = shown_competitors(board)
    rows = []
    for task in board.results.task_names:
        fractions = [cells[task, agent].f for agent in shown]
        row = [task, *(number(cells[task, agent].raw.value) for agent in anchors)]
        rows.append(row + ["unscored" if f is None else interval_text(f) for f in fractions])
    caption = "f = (agent - random) / (expert - random) of mean scores on the same test episodes, with 95 % intervals."
    columns = ["task", *map(str, anchors), *(f"f {agent}" for agent in shown)]
    return Table(
        f"{board.results.suite}: fraction of the expert, {seeds_text(board)}",
        columns,
        rows,
        f"{gate_text(board)} {caption}{left_out(board)}",
    )


def raw_table(board: Scoreboard) -> Table:
    """Per task: every agent's mean score."""
    cells = {(score.task, score.agent): score.raw for score in board.tasks}
    agents = shown_agents(board)
    rows = [
        [task, *(interval_text(cells[task, agent], number) for agent in agents)] for task in board.results.task_names
    ]
    metrics = {row.task: row.metric for row in board.results.tasks}
    others = [f"{task}: {metric}" for task, metric in metrics.items() if metric != "return"]
    caption = "Mean undiscounted return per test episode, with 95 % intervals." + "".join(
        f" {other}." for other in others
    )
    caption += left_out(board)
    return Table(f"{board.results.suite}: mean scores, {seeds_text(board)}", ["task", *map(str, agents)], rows, caption)


def summary_table(board: Scoreboard, title: str = "summary") -> Table:
    """Per agent: aggregates over the scored tasks."""
    scored = len(board.results.task_names) - len(board.unscored)
    columns = ["agent", *AGGREGATES, *(f"f >= {mark:g} (of {scored})" for mark in MARKS)]
    rows, shown = [], shown_agents(board)
    for score in (score for score in board.suite if score.agent in shown):
        row = [str(score.agent), *(interval_text(score.aggregates[name]) for name in AGGREGATES)]
        counts = [score.at_or_above(mark) for mark in MARKS]
        row += [f"{count.value * scored:.0f} [{count.low * scored:.0f}, {count.high * scored:.0f}]" for count in counts]
        rows.append(row)
    explained = [text for text in (AGGREGATES.load(name).help for name in AGGREGATES) if text]
    caption = " ".join([*explained, "95 % intervals by a bootstrap over training seeds, then episodes."])
    caption += left_out(board)
    return Table(f"{board.results.suite}: {title}, {seeds_text(board)}", columns, rows, caption)


def summary_by_return(board: Scoreboard) -> Table:
    """The summary of a board with return as every task's metric, shown beside that by the tasks' own metrics."""
    return summary_table(board, "summary by return in place of success")


def improvement_table(board: Scoreboard) -> Table:
    """Probability that a row's agent is better than a column's."""
    shown = shown_agents(board)
    agents = [score.agent for score in board.suite if score.agent in shown]
    rows = [
        [
            str(agent),
            *("" if agent == other else interval_text(board.improvements[agent, other], percent) for other in agents),
        ]
        for agent in agents
    ]
    caption = (
        "Probability, in percent, that a training seed of the row's agent scores above one of the column's agent on a "
        f"random task; a tie counts half.{left_out(board, 'left out')}"
    )
    return Table(
        f"{board.results.suite}: probability of improvement, {seeds_text(board)}",
        ["agent", *map(str, agents)],
        rows,
        caption,
    )


def cost_table(board: Scoreboard) -> Table:
    """Per agent: the cost of training and of playing, as means over training seeds."""
    rows = []
    for agent, cost in costs_by_agent(board).items():
        steps, seconds = play_by_agent(board)[agent]
        decision = f"{1e6 * seconds / steps:.0f} µs" if steps else "-"
        row = [str(agent), describe_agent(agent.name), magnitude(cost.parameters), magnitude(cost.flops)]
        rows.append([*row, magnitude(cost.env_steps), duration(cost.seconds), decision])
    caption = (
        "Sums over tasks, means over training seeds. Training FLOPs: forward and backward passes of the networks' "
        "training. Environment steps: steps taken by an expert, or recorded steps that the other agents learn from. "
        "Training: wall time, summed over networks; the generalist uses all cores, every other network one. "
        "A test step includes the environment's step."
    )
    columns = ["agent", "description", "parameters", "training FLOPs", "environment steps", "training", "per test step"]
    return Table(f"{board.results.suite}: compute, {seeds_text(board)}", columns, rows, caption, words=2)


def costs_by_agent(board: Scoreboard) -> dict[AgentId, Cost]:
    """The cost of each agent, averaged over its training seeds."""
    costs = {}
    for agent in board.results.agents:
        rows = [row for row in board.results.costs if row.agent_id == agent]
        if rows:
            total = sum((Cost(row.parameters, row.flops, row.env_steps, row.train_seconds) for row in rows), Cost())
            costs[agent] = Cost(
                total.parameters // len(rows),
                total.flops / len(rows),
                total.env_steps // len(rows),
                total.seconds / len(rows),
            )
    return costs


def play_by_agent(board: Scoreboard) -> dict[AgentId, tuple[int, float]]:
    """Environment steps and wall seconds of each agent's test episodes."""
    rows = board.results.costs
    return {
        agent: (
            sum(row.play_steps for row in rows if row.agent_id == agent),
            sum(row.play_seconds for row in rows if row.agent_id == agent),
        )
        for agent in board.results.agents
    }


def tidy_scores(board: Scoreboard) -> list[TidyScore]:
    """Rows of ``table.csv``."""

    def line(
        name: str,
        agent: AgentId,
        raw: Estimate | None,
        f: Estimate | None,
        closed_form: tuple[float, float] | None,
        gate: str,
    ) -> TidyScore:
        count = board.seed_counts[agent]
        low, high = closed_form or (None, None)
        return TidyScore(
            board.results.suite,
            name,
            agent.name,
            agent.round,
            agent.label,
            count,
            count < 2,
            *_cells(raw),
            *_cells(f),
            low,
            high,
            gate,
        )

    rows = [
        line(score.task, score.agent, score.raw, score.f, score.fieller, board.unscored.get(score.task, ""))
        for score in board.tasks
    ]
    for score in board.suite:
        marked = {share_name(mark): score.at_or_above(mark) for mark in MARKS}
        rows += [
            line(name, score.agent, None, value, None, "") for name, value in (dict(score.aggregates) | marked).items()
        ]
    return rows


def _cells(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)


def seeds_text(board: Scoreboard) -> str:
    """``5 training seeds``, or a warning that there is only one."""
    seeds = board.results.train_seeds
    return "preliminary: one training seed" if board.preliminary else f"{len(seeds)} training seeds"


def gate_text(board: Scoreboard) -> str:
    """Number of scored tasks, unscored tasks with reasons, and training seeds whose expert missed its reference."""
    tasks = board.results.task_names
    text = f"{len(tasks) - len(board.unscored)} of {len(tasks)} tasks scored."
    text += "".join(f" {task}: unscored ({reason})." for task, reason in board.unscored.items())
    for task, seeds in board.weak_seeds.items():
        if task in board.unscored:
            continue
        named = ", ".join(map(str, seeds))
        text += f" {task}: the expert of training {plural(len(seeds), 'seed')} {named} is below its reference."
    return text
