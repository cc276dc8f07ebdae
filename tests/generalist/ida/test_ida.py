"""Rounds of amplification and distillation: their artifacts, inputs and scored agents."""

import pickle
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.base.artifacts import Artifact, read_manifest
from benchmarks.base.compute import Cost
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.play import recording
from benchmarks.play.policy import Noisy
from benchmarks.play.recording import SEEDS_PER_SHARD, RecordingJob, record
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories
from benchmarks.runs.failures import Failures
from benchmarks.tasks import Suite
from generalist.amplifiers.scale import decide_by_mixture
from generalist.config.ida import MOST_SHARDS, IdaConfig
from generalist.config.recipe import NetworkRecipe
from generalist.config.settings import DistillConfig, ModelConfig
from generalist.ida.run import make_rounds, record_plays
from generalist.network.distributions import Categorical, NetworkOutput, sample
from generalist.network.policy import NetworkPolicy
from tests.codecs import plain_codec
from tests.conftest import ROOT, gatito, make_task
from tests.generalist.distill.test_dagger import Always
from tests.generalist.ida.starts import start_ida

MODEL = ModelConfig(layers=1, heads=2, width=16, feedforward=32, context_length=4)
DISTILL = DistillConfig(updates=20, batch_size=8, sequence_length=4, warmup=2)
CONFIG = IdaConfig(
    rounds=2, start="random", env_steps=60, noise=0.0, updates=40, learning_rate=1e-2, control_env_steps=5_000
)
TASK = make_task()  # each reward is the action, 0 to 2
OTHER = make_task(name="toy/other")
BEST_OF_N = {"name": "best_of_n", "candidates": 3, "horizon": 1}


def make_ida(folder, config=CONFIG, options=BEST_OF_N, suite=None, codec=None):
    recipe = NetworkRecipe(DISTILL, MODEL, codec or plain_codec())
    return start_ida(folder, suite or Suite("toy", (TASK,)), Always(1), recipe, config, options)


def returns(artifact, task=TASK):
    policy = NetworkPolicy.load(artifact.folder, [task])
    return np.mean([each.total_return / each.length for each in rollout(policy, {task: range(900, 920)})])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    ida = make_ida(tmp_path_factory.mktemp("ida"))
    make_rounds(ida)
    return ida


def test_the_generalist_learns_from_its_amplified_self(finished):
    """From random weights: no expert teaches it, and it exceeds every recording."""
    amplified = [each for each in finished.rounds if each.side == "amplified"]
    assert [each.number for each in amplified] == [1, 2]
    play = Trajectories(amplified[0].plays[TASK.name].folder)
    assert all((steps["labels"] == 2).all() for steps in play.episodes())  # one step of lookahead suffices
    assert returns(finished.start) < 1.9 and returns(amplified[-1].student) == 2.0


def test_the_control_has_equal_compute_and_no_amplifier(finished):
    amplified, control = finished.rounds[:2]
    cost = Cost.read(amplified.plays[TASK.name].folder)
    assert Cost.read(control.plays[TASK.name].folder).env_steps >= cost.env_steps > 3 * CONFIG.env_steps
    facts = read_manifest(amplified.plays[TASK.name].folder)["facts"]
    assert cost.flops == 2 * Cost.read(finished.start.folder).parameters * facts["spent"]["forward_passes"]
    assert returns(finished.rounds[-1].student) == pytest.approx(returns(finished.start))  # it plays as before
    ours, theirs = (Cost.read(each.student.folder) for each in finished.rounds[-2:])
    # Recordings count their own steps.
    assert ours.env_steps == theirs.env_steps == Cost.read(finished.start.folder).env_steps == 0
    assert ours.flops == pytest.approx(theirs.flops, rel=0.01)  # padding differs


def test_finished_rounds_are_not_repeated(finished, monkeypatch):
    monkeypatch.setattr(recording, "rollout", None)
    monkeypatch.setattr("generalist.distill.train.fit", None)
    make_rounds(replace(finished))


