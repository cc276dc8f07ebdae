"""Check of a results folder, a run's or a submission's: every number of its tables is recomputed from its rows.

Run by ``gatito stages=[verify] runs=[…]``. Nothing is written.
"""

import csv
import difflib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from benchmarks.base import console
from benchmarks.base.artifacts import read_manifest, verify
from benchmarks.base.csv_rows import read_csv, to_csv
from benchmarks.base.environment import ENVIRONMENT
from benchmarks.base.errors import GatitoError
from benchmarks.base.files import MANIFEST, read_json
from benchmarks.base.names import inside
from benchmarks.base.seals import SEAL, changed_files
from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.base.yaml_files import read_yaml
from benchmarks.report.report import DrawnTables, draw_tables, round_rows_by_seed
from benchmarks.report.rounds import RoundRow
from benchmarks.runs.run import CONFIG
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.comparison import ROUNDS, configurations, find_runs, of_configuration
from benchmarks.scoring.moves import MoveRow
from benchmarks.scoring.results import FILES, Results, ScoreRow
from benchmarks.scoring.rows import MOVES, SCORES, TEXTS
from benchmarks.scoring.texts import TextRow

_CLOSE = 1e-9  # how far floats may differ, relatively: sums depend on the processor
_AS_TEXT = ("table.md", "table.tex")
_MOST = 20  # lines of one kind


def verify_runs(names: Sequence[str], runs_folder: Path) -> None:
    """Verify results folders, and say in one line per difference what differs.

    Args:
        names: of runs, patterns, or paths of results folders.
        runs_folder: the folder of all runs.

    Raises:
        GatitoError: if a folder does not exist, or one has differences.
    """
    folders = find_runs(names, runs_folder)
    wrong: dict[Path, int] = {}
    for folder in folders:
        differences = list(dict.fromkeys(verify_folder(folder)))
        for line in differences:
            console.warn(f"{folder}: {line}")
        if differences:
            wrong[folder] = len(differences)
        else:
            console.note(f"{folder}: every number of its tables follows from its rows")
    if wrong:
        listed = ", ".join(f"{folder} ({count})" for folder, count in wrong.items())
        raise GatitoError(
            f"{len(wrong)} of {len(folders)} results folders are not what their rows give: {listed}: take back what "
            "was changed, or draw the tables anew with stages=[report]."
        )


def verify_folder(folder: Path) -> Iterator[str]:
    """What is wrong with a results folder, a line each; none if nothing is."""
    yield from _files(folder)
    yield from _artifacts(folder)
    try:
        results = Results.read(folder, sealed=False)
    except GatitoError as error:
        yield str(error)
        return
    yield from _seeds(results)
    yield from _costs(results)
    yield from _parts(folder, results)
    yield from _tables(folder, draw_tables(results, folder))


def _files(folder: Path) -> Iterator[str]:
    """What a results folder must hold, and checksums of what is sealed."""
    for name in (CONFIG, ENVIRONMENT, SEAL, *_AS_TEXT, "table.csv"):
        if not (folder / name).is_file():
            yield f"{name} is missing"
    if (folder / ENVIRONMENT).is_file():
        try:
            environment = read_json(folder / ENVIRONMENT, dict)
            yield from (f"{ENVIRONMENT} has no {key}" for key in ("command", "packages") if not environment.get(key))
        except GatitoError as error:
            yield str(error)
    if (folder / SEAL).is_file():
        names = [f"{name}.csv{suffix}" for name in FILES for suffix in ("", ".gz")]
        try:
            for name in changed_files(folder, [*names, ROUNDS]):
                yield f"{name} is not the file that gatito wrote: its checksum differs from the one in {SEAL}"
        except GatitoError as error:
            yield str(error)


def _artifacts(folder: Path) -> Iterator[str]:
    """Checksums of all finished artifacts below."""
    for path in sorted(folder.rglob(MANIFEST)):
        try:
            inside(folder, path.relative_to(folder).as_posix())
            manifest = read_manifest(path.parent, remedy=" ")
            if manifest is not None:
                verify(path.parent, manifest, remedy=" ")
        except GatitoError as error:
            yield str(error).strip()


def _seeds(results: Results) -> Iterator[str]:
    """Episodes that are none of the first test episodes of their training seed."""
    played: dict[int, set[int]] = {}
    for row in results.scores:
        played.setdefault(row.train_seed, set()).add(row.episode_seed)
    for seed, episodes in played.items():
        try:
            strange = episodes - {episode_seed(Purpose.TEST, index, seed) for index in range(len(episodes))}
        except ValueError as error:
            yield f"scores.csv: {error}"
            continue
        found = next((row for row in results.scores if row.train_seed == seed and row.episode_seed in strange), None)
        if found:
            yield (
                f"scores.csv: {found.agent_id} on {found.task}: episode seed {found.episode_seed} is no test episode "
                f"of training seed {seed}"
            )


