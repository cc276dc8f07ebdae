"""The command line: errors of wrong inputs, and the composition of every YAML file."""

import os
import re
import resource
import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT, gatito

CONF = ROOT / "conf"
ONE = "tasks=[cartpole]"  # with several tasks, a failing one would be left out: see test_isolation


def fails_with(done, *words):
    """Exit code 1, and one line on standard error that holds the words."""
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


def test_list_prints_a_row_per_task(gatito_inside, tmp_path):
    done = gatito_inside("stages=[list]", "suite=classic")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if "classic/" in line]
    assert len(rows) == 5
    assert re.search(r"classic/mountaincar\W+MountainCar-v0\W+dqn, [0-9,]+ steps\W+-115\W+return", rows[2])
    assert list(tmp_path.iterdir()) == []


def test_help_explains_stages_and_groups(tmp_path):
    done = gatito("--help", cwd=tmp_path)
    assert done.returncode == 0
    for word in (
        "experts ",
        "record ",
        "distill ",
        "evaluate ",
        "report ",
        "list ",
        "suite: atari5",
        " classic, ",
        "model: ",
    ):
        assert word in done.stdout, word


@pytest.mark.parametrize("path", sorted(CONF.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_yaml_file_composes_and_comments_its_values(path):
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    import gatito as entry

    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", overrides=[f"{path.parent.name}={path.stem}"])
        # Resolves all but Hydra's own node, and checks every key and type.
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(entry.Config), composed))
    assert isinstance(config, entry.Config)
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["suite=clasic"], ["unknown suite 'clasic'", "Did you mean 'classic'"]),
        (["model=nan0"], ["unknown model 'nan0'", "Did you mean 'nano'", "mini"]),
        (["tasks=[cartpol]"], ["unknown task 'cartpol'", "Did you mean 'classic/cartpole'", "classic/pendulum"]),
        (["stages=[evalute]"], ["unknown stage 'evalute'", "Did you mean 'evaluate'"]),
        (["sead=1"], ["unknown config key 'sead'", "Did you mean 'seed'"]),
        (["distill.update=1"], ["unknown config key in distill 'update'", "Did you mean 'updates'", "learning_rate"]),
        (["+distill.foo=1"], ["unknown config key in distill 'foo'"]),
        (["distill.updates=many"], ["distill.updates", "'many'", "Integer"]),
        (["seed=[1"], ["seed=[1"]),
        (["tracking.backend=wnb"], ["unknown tracking.backend 'wnb'", "wandb"]),
        (["experts.source=bought"], ["unknown experts.source 'bought'", "train"]),
        (
            ["suite.tasks.classic-cartpole.expert.algorithm=pppo"],
            ["unknown algorithm of task classic/cartpole 'pppo'", "Did you mean 'ppo'"],
        ),
        (
            ["+suite.tasks.classic-cartpole.expert.hyperparameters.n_step=3"],
            ["unknown ppo hyperparameter of task classic/cartpole 'n_step'", "Did you mean 'n_steps'"],
        ),
        (["suite.tasks.classic-cartpole.env_id=CartPole-v9"], ["classic/cartpole", "CartPole-v9"]),
        (["suite.tasks.classic-cartpole.env_id=nowhere:X-v0", ONE], ["classic/cartpole", "No module named 'nowhere'"]),
        (["codec.name=stp"], ["unknown codec 'stp'", "Did you mean 'step'"]),
        (["distill.loss=kll"], ["unknown distill.loss 'kll'", "Did you mean 'kl'"]),
        (["distill.weights={cartpole: 2}"], ["distill.weights.cartpole is new", "+distill.weights={cartpole: VALUE}"]),
        (["+distill.weights={cartpol: 2}", ONE], ["unknown task in distill.weights 'cartpol'", "classic/cartpole"]),
        (["+distill.weights={cartpole: 0}", ONE], ["distill.weights: classic/cartpole must be above 0"]),
        (
            ["model.context_length=64", "distill.sequence_length=32"],
            ["distill.sequence_length=32", "model.context_length=64"],
        ),
        (["model.heads=5"], ["model.width=128", "model.heads"]),
        (["codec=jat", "codec.previous_actions=true", ONE], ["error: codec jat", "codec.previous_actions=false"]),
        (
            ["codec=gato", "model.context_length=5", ONE],
            ["task classic/cartpole needs 6 tokens", "model.context_length=6"],
        ),
        (["codec=gato", "codec.previous_actions=true", ONE], ["codec.previous_actions=false"]),
        (["codec=gato", "model.kind=perceptron", "model.context_length=1"], ["model.kind=perceptron", "codec=step"]),
        (["codec.vector_width=3", ONE], ["task classic/cartpole", "codec.vector_width=4"]),
        (["seed=100"], ["seed must be at least 0 and below 100, not 100"]),
        (["distill.learning_rate=-1"], ["distill.learning_rate must be above 0, not -1"]),
        (["distill.windows=3"], ["distill.windows is now distill.batch_size."]),
        (["++distill.rounds=3"], ["distill.rounds is now distill.dagger.rounds."]),
        (["generalist.draws=true"], ["generalist.draws is now generalist.deterministic, which means the opposite"]),
        (["variant=practice"], ["variant=practice is now variant=dagger."]),
        (["tasks=[]"], ["tasks=[] names no task"]),
        (["stages=[]"], ["stages=[] names no stage: name one or more, such as stages=[list], or leave it out"]),
        (["workers=0"], ["workers must be at least 1"]),
        (["record.shards=0"], ["record.shards must be at least 1"]),
        (["experts.checkpoints=0"], ["experts.checkpoints must be at least 1"]),
        (["evaluate.envs_per_task=0"], ["evaluate.envs_per_task must be at least 1"]),
        (
            ["suite.tasks.classic-cartpole.expert.hyperparameters.learning_rate=lin_fast"],
            ["classic/cartpole", "learning_rate=lin_fast"],
        ),
        (
            ["suite.tasks.classic-cartpole.expert.hold_exploration=3"],
            ["classic/cartpole", "hold_exploration is for dqn alone"],
        ),
        (["+suite.tasks.classic-cartpole.kwargs.gravity=-20", ONE], ["classic/cartpole", "rejects its arguments"]),
        (["stages=[evaluate]"], ["run with stages=[experts"]),
        (["stages=[distill]"], ["run with stages=[record]"]),
        (["stages=[record]"], ["run with stages=[experts]"]),
        (["stages=[report]"], ["run with stages=[evaluate,report]"]),
        (["stages=[controls]"], ["run with stages=[record]"]),
        (["stages=[clips]"], ["run with stages=[experts"]),
        (["controls.agents=[clon]"], ["unknown controls.agents 'clon'", "Did you mean 'clone'"]),
        (["controls.clone.context_length=4"], ["set controls.clone.context_length=1"]),
        (["clips.agents=[generalst]"], ["unknown agent in clips.agents", "Did you mean 'generalist'"]),
        (["clips.height=2"], ["clips.height must be at least 16"]),
        (["stages=[compare]"], ["needs runs to compare", "runs=[A,B]"]),
        (["stages=[compare]", "runs=[nowhere]"], ["unknown run 'nowhere'"]),
        (["stages=[workspace]"], ["set tracking.entity="]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_wrong_word_gets_one_line(arguments, words, gatito_inside):
    fails_with(gatito_inside("tracking=none", *arguments), *words)


def test_an_invalid_yaml_suite_file_gets_one_line(gatito_inside, suite_folder):
    (suite_folder / "suite" / "mine.yaml").write_text("name: mine\ntasks: {a-b: [}\n")
    done = gatito_inside("--config-dir", str(suite_folder), "suite=mine")
    fails_with(done, "not valid YAML", "mine.yaml", "line 2")


def test_a_wrong_key_in_a_suite_file_gets_one_line(gatito_inside, suite_folder):
    (suite_folder / "suite" / "mine.yaml").write_text("name: mine\ntasks:\n  a-b: {env_idd: CartPole-v1}\n")
    done = gatito_inside("--config-dir", str(suite_folder), "suite=mine")
    fails_with(done, "unknown config key in suite.tasks.a-b 'env_idd'", "Did you mean 'env_id'")


@pytest.mark.parametrize(
    "env_id, words",
    [
        ("Raises-v0", ["task toy/x", "seeded", "RuntimeError: the rope broke"]),
        ("Needy-v0", ["task toy/x", "pip install 'gatito[box2d]'"]),
    ],
)
def test_an_environment_that_fails_gets_one_line(env_id, words, tmp_path, suite_folder):
    text = f"name: mine\ntasks:\n  toy-x: {{env_id: 'tests.environments:{env_id}', expert: {{env_steps: 100}}}}\n"
    (suite_folder / "suite" / "mine.yaml").write_text(text)
    fails_with(gatito("--config-dir", str(suite_folder), "suite=mine", "tracking=none", cwd=tmp_path), *words)


TINY = [
    "tracking=none",
    "model.layers=1",
    "model.width=16",
    "model.feedforward=32",
    "model.context_length=8",
    "controls.clone.width=16",
    "clips.agents=[]",
    "record.env_steps=200",
    "record.random_env_steps=100",
    "record.shards=2",
    "distill.updates=20",
    "distill.batch_size=4",
    "distill.checkpoint_every=5",
    "evaluate.episodes=3",
    "experts.checkpoints=4",
    "experts.selection_episodes=2",
    "experts.gate_episodes=3",
]


NO_BAR = ["suite.tasks.classic-cartpole.reference=null"]  # a weak expert would add a warning


def readme_suite():
    """The suite that the README shows."""
    [block] = re.findall(r"```yaml\n(# conf/suite/toy.yaml.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return block


def test_the_suite_in_the_readme_runs(tmp_path, suite_folder):
    (suite_folder / "suite" / "toy.yaml").write_text(readme_suite())
    tasks = [key.replace("-", "/", 1) for key in yaml.safe_load(readme_suite())["tasks"]]
    steps = [f"suite.tasks.{task.replace('/', '-', 1)}.expert.env_steps=500" for task in tasks]
    done = gatito("--config-dir", str(suite_folder), "suite=toy", "name=r", *TINY, *steps, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "results" / "runs" / "r"
    for task in tasks:
        assert task in done.stdout and task in (run / "table.md").read_text()
    assert len((run / "scores.csv").read_text().splitlines()) == 1 + 6 * 3 * len(tasks)
    assert "<h1>gatito" in (run / "index.html").read_text()

    (tmp_path / "without" / "torch").mkdir(parents=True)
    (tmp_path / "without" / "torch" / "__init__.py").write_text("raise RuntimeError('slow to import')")
    command = ["--config-dir", str(suite_folder), "suite=toy", "name=r", *TINY, *steps]
    again = gatito(*command, cwd=tmp_path, PYTHONPATH=f"{tmp_path / 'without'}:{ROOT}")
    assert again.returncode == 0 and again.stdout == done.stdout, again.stderr  # nothing is computed


def test_damage_is_named_before_anything_is_trained_on_it(gatito_inside, tmp_path):
    command = [*TINY, "name=r", "tasks=[cartpole]", "suite.tasks.classic-cartpole.expert.env_steps=500", *NO_BAR]
    done = gatito(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "results" / "runs" / "r"
    damaged = [
        run / "experts" / "classic" / "cartpole" / "policy.safetensors",
        run / "trajectories" / "classic" / "cartpole" / "expert" / "shard-001" / "observations.npy",
        run / "generalist" / "model.safetensors",
        run / "controls" / "specialist" / "classic" / "cartpole" / "model.safetensors",
        run / "controls" / "retrieval" / "classic" / "cartpole" / "memory.safetensors",
        run / "scores" / "generalist" / "scores.csv",
        run / "generalist" / "manifest.json",
    ]
    for path in damaged:
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[len(flipped) // 2] ^= 1
        path.write_bytes(flipped)
        fails_with(gatito_inside(*command), str(path.relative_to(tmp_path)), "damaged", "Remove the folder")
        path.write_bytes(content[:-7])
        fails_with(gatito_inside(*command), str(path.relative_to(tmp_path)), "Remove the folder")
        path.write_bytes(content)
    assert gatito_inside(*command).returncode == 0


@pytest.mark.parametrize("ready, limit", [("experts", 10_000), ("experts,record", 20_000)])
def test_a_full_disk_gets_one_line_and_loses_nothing(tmp_path, ready, limit):
    """A limit on file size replaces a full disk: both fail inside write, with their own errno.

    With the experts ready, recording meets it; with the recordings ready, the checkpoint of distillation does.
    """
    command = [
        *TINY,
        "name=r",
        "tasks=[cartpole]",
        "suite.tasks.classic-cartpole.expert.env_steps=500",
        "record.env_steps=2000",
        *NO_BAR,
    ]
    assert gatito(f"stages=[{ready}]", *command, cwd=tmp_path).returncode == 0
    done = subprocess.run(
        [sys.executable, str(ROOT / "gatito.py"), *command, "workers=1"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "250"},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    fails_with(done, "the disk is full while writing results/runs/r/", "run the same command again")
    leftovers = [path for path in (tmp_path / "results").rglob(".*") if path.is_file()]
    assert leftovers == []
    done = gatito(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_an_expert_that_cannot_label_is_rejected_before_training(gatito_inside):
    done = gatito_inside(
        "suite=classic", "tasks=[cartpole]", "experts=scripted", "distill.dagger.rounds=1", "tracking=none"
    )
    fails_with(
        done, "the expert of task classic/cartpole plays at random, so it cannot label", "set distill.dagger.rounds=0"
    )


@pytest.mark.parametrize(
    "words, line",
    [
        (["codec=jat", "codec.previous_actions=true"], "codec.previous_actions"),
        (["codec=jat", "model.context_length=1", "distill.sequence_length=1"], "model.context_length=2"),
        (
            ["model.kind=perceptron", "model.context_length=1", "codec.conditioning=prompt"],
            "cannot attend to a demonstration",
        ),
        (["distill.flops=-1"], "distill.flops must be above 0, not -1"),
        (["codec.conditioning=prompt", "distill.prompts=0"], "distill.prompts=0 uses no demonstration"),
        (["generalist.source=relased"], "unknown generalist.source 'relased'. Did you mean 'released'"),
    ],
)
def test_unsupported_spaces_are_rejected_before_training(gatito_inside, words, line):
    fails_with(gatito_inside("suite=classic", "tasks=[cartpole]", "tracking=none", *words), line)


@pytest.mark.parametrize(
    "words, parts",
    [
        (["amplifier=search"], ["amplifier=search needs rounds to amplify in", "ida.rounds=3"]),
        (["generalist.amplified=true"], ["generalist.amplified=true needs an amplifier", "amplifier=best_of_n|"]),
        (["ida.rounds=2"], ["ida.rounds=2 needs an amplifier", "amplifier=best_of_n|"]),
        (["ida.rounds=1", "amplifier=serch"], ["Did you mean 'search'"]),
        (["distill.search_values=0.5"], ["distill.search_values=0.5 needs", "amplifier=two_player_search"]),
        (
            ["ida.rounds=1", "amplifier=search", "amplifier.num_simulations=4"],
            ["amplifier.num_simulations=4 is less than one"],
        ),
        (["ida.rounds=1", "amplifier=search", "codec.critic=0"], ["needs a critic", "codec.critic=0.5"]),
        (
            ["ida.rounds=1", "amplifier=search", "codec=gato", "model.context_length=64", "distill.sequence_length=64"],
            ["set codec=step"],
        ),
        (["ida.rounds=1", "amplifier=decompose"], ["task classic/cartpole has none", "ida.tasks=[…]"]),
        (["ida.rounds=1", "amplifier=best_of_n", "ida.tasks=[cartpol]"], ["Did you mean 'classic/cartpole'"]),
        (["ida.rounds=1", "amplifier=best_of_n", "ida.start=random", "ida.experts_share=0.5"], ["ida.experts_share=0"]),
        (
            ["controls.agents=[multitask-rl]", "controls.multitask.num_envs=x"],
            ["config key controls.multitask.num_envs: Value 'x'", "could not be converted to Integer"],
        ),
        (
            ["controls.agents=[multitask-rl]", "controls.multitask.num_envs=0"],
            ["controls.multitask.num_envs must be at least 1, not 0"],
        ),
    ],
)
def test_invalid_rounds_are_rejected_before_any_work(gatito_inside, tmp_path, words, parts):
    done = gatito_inside("suite=classic", "tasks=[cartpole]", "experts=scripted", "tracking=none", *words)
    fails_with(done, *parts)
    assert not list(tmp_path.glob("results/runs/*/trajectories"))


def test_a_network_is_scored_with_its_amplifier_without_rounds(gatito_inside):
    words = ("generalist.amplified=true", "amplifier=best_of_n", "stages=[list]", "tracking=none")
    done = gatito_inside("suite=classic", "tasks=[cartpole]", *words)
    assert done.returncode == 0, done.stderr