def test_a_killed_round_resumes_to_the_same_weights(finished, tmp_path, monkeypatch):
    from generalist.distill import train as fit

    calls = {"left": 3}

    def killed(*arguments, **settings):
        calls["left"] -= 1
        if not calls["left"]:
            raise KeyboardInterrupt
        original(*arguments, **settings)

    original = fit.save_network
    ida = make_ida(tmp_path)
    monkeypatch.setattr(fit, "save_network", killed)
    with pytest.raises(KeyboardInterrupt):
        make_rounds(ida)
    monkeypatch.setattr(fit, "save_network", original)
    shutil.rmtree(ida.rounds[0].plays[TASK.name].folder)  # as if killed before a recording was finished
    make_rounds(replace(ida))
    for ours, theirs in zip(ida.rounds, finished.rounds, strict=True):
        assert ours.student.fingerprint == theirs.student.fingerprint
        weights = [(each.student.folder / "model.safetensors").read_bytes() for each in (ours, theirs)]
        assert weights[0] == weights[1]


def test_a_rounds_fingerprint_depends_on_its_settings(finished):
    def fingerprints(**changes):
        config = replace(CONFIG, **changes.pop("config", {}))
        return [each.student.fingerprint for each in replace(finished, config=config, **changes).rounds]

    same = [each.student.fingerprint for each in finished.rounds]
    assert fingerprints() == same
    assert fingerprints(config={"rounds": 1}) == same[:2]  # more rounds do not change earlier ones
    for changes in (
        {"fresh": True},
        {"env_steps": 61},
        {"noise": 0.1},
        {"updates": 41},
        {"learning_rate": 0.1},
        {"keep": 1},
    ):
        assert not set(fingerprints(config=changes)[-2:]) & set(same[-2:]), changes
    assert fingerprints(options=BEST_OF_N | {"horizon": 2})[0] != same[0]


def test_tasks_scored_by_success_learn_from_solved_episodes_only(finished):
    suite = Suite("toy", (replace(TASK, metric="success"),))
    run = replace(finished.run, suite=suite)
    rounds = [replace(finished, run=run, config=replace(CONFIG, solved=solved)).rounds[0] for solved in (True, False)]
    assert [each.student.config.get("solved") for each in rounds] == [True, None]
    assert "solved" not in finished.rounds[0].student.config  # returns do not define success


def test_a_plan_of_rounds_needs_no_torch():
    code = "import sys, generalist.ida.rounds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_students_learn_from_the_newest_rounds_only(finished):
    rounds = replace(finished, config=replace(CONFIG, keep=1)).rounds
    assert [list(round_.training_plays) for round_ in rounds] == [[1], [1], [2], [2]]
    assert [list(round_.training_plays) for round_ in finished.rounds] == [[1], [1], [1, 2], [1, 2]]
    assert not any(name.startswith("1/") for name in rounds[2].student.inputs)
    assert any(name.startswith("1/") for name in finished.rounds[2].student.inputs)


def test_an_amplifier_that_truncates_recordings_is_scored_on_whole_episodes(finished):
    """A truncated test episode would count as failed."""
    ida = replace(finished, options={"name": "decompose", "abandon_after": 3})
    assert ida.scored_options == {"name": "decompose"}
    amplified, control = ida.rounds[:2]
    players = [ida.player(amplified.player, ida.scored_options), ida.player(control.player, None)]
    assert [player.options for player in players] == [{"name": "decompose"}, None]
    other = replace(finished, options={"name": "decompose"}).rounds[0]
    assert amplified.plays[TASK.name].fingerprint != other.plays[TASK.name].fingerprint
    takes = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Artifact, "start", lambda _: None)  # the artifact is not changed
        patch.setattr("generalist.ida.run.record", lambda given, **_: takes.extend(given) or {})
        record_plays(ida, amplified)
    assert takes and takes[0].load.__self__.options == {"name": "decompose", "abandon_after": 3}


def test_other_tasks_are_not_amplified(tmp_path):
    suite = Suite("toy", (TASK, OTHER))
    ida = make_ida(tmp_path, replace(CONFIG, rounds=1, tasks=["other"], experts_share=0.25, start="weak"), suite=suite)
    make_rounds(ida)
    first = sum(
        Trajectories(recording.folder).lengths[0] for recording in ida.recordings.values()
    )  # a tenth of five episodes
    assert Cost.read(ida.start.folder).env_steps == first
    amplified, control = ida.rounds
    assert list(amplified.plays) == list(control.plays) == ["toy/other"]
    player = pickle.loads(pickle.dumps(ida.player(amplified.player, ida.scored_options))).load()  # noqa: S301
    for task, expected in ((OTHER, 2.0), (TASK, returns(ida.start))):
        played = rollout(player, {task: range(900, 920)})
        assert np.mean([each.total_return / each.length for each in played]) == pytest.approx(expected)
    with pytest.raises(GatitoError, match="unknown task in ida.tasks 'othr'. Did you mean 'toy/other'"):
        replace(ida, config=replace(CONFIG, tasks=["othr"])).check()


