"""What a report's tables say: the headline, fractions, raw scores, summaries, improvements and costs."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.base.compute import Cost
from benchmarks.report.formats import Table, duration, interval_text, listed, magnitude, number, percent, plural
from benchmarks.scoring.results import AGENTS, ANCHORS, base_name, label_of, labelled, round_of
from benchmarks.scoring.scoreboard import AGGREGATES, Estimate, Scoreboard

MARKS = (0.5, 0.9, 1.0)
"""Fractions whose counts the summary shows."""


@dataclass(frozen=True)
class TidyScore:
    """A line of ``table.csv``: one agent on one task; the suite's aggregates have their names in place of a task's.

    Attributes:
        suite: the suite's name.
        task: the task's name, or an aggregate's.
        agent: the agent's name.
        train_seeds: how many.
        preliminary: whether it is one: what another would give is unknown.
        raw: mean score, its interval in ``raw_low`` and ``raw_high``; empty for aggregates.
        f: fraction of the expert, its interval in ``f_low`` and ``f_high``; empty if unscored.
        fieller_low: lower end of f's interval in closed form, a cross-check.
        fieller_high: its upper end; from -inf to inf where the ratio is not bounded.
        gate: empty if the task counts, else why not.
    """

    suite: str
    task: str
    agent: str
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
    """The first thing that a report says: what one network for all tasks keeps, against one network per task."""
    named = {"specialist": "one specialist per task", "generalist": "one generalist for all tasks"}
    named["multitask-rl"] = "the same network trained by PPO on all tasks"
    last = max((round_of(score.agent) for score in board.suite), default=0)
    shown = [score for score in board.suite if base_name(score.agent) in named and round_of(score.agent) in (0, last)]
    start = "Preliminary, one training seed: " if board.preliminary else ""
    if not shown:
        return f"{start}no task is scored." if not board.suite else f"{start}no generalist was scored."
    clauses = []
    for score in shown:
        rounds = f" after {last} {plural(last, 'round')}" if round_of(score.agent) else ""
        who = labelled(named[base_name(score.agent)] + rounds, label_of(score.agent))
        clauses.append(f"{who} {'' if clauses else 'keeps '}{interval_text(score.aggregates['IQM'])}")
    scored = len(board.results.task_names) - len(board.unscored)
    seeds = len(board.results.train_seeds)
    data = f"{scored} {plural(scored, 'task')}" + ("" if seeds == 1 else f" and {seeds} training seeds")
    text = f"{start}of its experts' performance, {listed(clauses)} (IQM of f over {data}, 95 % intervals)"
    for agent in (score.agent for score in shown if base_name(score.agent) == "generalist" and not last):
        gap = board.differences.get((labelled("specialist", label_of(agent)), agent))
        gap = gap or board.differences.get(("specialist", agent))
        if gap is None:
            continue
        where = f" with {label_of(agent)}" if label_of(agent) else ""
        verdict = "no difference is shown" if gap.low <= 0 <= gap.high else "the interval excludes 0"
        verdict = "" if board.preliminary else f", {verdict}"
        text += f"; sharing one network{where} costs {interval_text(gap)} of the expert{verdict}"
    return text[0].upper() + text[1:] + "."


def failed_lines(failures: Mapping[str, str]) -> list[str]:
    """What a report says of the tasks that failed, by their names."""
    return [f"{task} failed: {line}" for task, line in failures.items()]


def all_tables(board: Scoreboard, by_return: Scoreboard | None = None) -> list[Table]:
    """Every table of a report, the two that the console shows first, the one with wall times last.

    Args:
        board: what is reported.
        by_return: the same judged by return, where tasks are judged by success.
    """
    beside = [] if by_return is None else [summary_by_return(by_return)]
    makers = (raw_table, improvement_table, cost_table)
    return [score_table(board), summary_table(board), *beside, *(make(board) for make in makers)]


def score_table(board: Scoreboard) -> Table:
    """Per task: the anchors' mean scores, and every other agent's fraction of the expert."""
    cells = {(score.task, score.agent): score for score in board.tasks}
    anchors = [agent for agent in board.results.agents if base_name(agent) in ANCHORS]
    rows = []
    for task in board.results.task_names:
        fractions = [cells[task, agent].f for agent in board.judged]
        row = [task, *(number(cells[task, agent].raw.value) for agent in anchors)]
        rows.append(row + ["unscored" if f is None else interval_text(f) for f in fractions])
    caption = "f = (agent - random) / (expert - random) of mean scores on the same test episodes, with 95 % intervals."
    columns = ["task", *anchors, *(f"f {agent}" for agent in board.judged)]
    return Table(
        f"{board.results.suite}: fraction of the expert, {seeds_text(board)}",
        columns,
        rows,
        f"{gate_text(board)} {caption}",
    )


def raw_table(board: Scoreboard) -> Table:
    """Per task: every agent's mean score."""
    cells = {(score.task, score.agent): score.raw for score in board.tasks}
    agents = board.results.agents
    rows = [
        [task, *(interval_text(cells[task, agent], number) for agent in agents)] for task in board.results.task_names
    ]
    metrics = {row.task: row.metric for row in board.results.tasks}
    others = [f"{task}: {metric}" for task, metric in metrics.items() if metric != "return"]
    caption = "Mean undiscounted return per test episode, with 95 % intervals." + "".join(
        f" {other}." for other in others
    )
    return Table(f"{board.results.suite}: mean scores, {seeds_text(board)}", ["task", *agents], rows, caption)


