"""The code's layout: sizes of modules and signatures, no hidden arguments, one list of stages."""

import ast
import re

import pytest
import yaml

import gatito
from benchmarks.runs.failures import Failures
from benchmarks.runs.stage import DEFAULT_STAGES, JOB_TYPES, STAGES, bind, help_text
from benchmarks.runs.tracking import Tracker, TrackingConfig
from tests.conftest import ROOT

MOST_LINES, MOST_LINES_OF_ENTRY, MOST_PARAMETERS = 350, 300, 8
ROOMS = ("benchmarks", "experts", "generalist")
CODE = [*ROOT.glob("gatito*.py"), *(path for room in ROOMS for path in ROOT.glob(f"{room}/**/*.py"))]
TESTS = [*ROOT.glob("tests/**/*.py")]

TAKE_ANY_SETTING = ("finish", "mirror", "write")


def place(path):
    return path.relative_to(ROOT).as_posix()


def functions(path):
    """Every function of a module with its name in full."""

    def inside(node, prefix):
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            name = f"{prefix}.{child.name}" if named else prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, child
            yield from inside(child, name)

    yield from inside(ast.parse(path.read_text()), place(path))


def parameters(function):
    arguments = function.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    names += [each.arg for each in (arguments.vararg, arguments.kwarg) if each]
    return [name for name in names if name not in ("self", "cls")]