def test_every_shard_of_every_round_has_its_own_episodes(finished, tmp_path, monkeypatch):
    most = replace(CONFIG, rounds=20, shards=MOST_SHARDS // 20)
    most.check()
    ida, takes = replace(finished, config=most, run=replace(finished.run, folder=tmp_path / "r")), []
    monkeypatch.setattr("generalist.ida.run.record", lambda given, **_: takes.extend(given) or {})
    monkeypatch.setattr(Cost, "read", lambda _: Cost(0, 0.0, 0))  # nothing was trained here
    for each in ida.rounds:
        if each.side == "amplified":
            record_plays(ida, each)
    firsts = [take.first_seed + shard * SEEDS_PER_SHARD for take in takes for shard in range(take.shards)]
    assert firsts == [shard * SEEDS_PER_SHARD for shard in range(MOST_SHARDS)]
    episode_seed(Purpose.AMPLIFIED, firsts[-1] + SEEDS_PER_SHARD - 1)  # the last one is in range


def test_stochastic_networks_sample_actions_in_every_round(finished):
    drawing, shares = replace(finished, deterministic=False), {}
    for likely, other in zip(finished.rounds, drawing.rounds, strict=True):
        assert likely.plays[TASK.name].fingerprint != other.plays[TASK.name].fingerprint
        if likely.number == 1 and likely.side == "control":  # untrained weights
            for ida, each in ((finished, likely), (drawing, other)):
                played = rollout(ida.player(each.player, None).load(), {TASK: range(900, 950)}, keep_steps=True)
                taken = np.concatenate([episode.steps["actions"] for episode in played])
                shares[ida.deterministic] = np.bincount(taken, minlength=3) / len(taken)
    assert min(shares[False]) > 0.2 > min(shares[True])


def test_an_ensemble_samples_from_its_members_mean():
    rows, rngs = 4000, [np.random.default_rng(number) for number in range(4000)]
    sure, unsure = (np.log(np.tile(each, (rows, 1))) for each in ([0.98, 0.01, 0.01], [0.02, 0.49, 0.49]))
    outputs = [
        NetworkOutput(np.zeros(rows), np.zeros(rows), distribution=Categorical(torch.from_numpy(logits)))
        for logits in (sure, unsure)
    ]
    shares = np.bincount(decide_by_mixture(TASK, outputs, sample, rngs).actions, minlength=3) / rows
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.03)
    assert set(decide_by_mixture(TASK, outputs).actions) == {0}


def test_rounds_from_a_weak_start_use_the_starts_expert_data_only(finished):
    weak = replace(finished, config=replace(CONFIG, start="weak", experts_share=0.5))
    assert (weak.distill.data, weak.distill.dagger.share) == (0.1, 0.5)
    assert replace(weak, config=replace(weak.config, start="trained")).distill.data == 1


def test_the_start_is_the_configured_one():
    assert replace(CONFIG, start="trained").first(DISTILL) == DISTILL
    assert replace(CONFIG, start="weak").first(DISTILL) == replace(DISTILL, data=0.1)
    assert replace(CONFIG, start="random").first(DISTILL).milestones == [0]
    assert replace(CONFIG, rounds=0, start="random").first(DISTILL) == DISTILL


