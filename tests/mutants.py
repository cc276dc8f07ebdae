"""Mutation tests of the core: are its modules' own tests able to fail? Run by ``make mutants``, not in CI.

mutmut changes one word or sign of a module at a time and runs the module's own tests, which stand in its mirrored place
below ``tests/``; a mutant that no test notices has survived. Each module is done in a copy of the project below
``build/mutants/``, where mutmut keeps what it knows: a run that was stopped goes on, and after a change only the
functions that changed are done again. The result is the table in ``docs/testing.md``.

    python -m tests.mutants                  every module
    python -m tests.mutants seeds heads      some
    python -m tests.mutants --survivors tree  each survivor of a module as a diff
    python -m tests.mutants --table          only write the table of what was measured
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from mutmut.stats import status_by_exit_code

from benchmarks.base.files import write_json, write_text

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "mutants"
MEASURED = ROOT / "tests" / "mutants.json"
PAGE = ROOT / "docs" / "testing.md"
MODULES = {
    "seeds": ("benchmarks/base/seeds.py", "tests/benchmarks/base/test_seeds.py"),
    "scores": ("benchmarks/scoring/scores.py", "tests/benchmarks/scoring/test_scores.py"),
    "statistics": ("benchmarks/scoring/statistics.py", "tests/benchmarks/scoring/test_statistics.py"),
    "gains": ("benchmarks/scoring/gains.py", "tests/benchmarks/scoring/test_gains.py"),
    "rollout": ("benchmarks/play/rollout.py", "tests/benchmarks/play/test_rollout.py"),
    "policy": ("benchmarks/play/policy.py", "tests/benchmarks/play/test_policy.py"),
    "data": ("generalist/distill/data.py", "tests/generalist/distill/test_data.py"),
    "transformer": ("generalist/network/transformer.py", "tests/generalist/network/test_transformer.py"),
    "heads": ("generalist/network/heads.py", "tests/generalist/network/test_heads.py"),
    "distributions": ("generalist/network/distributions.py", "tests/generalist/network/test_distributions.py"),
    "selection": ("generalist/ppo/selection.py", "tests/generalist/ppo/test_selection.py"),
    "checkpoints": ("experts/selection.py", "tests/experts/test_selection.py"),
    "best_of_n": ("generalist/amplifiers/best_of_n.py", "tests/generalist/amplifiers/test_best_of_n.py"),
    "tree": ("generalist/amplifiers/tree.py", "tests/generalist/amplifiers/test_tree.py"),
    "search": ("generalist/amplifiers/search.py", "tests/generalist/amplifiers/test_search.py"),
}
"""The module and its own tests, by the name on the command line."""

_SETTINGS = """
[tool.mutmut]
source_paths = [
    "benchmarks", "experts", "generalist", "gatito.py", "gatito_api.py", "gatito_configuration.py", "gatito_path.py",
]
only_mutate = ["{module}"]
pytest_add_cli_args_test_selection = ["{tests}"]
pytest_add_cli_args = ["-m", "not slow", "-p", "no:cacheprovider"]
also_copy = ["conf", "constraints.txt"]
timeout_multiplier = 6.0
use_git_change_detection = false
"""
_NOTICED = ("killed", "timeout", "segfault", "suspicious", "caught by type check")
_UNNOTICED = ("survived", "no tests")
_SHOW = """
import sys
from mutmut.mutation.diff_apply import get_diff_for_mutant
for name in sys.argv[1:]:
    print(f"# {name}", get_diff_for_mutant(name), sep="\\n")