def summary_table(board: Scoreboard, what: str = "summary") -> Table:
    """Per agent: aggregates over the scored tasks."""
    scored = len(board.results.task_names) - len(board.unscored)
    columns = ["agent", *AGGREGATES, *(f"f >= {mark:g} (of {scored})" for mark in MARKS)]
    rows = []
    for score in board.suite:
        row = [score.agent, *(interval_text(score.aggregates[name]) for name in AGGREGATES)]
        counts = [score.at_or_above(mark) for mark in MARKS]
        row += [f"{count.value * scored:.0f} [{count.low * scored:.0f}, {count.high * scored:.0f}]" for count in counts]
        rows.append(row)
    caption = (
        "IQM: mean of the middle half of the tasks. Worst decile: mean of the lowest tenth, at least one task. "
        "Optimality gap: mean of max(0, 1 - f). 95 % intervals by a bootstrap over training seeds, then episodes."
    )
    return Table(f"{board.results.suite}: {what}, {seeds_text(board)}", columns, rows, caption)


def summary_by_return(board: Scoreboard) -> Table:
    """The summary of a board whose tasks are judged by return, beside that by their own metrics."""
    return summary_table(board, "summary by return in place of success")


def improvement_table(board: Scoreboard) -> Table:
    """Probability that the agent of a row is better than that of a column."""
    agents = [score.agent for score in board.suite]
    rows = [
        [row, *("" if row == other else interval_text(board.improvements[row, other], percent) for other in agents)]
        for row in agents
    ]
    caption = (
        "How often one training seed of the row's agent scores above one of the column's on a task drawn at random, in "
        "percent; a tie counts half."
    )
    return Table(
        f"{board.results.suite}: probability of improvement, {seeds_text(board)}", ["agent", *agents], rows, caption
    )


def cost_table(board: Scoreboard) -> Table:
    """Per agent: what it cost to make and to play, as the mean over training seeds."""
    rows = []
    for agent, cost in costs_by_agent(board).items():
        steps, seconds = play_by_agent(board)[agent]
        decision = f"{1e6 * seconds / steps:.0f} µs" if steps else "-"
        row = [agent, AGENTS[base_name(agent)], magnitude(cost.parameters), magnitude(cost.flops)]
        rows.append([*row, magnitude(cost.env_steps), duration(cost.seconds), decision])
    caption = (
        "Sums over tasks, means over training seeds. Operations of the networks' training, forward and backward. "
        "Environment steps: those that an expert took, those recorded of experts that the others learn from. "
        "Wall time is summed over networks; the generalist has all cores to itself, the others one each. "
        "A test step includes the environment's."
    )
    columns = ["agent", "what it is", "parameters", "training FLOPs", "environment steps", "training", "per test step"]
    return Table(f"{board.results.suite}: compute, {seeds_text(board)}", columns, rows, caption, words=2)


def costs_by_agent(board: Scoreboard) -> dict[str, Cost]:
    """The cost of each agent, averaged over its training seeds."""
    costs = {}
    for agent in board.results.agents:
        rows = [row for row in board.results.costs if row.agent == agent]
        if rows:
            total = sum((Cost(row.parameters, row.flops, row.env_steps, row.train_seconds) for row in rows), Cost())
            costs[agent] = Cost(
                total.parameters // len(rows),
                total.flops / len(rows),
                total.env_steps // len(rows),
                total.seconds / len(rows),
            )
    return costs


def play_by_agent(board: Scoreboard) -> dict[str, tuple[int, float]]:
    """Steps and seconds of each agent's test episodes."""
    rows = board.results.costs
    return {
        agent: (
            sum(row.play_steps for row in rows if row.agent == agent),
            sum(row.play_seconds for row in rows if row.agent == agent),
        )
        for agent in board.results.agents
    }


def tidy_scores(board: Scoreboard) -> list[TidyScore]:
    """The rows of ``table.csv``."""
    seeds: dict[str, set[int]] = {}
    for row in board.results.scores:
        seeds.setdefault(row.agent, set()).add(row.train_seed)

    def line(
        name: str, agent: str, raw: Estimate | None, f: Estimate | None, closed: tuple[float, float] | None, gate: str
    ) -> TidyScore:
        count = len(seeds[agent])
        low, high = closed or (None, None)
        suite = board.results.suite
        return TidyScore(suite, name, agent, count, count < 2, *_cells(raw), *_cells(f), low, high, gate)

    rows = [
        line(score.task, score.agent, score.raw, score.f, score.fieller, board.unscored.get(score.task, ""))
        for score in board.tasks
    ]
    for score in board.suite:
        marked = {f"share at f >= {mark:g}": score.at_or_above(mark) for mark in MARKS}
        rows += [
            line(name, score.agent, None, value, None, "") for name, value in (dict(score.aggregates) | marked).items()
        ]
    return rows


def _cells(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)


def seeds_text(board: Scoreboard) -> str:
    """``5 training seeds``, or a warning where there is one."""
    seeds = board.results.train_seeds
    return "preliminary: one training seed" if board.preliminary else f"{len(seeds)} training seeds"


def gate_text(board: Scoreboard) -> str:
    """How many tasks count, which do not and why, and single experts that missed their reference."""
    tasks = board.results.task_names
    text = f"{len(tasks) - len(board.unscored)} of {len(tasks)} tasks scored."
    text += "".join(f" {task}: unscored ({reason})." for task, reason in board.unscored.items())
    for task, seeds in board.weak_seeds.items():
        if task in board.unscored:
            continue
        named = ", ".join(map(str, seeds))
        text += f" {task}: the expert of training {plural(len(seeds), 'seed')} {named} is below its reference."
    return text