@pytest.mark.parametrize(
    "changes, line",
    [
        ({"start": "week"}, "unknown ida.start 'week'. Did you mean 'weak'"),
        ({"updates": 0}, "ida.updates must be at least 1, not 0"),
        ({"rounds": 2, "shards": MOST_SHARDS // 2 + 1}, f"is more than {MOST_SHARDS}, the most shards"),
        ({"shards": 0}, "ida.shards must be at least 1, not 0"),
        ({"noise": 1.5}, "ida.noise must be at least 0 and at most 1, not 1.5"),
        ({"experts_share": 0.5}, "ida.start=random uses no experts: set ida.experts_share=0"),
    ],
)
def test_invalid_settings_get_one_line(changes, line):
    with pytest.raises(GatitoError, match=line):
        replace(CONFIG, **changes).check()


class Drawing(Always):
    """Samples its actions, and counts as an amplifier with several tries."""

    def act(self, inputs, state):
        decisions, state = super().act(inputs, state)
        return [
            replace(each, actions=np.array([rng.integers(3) for rng in rows.rngs]))
            for rows, each in zip(inputs, decisions, strict=True)
        ], state


def test_the_best_of_several_episodes_per_start_is_kept(tmp_path):
    ida = make_ida(tmp_path)
    played = {}
    for tries in (1, 5):
        artifact = replace(ida.start, folder=tmp_path / f"tries-{tries}", config={"agent": "it"})
        artifact.start()
        take = RecordingJob(TASK, lambda: Noisy(Drawing(0), 0.0), artifact, 100, Purpose.AMPLIFIED, 0, tries=tries)
        record([take], workers=1, failures=Failures([TASK.name]), suite=Suite("toy", (TASK,)))
        played[tries] = Trajectories(artifact.folder)
    first = [episode_seed(Purpose.AMPLIFIED, index) for index in range(8)]
    assert list(played[5].seeds[:8]) == first and len(set(played[5].seeds)) == len(played[5])
    assert np.mean(played[5].returns / played[5].lengths) > np.mean(played[1].returns / played[1].lengths) + 0.2


LOOP = [
    "suite=classic", "tasks=[cartpole]", "experts=released", "name=r", "controls=none", "clips.agents=[]",
    "tracking=none", "model.layers=1", "model.width=16", "model.feedforward=32", "distill.updates=30",
    "distill.batch_size=8", "record.env_steps=2000", "record.random_env_steps=500", "evaluate.episodes=6",
    "ida.episodes=3", "ida.rounds=1", "ida.env_steps=200", "ida.updates=20", "ida.control_env_steps=500", "workers=2",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("amplifier", ["best_of_n", "search", "self_imitation", "scale", "finetune"])
def test_every_amplifier_runs_from_the_command_line(tmp_path, amplifier):
    """Repeating the command remakes nothing."""
    shutil.copytree(ROOT / "results" / "experts", tmp_path / "results" / "experts")
    own = {
        "best_of_n": ["amplifier.horizon=5"],
        "search": ["amplifier.num_simulations=8", "generalist.amplified=true"],
        "scale": ["amplifier.members=2", "generalist.deterministic=false"],
        "finetune": ["amplifier.env_steps=4000", "amplifier.num_envs=4", "amplifier.critic_warmup=1"],
    }
    command = [*LOOP, f"amplifier={amplifier}", *own.get(amplifier, [])]
    done = gatito(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "results" / "runs" / "r"
    _, *lines = (run / "rounds.csv").read_text().splitlines()
    agents = {(line.split(",")[5], line.split(",")[6]) for line in lines}
    players = set() if amplifier == "self_imitation" else {("amplified", "1")}
    players |= {("amplified", "")} if amplifier == "search" else set()
    assert agents == {("generalist", ""), ("generalist", "1"), ("control", "1"), *players}
    assert "classic: rounds" in done.stdout and 'id="rounds"' in (run / "index.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in (run / "ida").rglob("*") if path.is_file()}
    again = gatito(*command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (run / "ida").rglob("*") if path.is_file()}


def test_discarded_episodes_count_as_compute(tmp_path):
    """A control of equal compute plays as many steps as all tries together."""
    ida = make_ida(tmp_path, replace(CONFIG, rounds=1), {"name": "self_imitation", "tries": 3})
    make_rounds(ida)
    amplified, control = ida.rounds
    kept = Trajectories(amplified.plays[TASK.name].folder).steps
    assert Cost.read(amplified.plays[TASK.name].folder).env_steps >= 2.9 * kept
    assert Trajectories(control.plays[TASK.name].folder).steps >= 2.9 * kept


@pytest.mark.slow
def test_the_control_is_scored_with_released_experts(tmp_path):
    """It has the environment steps of the experts' recipes, although no expert is trained."""
    shutil.copytree(ROOT / "results" / "experts", tmp_path / "results" / "experts")
    own = ["ida.rounds=0", "controls.agents=[multitask-rl]", "suite.tasks.classic-cartpole.expert.env_steps=6000"]
    done = gatito(*LOOP, *own, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    control = read_manifest(tmp_path / "results" / "runs" / "r" / "controls" / "multitask-rl")
    assert 4_000 < control["facts"]["steps"] <= 6_000