"""


def main() -> None:
    """See the module's own text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help="modules; none: all")
    parser.add_argument("--survivors", action="store_true", help="show each survivor as a diff")
    parser.add_argument("--table", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    names = arguments.names or list(MODULES)
    if unknown := set(names) - set(MODULES):
        parser.error(f"no such module: {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}")
    for name in () if arguments.table else names:
        if arguments.survivors:
            show_survivors(name)
        else:
            measure(name)
    if not arguments.survivors:
        write_table()


def measure(name: str) -> None:
    """Try every mutant of a module, and keep the counts."""
    module, tests = MODULES[name]
    folder = copy_project(name)
    forget_survivors(folder, module, (ROOT / tests).read_bytes())
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "PYTHONPATH": ""}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1"]
    with (folder / "mutmut.log").open("w") as log:  # it redraws its line for every mutant
        done = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit(f"mutmut failed on {name}: see {folder / 'mutmut.log'}")
    counts = Counter(outcomes(folder, module).values())
    known = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    noticed = sum(counts[status] for status in _NOTICED)
    known[name] = {"mutants": counts.total(), "killed": noticed, "tests": tests, "module": module}
    write_json(MEASURED, {name: known[name] for name in MODULES if name in known})
    print(f"{name}: {noticed} of {counts.total()} killed; {dict(counts)}", flush=True)


def copy_project(name: str) -> Path:
    """Bring the copy of the project for a module up to date; files that are equal keep their time, as mutmut wants."""
    module, tests = MODULES[name]
    folder = WORK / name
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    wanted = [path for path in listed.stdout.splitlines() if not path.startswith(("results/", "docs/"))]
    for path in wanted:
        source, target = ROOT / path, folder / path
        if source.is_file() and not (target.exists() and target.read_bytes() == source.read_bytes()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            (folder / "mutants" / path).unlink(missing_ok=True)  # so that mutmut takes the new one
    settings = (ROOT / "pyproject.toml").read_text() + _SETTINGS.format(module=module, tests=tests)
    (folder / "pyproject.toml").write_text(settings)
    return folder


def forget_survivors(folder: Path, module: str, tests: bytes) -> None:
    """Let mutmut try the survivors again if the tests have changed; it looks at the module's functions alone."""
    digest, known = folder / "tests.sha256", folder / "mutants" / f"{module}.meta"
    now = hashlib.sha256(tests).hexdigest()
    if known.exists() and not (digest.exists() and digest.read_text() == now):
        meta = json.loads(known.read_text())
        codes = meta["exit_code_by_key"]
        meta["exit_code_by_key"] = {
            name: None if status_by_exit_code[code] in _UNNOTICED else code for name, code in codes.items()
        }
        known.write_text(json.dumps(meta))
    digest.write_text(now)


def outcomes(folder: Path, module: str) -> dict[str, str]:
    """What became of each mutant, by its name."""
    known = json.loads((folder / "mutants" / f"{module}.meta").read_text())["exit_code_by_key"]
    return {name: status_by_exit_code[code] for name, code in known.items()}


def show_survivors(name: str) -> None:
    """Print each mutant of a module that no test noticed."""
    folder = WORK / name
    survived = [mutant for mutant, status in outcomes(folder, MODULES[name][0]).items() if status in _UNNOTICED]
    shown = subprocess.run(
        [sys.executable, "-c", _SHOW, *survived], cwd=folder, capture_output=True, text=True, check=True
    )
    print(shown.stdout)


def write_table() -> None:
    """Draw the table of the page between its two marks."""
    known = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    rows = ["| module | mutants | killed | share |", "|---|---|---|---|"]
    for name, (module, _) in MODULES.items():
        if name not in known:
            rows.append(f"| `{module}` | | | not measured yet |")
            continue
        row = known[name]
        share = f"{100 * row['killed'] / max(1, row['mutants']):.0f} %"
        rows.append(f"| `{row['module']}` | {row['mutants']} | {row['killed']} | {share} |")
    before, begin, rest = PAGE.read_text().partition("<!-- mutants -->\n")
    _, end, after = rest.partition("<!-- end -->")
    write_text(PAGE, before + begin + "\n".join(rows) + "\n" + end + after)


if __name__ == "__main__":
    main()