def _costs(results: Results) -> Iterator[str]:
    """Every agent needs its costs, and has played as many steps as its episodes have."""
    steps: dict[tuple[AgentId, int], int] = {}
    for row in results.scores:
        key = (row.agent_id, row.train_seed)
        steps[key] = steps.get(key, 0) + row.length
    stated = {(row.agent_id, row.train_seed): row.play_steps for row in results.costs}
    for (agent, seed), count in steps.items():
        if (agent, seed) not in stated:
            yield f"costs.csv has no row of {agent}, training seed {seed}"
        elif stated[agent, seed] != count:
            yield (
                f"costs.csv: {agent}, training seed {seed}: play_steps is {stated[agent, seed]}, its episodes in "
                f"scores.csv have {count}"
            )


def _parts(folder: Path, results: Results) -> Iterator[str]:
    """What a run's agents scored, moved and wrote, where it is beside the tables, against the tables."""
    rows = {*results.scores, *results.moves, *results.texts}
    for name, kind in ((SCORES, ScoreRow), (MOVES, MoveRow), (TEXTS, TextRow)):
        for path in sorted((folder / "scores").glob(f"*/{name}")):
            try:
                for row in read_csv(path, kind, ""):
                    if row.task in results.task_names and row not in rows:
                        what = "moves" if isinstance(row, MoveRow) else f"episode {row.episode_seed}"
                        place = f"{path.relative_to(folder)}: {row.agent_id} on {row.task}, {what}"
                        yield f"{place} is not so in the folder's {name}"
                        break
            except GatitoError as error:
                yield str(error)


def _tables(folder: Path, drawn: DrawnTables) -> Iterator[str]:
    """Tables against what the rows give."""
    for name in _AS_TEXT:
        if (folder / name).is_file():
            yield from _lines(name, (folder / name).read_text(encoding="utf-8", errors="replace"), drawn.files[name])
    for name in (name for name in drawn.files if name.endswith(".csv")):
        yield from _cells(folder / name, drawn.files[name])
    if (folder / ROUNDS).is_file():
        rounds: list[RoundRow] = []
        for label, path in configurations(folder):
            settings = read_yaml(path)
            amplifier, start = settings.get("amplifier") or {}, settings.get("ida") or {}
            results = of_configuration(drawn.board.results, label)
            rows = round_rows_by_seed(results, str(amplifier.get("name")), str(start.get("start")))
            rounds += [replace(row, label=label) for row in rows]
        yield from _cells(folder / ROUNDS, to_csv(rounds, RoundRow))


def _lines(name: str, written: str, expected: str) -> Iterator[str]:
    before, after = written.splitlines(), expected.splitlines()
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    count = 0
    for kind, first, last, begin, end in matcher.get_opcodes():
        if kind == "equal":
            continue
        count += 1
        if count > _MOST:
            yield f"{name}: and more lines"
            return
        shown = " ".join(before[first:last])[:160] or "nothing"
        yield f"{name}, line {first + 1}: {shown!r} is written, the rows give {' '.join(after[begin:end])[:160]!r}"


def _cells(path: Path, expected: str) -> Iterator[str]:
    """A table's cells against those of the text that the rows give."""
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    before, after = (list(csv.reader(io.StringIO(part, newline=""))) for part in (text, expected))
    heads = after[0]
    if before[:1] != [heads]:
        yield f"{path.name}: its columns are not {','.join(heads)}"
        return
    names = [heads.index(key) for key in ("task", "agent", "round", "label") if key in heads]
    for number, (written, row) in enumerate(zip_longest(before[1:], after[1:]), 2):
        if written is None or row is None or any(written[name : name + 1] != [row[name]] for name in names):
            yield f"{path.name}, line {number}: its row is not the one that the agents and tasks in scores.csv give"
            return
        for head, one, other in zip_longest(heads, written, row):
            if not _same(one, other):
                name = ", ".join(row[place] for place in names if row[place])
                yield f"{path.name}: {name}: {head} is {one}, the rows give {other}"


def _same(one: str | None, other: str | None) -> bool:
    try:
        return one == other or math.isclose(float(one or ""), float(other or ""), rel_tol=_CLOSE, abs_tol=_CLOSE)
    except ValueError:
        return False
