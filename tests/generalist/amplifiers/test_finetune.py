"""Fine-tuning the generalist on rewards, and the control that learns from rewards alone."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.base.artifacts import CHECKPOINT, Artifact
from benchmarks.base.checkpoints import load_state
from benchmarks.base.errors import GatitoError
from benchmarks.play.rollout import rollout
from benchmarks.runs.tracking import read_log
from benchmarks.tasks import Suite
from generalist.amplifiers import make_amplifier
from generalist.amplifiers.amplifier import AmplifierContext
from generalist.amplifiers.finetune import Finetune
from generalist.config.ppo import MultitaskConfig, PPOConfig
from generalist.config.recipe import NetworkRecipe
from generalist.config.settings import DistillConfig, ModelConfig
from generalist.controls.multitask_rl import multitask_learner, multitask_ppo, train_multitask
from generalist.network.network import load_network, load_prompts, make_network, save_network
from generalist.network.policy import NetworkPolicy
from generalist.ppo import training as module
from generalist.ppo.loss import Updates
from generalist.ppo.reinforced import Reinforced
from generalist.ppo.selection import Trial
from generalist.ppo.training import reinforce, sharpened
from tests.codecs import plain_codec
from tests.conftest import make_run, make_task
from tests.generalist.ppo.test_ppo import prompt_of

MODEL = ModelConfig(layers=1, heads=2, width=32, feedforward=64, context_length=8)
CODEC = plain_codec(image_frames=0, grid_size=0, text_length=0, vector_width=8, bins=8, discount=0.9)
COUNTER = make_task(kwargs={"length": 5})
TARGET, RECALL = (make_task(f"tests.environments:{name}-v0") for name in ("Target", "Recall"))
SHORT = {"env_steps": 80, "num_envs": 2, "rollout_length": 10, "minibatches": 2, "critic_warmup": 1}
SHORT |= {"checkpoint_every": 1, "select_every": 2, "select_episodes": 2}


def generalist(folder, codec=CODEC, tasks=(COUNTER,), favourite=None):
    """A finished network of random weights that takes one action with probability 0.9."""
    torch.manual_seed(0)
    network = make_network(MODEL, codec, [task.name for task in tasks])
    if favourite is not None:
        with torch.no_grad():
            network.heads.discrete.bias[favourite] = 3.0
    artifact = Artifact(folder / "runs" / "r" / "generalist", "generalist", {"favourite": favourite})
    artifact.start()
    save_network(artifact.folder, network, {})
    artifact.finish(0.0)
    return artifact


def learner(folder, start=None, tasks=(COUNTER,), **settings):
    artifact = Artifact(folder / "made", "finetuned", settings)
    artifact.start()
    config = PPOConfig(**SHORT | settings)
    return Reinforced(artifact, tuple(tasks), start and start.folder, config, MODEL, CODEC, 0, "amplifier", "cpu")


def train(*args, **settings):
    ppo = learner(*args, **settings)
    reinforce(ppo, lambda done: None)
    return ppo.artifact.folder


def setting(folder, tasks=(COUNTER,)):
    run = make_run(folder / "runs" / "r", Suite("toy", tuple(tasks)))
    return AmplifierContext(run, run.folder / "round-1", {}, NetworkRecipe(DistillConfig(), MODEL, CODEC))


def mean_return(folder, task):
    played = rollout(NetworkPolicy.load(folder, [task]), {task: range(900, 920)})
    return np.mean([episode.total_return for episode in played])


def same_weights(one, other):
    return all(torch.equal(values, other[name]) for name, values in one.items())


def test_ppo_reaches_the_optimum_from_a_bad_start(tmp_path):
    start = generalist(tmp_path, favourite=0)
    assert mean_return(start.folder, COUNTER) == 0
    folder = train(
        tmp_path,
        start,
        env_steps=3_000,
        num_envs=4,
        rollout_length=25,
        learning_rate=3e-3,
        select_every=5,
        select_episodes=10,
        kl_weight=0.0,
    )
    assert mean_return(folder, COUNTER) == 10
    manifest = json.loads((folder / "manifest.json").read_text())
    cost, lines = manifest["facts"]["cost"], read_log(folder / "log.jsonl")
    assert manifest["facts"]["steps"] == 3_000
    # Initially and after every fifth of 30 updates, ten episodes of five steps each.
    assert cost["env_steps"] == 3_000 + 7 * 10 * 5
    assert cost["flops"] > 3_000 * 2 * cost["parameters"]
    assert lines[0]["selection/gain"] == 0 and lines[-1]["selection/gain"] == pytest.approx(np.log(1 + 10))
    metrics = ("clip_fraction", "entropy", "explained_variance", "kl_to_start", "value_loss")
    assert all(f"ppo/{name}" in lines[-1] for name in metrics)
    assert lines[-1]["charts/episodic_return/toy/counter"] > 8 > 2 > lines[1]["charts/episodic_return/toy/counter"]


def test_several_tasks_with_memory_are_learned_at_once_from_scratch(tmp_path):
    """Discrete and continuous actions, terminated and truncated episodes; one of the tasks needs memory."""
    settings = {"num_envs": 8, "rollout_length": 40, "learning_rate": 3e-3, "entropy_weight": 0.01, "select_every": 10}
    folder = train(tmp_path, tasks=[RECALL, TARGET], env_steps=12_800, select_episodes=5, **settings)
    assert mean_return(folder, RECALL) == 4  # 2 without memory
    assert mean_return(folder, TARGET) >= -5.001  # the nearest bins' value; random play has -22


def test_a_large_kl_weight_preserves_the_policy(tmp_path):
    start = generalist(tmp_path, favourite=0)
    moved = {}
    for weight in (0.0, 1e4):
        folder = train(tmp_path / str(weight), start, env_steps=800, learning_rate=3e-3, kl_weight=weight)
        moved[weight] = [
            line["ppo/kl_to_start"] for line in read_log(folder / "log.jsonl") if "ppo/kl_to_start" in line
        ]
        assert moved[weight][0] < 0.01 or weight == 0
    assert moved[0.0][-1] > 0.3 and max(moved[1e4]) < 0.02


def test_the_critic_warms_up_while_the_policy_is_fixed(tmp_path):
    start = generalist(tmp_path, favourite=2)
    training = module._Training(learner(tmp_path, start, critic_learning_rate=1e-2, env_steps=400, critic_warmup=3), 1)
    before = {name: values.clone() for name, values in training._network.state_dict().items()}
    for _ in range(3):
        training.advance()
    after = training._network.state_dict()
    changed = {name for name, values in after.items() if not torch.equal(values, before[name])}
    assert changed == {"heads.critic.output.weight", "heads.critic.output.bias"}
    assert same_weights(training.progress.best, after)
    training.advance()
    assert not torch.equal(training._network.heads.discrete.bias, before["heads.discrete.bias"])
    training.close()
    explained = [line["ppo/explained_variance"] for line in read_log(tmp_path / "made" / "log.jsonl")[1:]]
    assert explained[-1] > max(0.5, explained[0])


def test_a_killed_training_resumes_to_the_same_weights(tmp_path, monkeypatch):
    """Episodes end before updates, so that none is in progress at a checkpoint; selection is killed too."""
    start = generalist(tmp_path, favourite=0)
    whole = train(tmp_path / "whole", start, env_steps=100)
    expected, lines = load_network(whole).state_dict(), read_log(whole / "log.jsonl")
    ppo = learner(tmp_path / "cut", start, env_steps=100)
    kills = [(module, "try_out", 0), (Updates, "_step", 30), (Updates, "_step", 83), (Updates, "_step", 12)]
    for owner, name, after in [*kills, (module, "try_out", 1)]:
        calls, original = [], getattr(owner, name)

        def dies(*args, calls=calls, after=after, original=original):
            calls.append(args)
            if len(calls) > after:
                raise KeyboardInterrupt
            return original(*args)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(owner, name, dies)
            reinforce(ppo, lambda done: None)
    reinforce(ppo, lambda done: None)
    assert same_weights(load_network(ppo.artifact.folder).state_dict(), expected)
    again = read_log(ppo.artifact.folder / "log.jsonl")
    assert [{**line, "seconds": 0} for line in again] == [{**line, "seconds": 0} for line in lines]


def test_resuming_abandons_episodes_in_progress_and_keeps_the_rest(tmp_path):
    """Two resumed trainings from one checkpoint are equal, and the counters continue."""
    ppo = learner(tmp_path, generalist(tmp_path, favourite=0), env_steps=200, rollout_length=8)
    training = module._Training(ppo, threads=1)
    for _ in range(4):
        training.advance()
    training.close()
    saved = load_state(ppo.artifact.folder / CHECKPOINT)
    assert saved["progress"]["iteration"] == 4 and saved["episodes"] == [7, 7]  # of 5 steps, 32 steps each
    shutil.copytree(tmp_path / "made", tmp_path / "other" / "made")
    folders = [ppo.artifact.folder, tmp_path / "other" / "made"]
    for folder in folders:
        reinforce(replace(ppo, artifact=replace(ppo.artifact, folder=folder)), lambda done: None)
    one, other = (load_network(folder).state_dict() for folder in folders)
    assert same_weights(one, other)
    assert [line["step"] for line in read_log(folders[0] / "log.jsonl")] == [16 * number for number in range(13)]


def test_the_initial_weights_are_kept_if_nothing_is_better(tmp_path, monkeypatch):
    scores = iter([5.0, 4.0, 3.0, 2.0, 1.0])
    monkeypatch.setattr(module, "try_out", lambda *args: ({COUNTER.name: [next(scores)]}, 1))
    start = generalist(tmp_path, favourite=1)
    folder = train(tmp_path, start, learning_rate=1e-2, kl_weight=0.0)
    ppo, before = load_network(folder).state_dict(), load_network(start.folder).state_dict()
    assert same_weights(before, ppo)
    assert set(ppo) - set(before) == {"heads.critic.output.weight", "heads.critic.output.bias"}
    assert ppo["heads.critic.output.bias"].abs().max() > 0  # the critic's weights are kept
    assert load_network(folder).codec.discount == 0.9


def test_gains_are_relative_to_the_initial_scores_and_bounded():
    tasks = [make_task(name="toy/a"), make_task(name="toy/b"), make_task(name="toy/c", metric="success")]
    trial = Trial.of(tasks, {"toy/a": [-200.0, -200.0], "toy/b": [0.0, 0.0], "toy/c": [0.0, 1.0]})
    assert trial.units == {"toy/a": 200, "toy/b": 1, "toy/c": 1}
    some = trial.gain({"toy/a": [-100.0], "toy/b": [0.25], "toy/c": [1.0]})
    assert some == pytest.approx((np.log(1.5) + np.log(1.25) + np.log(1.5)) / 3)
    assert trial.gain({"toy/a": [-300.0], "toy/b": [-0.25], "toy/c": [0.0]}) == pytest.approx(-some)
    nine, ten = ({"toy/a": [-200.0], "toy/b": [b], "toy/c": [c]} for b, c in ((90.0, 0.9), (100.0, 0.6)))
    assert trial.gain(nine) > trial.gain(ten) > some


@pytest.mark.parametrize(
    ("what", "line"), [("nan", "the loss became NaN"), ("critic", "the critic's errors have grown")]
)
def test_diverging_training_gets_one_line_and_keeps_its_checkpoint(tmp_path, monkeypatch, what, line):
    if what == "nan":
        original, calls = module.make_minibatches, []

        def broken(*args):
            calls.append(args)
            number = float("nan") if len(calls) > 4 else 1.0
            return [replace(each, advantages=each.advantages * number) for each in original(*args)]

        monkeypatch.setattr(module, "make_minibatches", broken)
    else:
        worse = iter([-20.0] * 2 + [0.5] * 2 + [-20.0] * 4 + [0.0] + [-20.0] * 99)
        monkeypatch.setattr(module, "explained_variance", lambda *args: next(worse))
    ppo = learner(tmp_path, generalist(tmp_path, favourite=0), env_steps=400)
    with pytest.raises(GatitoError, match=f"{line}.*the last good checkpoint.*Lower amplifier.learning_rate") as error:
        reinforce(ppo, lambda done: None)
    good = 4 if what == "nan" else 9
    assert "\n" not in str(error.value) and f"(update {good})" in str(error.value)
    assert load_state(ppo.artifact.folder / CHECKPOINT)["progress"]["iteration"] == good


@pytest.mark.parametrize(
    ("settings", "codec", "line"),
    [
        ({}, {"name": "gato"}, "cannot train codec=gato.*set codec=step"),
        ({}, {"continuous": "regression"}, "task toy/target.*set codec.continuous=normal"),
        ({}, {"discount": 1.0}, "codec.discount=1.0.*below 1"),
        ({"num_envs": 0}, {}, "amplifier.num_envs must be at least 1, not 0"),
        ({"env_steps": 4_000}, {}, "4000 steps per task are 1 updates.*amplifier.env_steps=10240 or more"),
        ({"learning_rate": 0.0}, {}, "amplifier.learning_rate must be above 0, not 0"),
        ({"learning_rate": float("nan")}, {}, "amplifier.learning_rate must be above 0, not nan"),
        ({"gae_lambda": 1.5}, {}, "amplifier.gae_lambda must be at least 0 and at most 1, not 1.5"),
        ({"clip_range": 1.0}, {}, "amplifier.clip_range must be above 0 and below 1, not 1"),
        ({"kl_weight": -1.0}, {}, "amplifier.kl_weight must be at least 0"),
        ({"critic_warmup": -1}, {}, "amplifier.critic_warmup must be at least 0"),
    ],
    ids=str,
)
def test_invalid_settings_get_one_line(settings, codec, line):
    with pytest.raises(GatitoError, match=line) as error:
        Finetune(**settings).check([COUNTER, TARGET], MODEL, replace(CODEC, **codec))
    assert "\n" not in str(error.value)


def test_valid_settings_are_accepted():
    Finetune().check([COUNTER, make_task("tests.environments:Masked-v0")], MODEL, CODEC)
    Finetune().check([make_task("tests.environments:Exits-v0")], MODEL, CODEC)  # it fails later, without other tasks
    Finetune().check([COUNTER, TARGET], MODEL, CODEC)
    Finetune().check(
        [COUNTER], replace(MODEL, kind="perceptron", context_length=1), replace(CODEC, continuous="regression")
    )
    options = MultitaskConfig(num_envs=8, critic_warmup=2)
    multitask_ppo(options, Suite("toy", (COUNTER, TARGET)), CODEC, 10_000)
    with pytest.raises(GatitoError, match="2500 steps per task are 2 updates of controls.multitask.num_envs=8"):
        multitask_ppo(options, Suite("toy", (COUNTER, TARGET)), CODEC, 5_000)


def test_a_task_unknown_to_the_network_is_rejected(tmp_path):
    start = generalist(tmp_path, replace(CODEC, conditioning="task_id"))
    with pytest.raises(GatitoError, match="no task embedding for toy/recall"):
        train(tmp_path, start, tasks=[COUNTER, RECALL])


def test_demonstrations_are_kept_with_the_network(tmp_path):
    shown = {COUNTER.name: prompt_of(COUNTER)}
    start = Artifact(tmp_path / "start", "generalist", {})
    start.start()
    save_network(start.folder, make_network(MODEL, replace(CODEC, conditioning="prompt"), [COUNTER.name]), shown)
    start.finish(0.0)
    kept = load_prompts(train(tmp_path, start), [COUNTER])
    assert (kept[COUNTER.name].observations == shown[COUNTER.name].observations).all()


def test_the_amplifier_trains_a_player_once_and_reports_its_cost(tmp_path):
    amplifier = make_amplifier({"name": "finetune", **SHORT, "env_steps": 600, "kl_weight": 0, "learning_rate": 3e-3})
    start, where = generalist(tmp_path, favourite=0), setting(tmp_path)
    artifact = amplifier.artifact(start, where)
    assert artifact.folder == tmp_path / "runs" / "r" / "round-1" / "finetuned"
    assert artifact.inputs == {"generalist": start.fingerprint} and artifact.config["ppo"]["kl_weight"] == 0
    other = replace(amplifier, entropy_weight=0.1).artifact(start, where)
    assert other.fingerprint != artifact.fingerprint != start.fingerprint
    amplifier.make(start, where)
    written = (artifact.folder / "manifest.json").stat().st_mtime_ns
    amplifier.make(start, where)
    assert (artifact.folder / "manifest.json").stat().st_mtime_ns == written
    policy = amplifier.policy(artifact.folder, [COUNTER], "generalist+finetune")
    assert policy.name == "generalist+finetune"
    played = list(rollout(policy, {COUNTER: range(900, 910)}))
    assert np.mean([episode.total_return for episode in played]) > 5
    assert policy.cost.decisions == policy.cost.forward_passes == 50
    assert policy.cost.seconds >= policy.cost.network_seconds > 0 and policy.cost.simulator_steps == 0


def test_a_failing_task_ends_the_training_with_one_line(tmp_path):
    broken = make_task("tests.environments:Raises-v0")
    where = setting(tmp_path, [COUNTER, broken])
    with pytest.raises(GatitoError, match="finetune stopped because task toy/raises failed: the env"):
        Finetune(**SHORT).make(generalist(tmp_path, tasks=[COUNTER, broken]), where)
    assert broken.name in where.run.failures and COUNTER.name not in where.run.failures


def test_the_control_respects_its_step_budget(tmp_path):
    suite = Suite("toy", (COUNTER, RECALL))
    run = make_run(tmp_path / "runs" / "r", suite)
    options = MultitaskConfig(num_envs=2, rollout_length=10, select_episodes=2, critic_warmup=2)
    short, longer = (multitask_ppo(options, suite, CODEC, steps) for steps in (250, 400))
    ppo = multitask_learner(run, short, MODEL, CODEC, "cpu")
    artifact = ppo.artifact
    assert artifact.fingerprint != multitask_learner(run, longer, MODEL, CODEC, "cpu").artifact.fingerprint
    train_multitask(run, ppo)
    assert artifact.is_complete()
    assert json.loads((artifact.folder / "manifest.json").read_text())["facts"]["steps"] == 240
    assert load_network(artifact.folder).tasks == [COUNTER.name, RECALL.name]
    assert "ppo/kl_to_start" not in read_log(artifact.folder / "log.jsonl")[-1]


@torch.no_grad()
@pytest.mark.parametrize("continuous", ["bins", "normal"])
def test_sharpening_keeps_greedy_actions_and_lowers_entropy(tmp_path, continuous):
    start = generalist(tmp_path, replace(CODEC, continuous=continuous, bins=64), [COUNTER, TARGET])
    before, after = (sharpened(start.folder, temperature).heads for temperature in (1, 0.5))
    hidden = torch.randn(50, MODEL.width, generator=torch.Generator().manual_seed(0))
    for task in (COUNTER, TARGET):
        was, now = (heads.decide(task, hidden) for heads in (before, after))
        assert np.array_equal(was.actions, now.actions)
        assert (now.distribution.entropy() < was.distribution.entropy()).all()