def hidden_arguments(function):
    """Names of dictionary and tuple literals that a function passes on with ``*`` or ``**``.

    Not those that go to where any setting is taken, and not those whose keys are not written down.
    """
    written = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            [target] = node.targets[:1] if isinstance(node, ast.Assign) else [node.target]
            pairs = [(target, node.value)]
            if isinstance(node.value, ast.Tuple) and isinstance(target, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            written |= {target.id for target, value in pairs if isinstance(target, ast.Name) and is_literal(value)}
    hidden = set()
    for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
        if called(call) in TAKE_ANY_SETTING:
            continue
        values = [keyword.value for keyword in call.keywords if keyword.arg is None]
        values += [argument.value for argument in call.args if isinstance(argument, ast.Starred)]
        names = {part.id for value in values for part in ast.walk(value) if isinstance(part, ast.Name)}
        hidden |= names & written
    return hidden


def is_literal(value):
    """Whether it is a dictionary whose keys are written down, or a tuple, or either joined to something."""
    if isinstance(value, ast.BinOp):
        return is_literal(value.left) or is_literal(value.right)
    keys = value.keys if isinstance(value, ast.Dict) else []
    return isinstance(value, ast.Tuple) or any(isinstance(key, ast.Constant) for key in keys)


def called(call):
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def test_modules_are_short():
    most = {path: MOST_LINES_OF_ENTRY if path.name == "gatito.py" else MOST_LINES for path in CODE + TESTS}
    long = {place(path) for path, lines in most.items() if len(path.read_text().splitlines()) > lines}
    assert not long


def test_functions_have_few_parameters():
    many = {name for path in CODE for name, function in functions(path) if len(parameters(function)) > MOST_PARAMETERS}
    assert not many


def test_no_arguments_are_hidden_in_local_dictionaries_and_tuples():
    assert not {name for path in CODE for name, function in functions(path) if hidden_arguments(function)}


@pytest.mark.parametrize(
    "body, hidden",
    [
        ("about = {'a': 1}; g(**about)", {"about"}),
        ("about = {'a': 1}; about |= {'b': 2}; g(**about, c=3)", {"about"}),
        ("first, about = 1, (a, b); g(*about)", {"about"}),
        ("about = {'a': 1}; g(**about | c)", {"about"}),
        ("g(**given); return g(*args)", set()),
        ("made = [*rows, (1, 2)]; table = {**made}", set()),
        ("facts = {'a': 1}; artifact.finish(3.0, **facts)", set()),
        ("more = {name: 1 for name in given}; g(**more)", set()),
    ],
)
def test_hidden_arguments_are_found(body, hidden):
    [function] = ast.parse("def f(given, args):\n " + body).body
    assert hidden_arguments(function) == hidden


def test_every_stage_is_made_and_needs_what_comes_before_it():
    assert set(gatito._STAGES) == set(STAGES)
    for without in ({**gatito._MAKERS, "evalute": print}, {"list": print}):
        with pytest.raises(ValueError, match="no function, or no stage, for"):
            bind(without)
    names = list(STAGES)
    for stage in STAGES.values():
        assert all(names.index(needed) < names.index(stage.name) for needed in stage.needs)
    assert gatito.Config().stages == list(DEFAULT_STAGES)


def test_every_stage_name_is_in_the_list():
    patterns = ("README.md", "conf/**/*.yaml", "docs/**/*.md", "benchmarks/**/*.html")
    for path in [*CODE, *TESTS, *(path for pattern in patterns for path in ROOT.glob(pattern))]:
        for words in re.findall(r"stages=\[([a-z,]+)\]", path.read_text()):
            assert set(words.split(",")) <= {*STAGES, "evalute"}, path  # a test mistypes it
    composed = yaml.safe_load((ROOT / "conf" / "config.yaml").read_text())
    assert composed.get("stages", list(DEFAULT_STAGES)) == list(DEFAULT_STAGES)
    assert [line.split()[0] for line in help_text().splitlines() if line[0] != " "] == list(STAGES)


def test_an_unknown_stage_is_rejected():
    with pytest.raises(ValueError, match="trian is not a stage"):
        Failures(["toy/a"]).stage = "trian"


def job_types(path):
    """The job types that a module names: arguments of calls that start W&B runs."""
    for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
        name = called(call)
        given = [keyword.value for keyword in call.keywords if keyword.arg == "job_type"]
        if name == "mirror" or (name == "write" and ast.unparse(call.func).endswith("tracker.write")):
            given += call.args[1:2]
        if name == "make_reinforced":
            given += call.args[1:2]
        yield from (value.value for value in given if isinstance(value, ast.Constant))


def test_stages_declare_the_job_types_of_all_wandb_runs(tmp_path):
    """The workspace shows only runs of declared job types."""
    named = {job_type for path in CODE for job_type in job_types(path)} | {"multitask-rl"}  # a constant's value
    assert named == set(JOB_TYPES) and len(set(JOB_TYPES)) == len(JOB_TYPES)
    tracker = Tracker(TrackingConfig("none"), group="toy/r", exp_name="r", seed=0, folder=tmp_path)
    with pytest.raises(ValueError, match="ida-1-generalist is not a job type"):
        tracker.mirror(tmp_path, "ida-1-generalist")


def without_encoding(call):
    """Whether a call reads or writes text in the locale's encoding, which may lack letters."""
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in keywords:
        return False
    if "text" in keywords or "universal_newlines" in keywords:
        return True
    if called(call) in ("read_text", "write_text"):  # of a path; ours takes the path as its first argument
        return len(call.args) == (called(call) == "write_text")
    if called(call) != "open" or ast.unparse(call.func) in (
        "os.open",
        "av.open",
        "gzip.open",
        "Image.open",
        "webbrowser.open",
    ):
        return False
    modes = [call.args[0 if isinstance(call.func, ast.Attribute) else 1 :][:1], [keywords.get("mode")]]
    return not any(isinstance(mode, ast.Constant) and "b" in mode.value for [mode] in filter(None, modes))


def test_text_files_name_their_encoding():
    calls = ((path, node) for path in CODE for node in ast.walk(ast.parse(path.read_text())))
    found = [
        (place(path), node.lineno) for path, node in calls if isinstance(node, ast.Call) and without_encoding(node)
    ]
    assert not found


@pytest.mark.parametrize(
    "call, found",
    [
        ("path.read_text()", True),
        ("(folder / 'a').write_text(content)", True),
        ("write_text(path, content)", False),
        ("artifacts.write_text(path, content)", False),
        ("path.read_text(encoding='utf-8')", False),
        ("path.open()", True),
        ("path.open('a')", True),
        ("path.open('rb')", False),
        ("open(path, mode='wb')", False),
        ("open(path)", True),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command, encoding='utf-8')", False),
    ],
)
def test_texts_without_an_encoding_are_found(call, found):
    assert without_encoding(ast.parse(call, mode="eval").body) == found
