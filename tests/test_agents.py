"""Agents of an external package, installed with pip: the examples of docs/agents.md, and invalid ones."""

import csv
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT, gatito

EXAMPLES = {
    name: text
    for name, text in re.findall(
        r"^```python\n# (\w+)\.py\n(.*?)^```",
        "\n".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("agents.md", "extending.md")),
        re.M | re.S,
    )
}
BAD = """
import time


def crash(observation):
    raise ValueError("no idea")


def die(observation):
    import os

    os._exit(3)


def slow(observation):
    time.sleep(0.02)
    return 0


def late(observation):
    while True:
        time.sleep(0.01)
"""
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "brought"
version = "1"

[project.entry-points."gatito.plugins"]
bandits = "brought.my_family"

[tool.setuptools]
packages = ["brought"]
"""
COMMON = ["suite=classic", "tasks=[cartpole]", "generalist=none", "experts=released", "evaluate.episodes=4"]
COMMON += ["clips.agents=[]", "tracking=none", "workers=1"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which the package was installed."""
    project, site = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("site")
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "brought").mkdir()
    (project / "brought" / "__init__.py").write_text("")
    for name, text in {**EXAMPLES, "bad": BAD}.items():
        (project / "brought" / f"{name}.py").write_text(text)
    words = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", *words, str(project)], check=True)
    return site


@pytest.fixture
def run(site, tmp_path):
    """Runs the command line in an empty folder beside the released experts."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "experts").symlink_to(ROOT / "results" / "experts")

    def run(*words):
        path = os.pathsep.join([str(ROOT), str(site)])
        return gatito(*COMMON, "name=a", *words, cwd=tmp_path, PYTHONPATH=path)

    return run


def fractions(folder):
    with (folder / "results/runs/a/table.csv").open() as file:
        return {row["agent"]: float(row["f"]) for row in csv.DictReader(file) if row["task"] == "classic/cartpole"}


def test_the_examples_of_the_docs_are_scored(run, tmp_path):
    import torch
    from onnx import TensorProto, helper, save_model
    from stable_baselines3 import PPO

    PPO("MlpPolicy", "CartPole-v1", device="cpu", seed=0).save(tmp_path / "ppo.zip")
    layers = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2))
    torch.save({f"layers.{name}": value for name, value in layers.state_dict().items()}, tmp_path / "weights.pt")
    lean = np.array([[0, 0], [0, 0], [0, 1], [0, 0.3]], np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["observation", "weights"], ["logits"])],
        "lean",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor("weights", TensorProto.FLOAT, lean.shape, lean.flatten())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save_model(model, tmp_path / "lean.onnx")
    words = ["+agents.leaner=brought.my_agents:Leaner", "+agents.planner=brought.planning_agent:Planner"]
    words += ["+agents.first=brought.batched_agent:AlwaysFirst"]
    for name, module, options, file in (
        ("sb3", "sb3_agent", "path", "ppo.zip"),
        ("torch", "torch_agent", "weights", "weights.pt"),
        ("onnx", "onnx_agent", "path", "lean.onnx"),
    ):
        words += [f"+agents.{name}.load=brought.{module}:load", f"+agents.{name}.options={{{options}: {file}}}"]
        words += [f"+agents.{name}.files=[{file}]"]
    done = run(*words)
    assert done.returncode == 0, done.stderr
    f = fractions(tmp_path)
    assert set(f) == {"random", "expert", "leaner", "planner", "first", "sb3", "torch", "onnx"}
    assert f["leaner"] == f["onnx"] > 0.9  # the same rule
    assert f["first"] < 0.05 < f["planner"] < f["leaner"]
    assert "agent leaner 1.000" in done.stdout


def test_failing_agents_are_left_out_with_one_line(run, tmp_path):
    words = ["+agents.crash=brought.bad:crash", "+agents.slow=brought.bad:slow", "+agents.die=brought.bad:die"]
    words += ["+agents.late.load=brought.bad:late", "+agents.late.step_seconds=1"]
    done = run(*words, "evaluate.episodes=2")
    assert done.returncode == 1
    assert set(fractions(tmp_path)) == {"random", "expert", "slow"}
    lines = done.stderr.strip().splitlines()
    listed = "\n".join(lines[lines.index("error: 3 agents failed; once they are fixed, run all stages again:") :])
    assert "agent crash: agent crash raised ValueError in act() in task classic/cartpole" in listed
    assert "agent late: agent late took more than" in listed and "+agents.late.step_seconds=SECONDS" in listed
    assert "agent die: the worker process of evaluate die died" in listed
    again = run("+agents.slow=brought.bad:slow", "+agents.crash=brought.my_agents:Leaner", "evaluate.episodes=2")
    assert again.returncode == 0 and set(fractions(tmp_path)) == {"random", "expert", "slow", "crash"}


@pytest.mark.parametrize(
    "word, line",
    [
        ("+agents.a=brought.bed:crash", "agent a: there is no module brought.bed: install its package"),
        (
            "+agents.a=brought.bad:crush",
            "unknown attribute of module brought.bad for agent a 'crush'. Did you mean 'crash'",
        ),
        ("+agents.a=brought.bad", "agents.a=brought.bad is not a class or function"),
        ("+agents.generalist=brought.bad:crash", "agents.generalist: the name is taken"),
        ("+agents.second.agent=brought.bad:crash", "agents.second must be package.module:attribute"),
        ("+agents.a.load=brought.bad:crash +agents.a.nums=3", "unknown config key in agents.a 'nums'"),
    ],
)
def test_missing_agents_get_one_line_before_any_work(run, tmp_path, word, line):
    done = run(*word.split())
    assert done.returncode == 1 and line in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "results" / "runs").exists()


def test_an_installed_plugin_brings_its_family_and_expert_without_being_named(site, tmp_path):
    """The example of docs/extending.md; its package has an entry point of group gatito.plugins."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    [suite] = re.findall(r"^```yaml\n# bandits.yaml\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "bandits.yaml").write_text(suite)
    words = ["suite=./bandits.yaml", "experts.gate_episodes=4", "record.env_steps=300", "distill.updates=5"]
    words += ["distill.batch_size=4", "evaluate.episodes=4", "controls=none", "clips.agents=[]", "tracking=none"]
    done = gatito(*words, "name=a", "workers=1", cwd=tmp_path, PYTHONPATH=os.pathsep.join([str(ROOT), str(site)]))
    assert done.returncode == 0, done.stderr
    with (tmp_path / "results/runs/a/table.csv").open() as file:
        raw = {row["agent"]: float(row["raw"]) for row in csv.DictReader(file) if row["task"] == "bandits/three"}
    assert raw["expert"] == 10 and set(raw) == {"random", "expert", "generalist"}
