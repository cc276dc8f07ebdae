import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import PolicyInput, PolicyOutput
from benchmarks.play.rollout import rollout
from benchmarks.tasks import make_env, spaces
from benchmarks.tasks.observations import pack, packed_dtype, text_of
from generalist.amplifiers import make_amplifier
from generalist.amplifiers.decompose import Budget, Decompose, Decomposed, fulfilled
from generalist.amplifiers.missions import Part, split
from generalist.config.settings import ModelConfig
from generalist.network.network import make_network, save_network
from generalist.network.policy import NetworkPolicy
from tests.benchmarks.tasks.test_babyai import level
from tests.codecs import plain_codec
from tests.conftest import ROOT, make_task

pytest.importorskip("minigrid")

MODEL = ModelConfig(layers=1, heads=2, width=16, feedforward=32, context_length=4)
COMPOUND = ["BossLevelNoUnlock", "BossLevel", "GoToSeq", "MiniBossLevel", "MoveTwoAcrossS8N9", "OpenDoorsOrderN4"]
COMPOUND, FORWARD, DONE = [*COMPOUND, "OpenTwoDoors", "SynthSeq"], 2, 6


@pytest.mark.parametrize(
    "mission, parts",
    [
        ("go to the red ball", [("go to the red ball", "")]),
        ("open a door, then go to a key", [("open a door", "a"), ("go to a key", "b")]),
        ("open a door after you go to a key", [("go to a key", "b"), ("open a door", "a")]),
        ("open a door and go to a key", [("open a door", "a"), ("go to a key", "b")]),
        ("p and q, then r and s", [("p", "aa"), ("q", "ab"), ("r", "ba"), ("s", "bb")]),
        ("p and q after you r", [("r", "b"), ("p", "aa"), ("q", "ab")]),
        ("p after you r and s", [("r", "ba"), ("s", "bb"), ("p", "a")]),
        ("go to the ball behind you after you open a door", [("open a door", "b"), ("go to the ball behind you", "a")]),
    ],
)
def test_a_mission_is_split_into_its_instructions_in_order_of_execution(mission, parts):
    assert [(part.text, part.path) for part in split(mission)] == parts


def test_no_instruction_of_the_grammar_is_split():
    from minigrid.core.constants import COLOR_NAMES
    from minigrid.envs.babyai.core.verifier import OBJ_TYPES

    places = ["", " in front of you", " behind you", " on your left", " on your right"]
    colours = ["", *(f"{colour} " for colour in COLOR_NAMES)]
    words = itertools.product(["a", "the"], colours, [*OBJ_TYPES, "object"], places)
    things = [f"{article} {colour}{kind}{place}" for article, colour, kind, place in words]
    for thing in things:
        for text in (f"go to {thing}", f"pick up {thing}", f"open {thing}", f"put {thing} next to {thing}"):
            assert split(text) == (Part(text),)


def leaves(instruction):
    """The environment's own instructions in the order of execution."""
    from minigrid.envs.babyai.core.verifier import AfterInstr, SeqInstr

    if not isinstance(instruction, SeqInstr):
        return [instruction]
    a, b = leaves(instruction.instr_a), leaves(instruction.instr_b)
    return b + a if isinstance(instruction, AfterInstr) else a + b


def at(instruction, path):
    for side in path:
        instruction = getattr(instruction, f"instr_{side}")
    return instruction


def test_sampled_missions_of_every_level_are_split_like_the_environments():
    suite = yaml.safe_load((ROOT / "conf/suite/babyai.yaml").read_text())["tasks"].values()
    names = [settings["env_id"].removeprefix("BabyAI-").removesuffix("-v0") for settings in suite]
    assert len(names) == 39
    compound, sizes = set(), set()
    for name in names:
        env = make_env(level(name))
        for seed in range(300 if name in COMPOUND else 30):
            mission = env.reset(seed=seed)[0]["mission"]
            instructions = leaves(env.unwrapped.instrs)
            parts = split(mission)
            assert [part.text for part in parts] == [each.surface(env) for each in instructions]
            assert all(at(env.unwrapped.instrs, p.path) is each for p, each in zip(parts, instructions, strict=True))
            sizes.add(len(parts))
            if len(parts) > 1:
                compound.add(name)
    assert compound == set(COMPOUND)
    assert sizes == {1, 2, 3, 4}


class Listener:
    """Takes given actions, and records its inputs: the missions' texts, episode starts, and rewards."""

    name = "listener"
    distribution_kind = {}

    def __init__(self, action=FORWARD):
        self.action, self.shown = action, []

    def initial_state(self, num_envs):
        return None

    def act(self, inputs, state):
        [rows] = inputs
        texts = [text_of(row) for row in rows.observations["mission"]]
        self.shown.append(list(zip(texts, rows.episode_start.tolist(), rows.rewards.tolist(), strict=True)))
        actions = np.full(len(rows.env_ids), self.action)
        return [PolicyOutput(actions, actions, np.eye(7)[actions], values=np.ones(len(actions)))], state


def joint(a=None, b=None):
    """An environment's state of two instructions, neither completed."""
    return SimpleNamespace(instr_a=a, instr_b=b, a_done=False, b_done=False)


class Table:
    """Observations of made-up missions; ``trees`` are the environments' instruction states, which tests change."""

    def __init__(self, *missions):
        self.missions = missions
        self.trees = [joint(joint(), joint()) for _ in missions]

    def inputs(self, episode_start, env_ids=None):
        env_ids = np.arange(len(self.missions)) if env_ids is None else np.array(env_ids)
        task = level("BossLevel")
        space = spaces(task)[0]
        rows = np.zeros(len(env_ids), packed_dtype(space))
        for row, env_id in zip(rows, env_ids, strict=True):
            row["mission"] = pack(space["mission"], self.missions[env_id])
        envs = [SimpleNamespace(unwrapped=SimpleNamespace(instrs=self.trees[env_id])) for env_id in env_ids]
        rngs = [np.random.default_rng(0)] * len(env_ids)
        return PolicyInput(
            task,
            rows,
            env_ids,
            np.full(len(env_ids), episode_start),
            np.full(len(env_ids), 0.0 if episode_start else 0.5),
            rngs,
            envs,
        )


def decomposed(policy, judge=fulfilled, forget=True):
    return Decomposed(policy, judge, forget=forget, kinds={})


@pytest.mark.parametrize("joined", ["p, then q", "q after you p", "p and q"])
def test_instructions_are_shown_in_order_and_each_starts_a_new_context(joined):
    table, listener = Table(joined), Listener()
    policy = decomposed(listener)
    _, state = policy.act([table.inputs(True)], policy.initial_state(1))
    _, state = policy.act([table.inputs(False)], state)
    setattr(table.trees[0], "b_done" if "after" in joined else "a_done", "success")
    for _ in range(2):
        given = table.inputs(False)
        [decision], state = policy.act([given], state)
        assert text_of(given.observations["mission"][0]) == joined  # the recorded mission is unchanged
        assert not given.episode_start.any()
    assert [shown for [shown] in listener.shown] == [
        ("p", True, 0),
        ("p", False, 0.5),
        ("q", True, 0),
        ("q", False, 0.5),
    ]
    assert decision.labels.tolist() == decision.actions.tolist() == [FORWARD]
    assert decision.values is None


def test_the_context_continues_with_forget_off():
    table, listener = Table("p, then q"), Listener()
    policy = decomposed(listener, forget=False)
    _, state = policy.act([table.inputs(True)], policy.initial_state(1))
    table.trees[0].a_done = "success"
    policy.act([table.inputs(False)], state)
    assert listener.shown == [[("p", True, 0)], [("q", False, 0.5)]]


def test_only_success_counts_and_completed_instructions_are_skipped():
    table, listener = Table("p and q, then r and s"), Listener()
    policy = decomposed(listener)
    tree = table.trees[0]
    _, state = policy.act([table.inputs(True)], policy.initial_state(1))
    ticks = [
        (tree.instr_a, "a_done", "continue"),
        (tree.instr_a, "b_done", "success"),
        (tree.instr_a, "a_done", "failure"),
    ]
    ticks += [(tree.instr_a, "a_done", "success"), (tree, "a_done", "success"), (tree.instr_b, "a_done", "success")]
    for joined, side, verdict in ticks:
        setattr(joined, side, verdict)
        _, state = policy.act([table.inputs(False)], state)
    # q is never shown: it was completed during p.
    assert [shown[0] for [shown] in listener.shown] == ["p", "p", "p", "p", "r", "r", "s"]


def test_every_environment_has_its_own_progress():
    table, listener = Table("p, then q", "r, then s"), Listener()
    policy = decomposed(listener)
    _, state = policy.act([table.inputs(True)], policy.initial_state(2))
    table.trees[1].a_done = "success"
    _, state = policy.act([table.inputs(False)], state)
    _, state = policy.act([table.inputs(False, env_ids=[1])], state)
    table.missions, table.trees = ("t after you u", "r, then s"), [joint(), table.trees[1]]
    _, state = policy.act([table.inputs(True, env_ids=[0])], state)
    assert [[(text, episode_start) for text, episode_start, _ in shown] for shown in listener.shown] == [
        [("p", True), ("r", True)],
        [("p", False), ("s", True)],
        [("s", False)],
        [("u", True)],
    ]
    assert (policy.cost.decisions, policy.cost.forward_passes) == (6, 6)
    assert policy.cost.seconds >= policy.cost.network_seconds > 0


def test_the_budget_moves_on_by_steps_or_at_the_action_done():
    def play(listener, mission, steps):
        table, policy = Table(mission), decomposed(listener, Budget(3))
        state = policy.initial_state(1)
        for step in range(steps):
            _, state = policy.act([table.inputs(step == 0)], state)
        return "".join(text.upper() if episode_start else text for [(text, episode_start, _)] in listener.shown)

    assert play(Listener(), "p, then q", 10) == "PppQqqPppQ"
    assert play(Listener(DONE), "q after you p", 4) == "PQPQ"
    assert play(Listener(DONE), "p", 4) == play(Listener(), "p", 4) == "Pppp"


def test_an_episode_is_truncated_when_an_instruction_has_used_its_steps():
    table, listener = Table("p, then q"), Listener()
    policy = Decomposed(listener, fulfilled, forget=True, kinds={}, abandon_after=3)
    state, gone = policy.initial_state(1), []
    for step in range(8):
        if step == 3:
            table.trees[0].a_done = "success"  # the second instruction has its own steps
        [decision], state = policy.act([table.inputs(step in (0, 7))], state)
        assert decision.truncated_by_policy is not None
        gone += decision.truncated_by_policy.tolist()
        if step == 6:
            table.trees[0] = joint()  # and so has the next episode
    assert gone == [False] * 6 + [True, False]


@pytest.fixture
def folder(tmp_path):
    save_network(tmp_path, make_network(MODEL, plain_codec()), {})
    return tmp_path


@pytest.mark.parametrize("judge", ["environment", "budget"])
def test_a_single_instruction_is_played_like_the_generalist(folder, judge):
    task = level("GoToLocal", horizon=20)
    amplified = Decompose(judge=judge, part_steps=2).policy(folder, [task], "generalist")
    plays = [
        list(rollout(policy, {task: range(4)}, keep_steps=True))
        for policy in (amplified, NetworkPolicy.load(folder, [task]))
    ]
    for ours, theirs in zip(*plays, strict=True):
        for name, values in theirs.steps.items():
            np.testing.assert_array_equal(ours.steps[name], values)
    assert amplified.distribution_kind == {task.name: "logits"}


def test_recordings_contain_the_whole_mission_and_the_networks_distribution(folder):
    task = level("OpenTwoDoors", horizon=20)
    policy = Decompose(judge="budget", part_steps=2).policy(folder, [task], "generalist")
    [episode] = rollout(policy, {task: [0]}, keep_steps=True)
    [mission] = {text_of(row) for row in episode.steps["observations"]["mission"]}
    assert len(split(mission)) == 2
    assert episode.steps["distributions"].shape == (episode.length, 7)
    np.testing.assert_array_equal(episode.steps["labels"], episode.steps["distributions"].argmax(axis=1))
    assert policy.cost.decisions == policy.cost.forward_passes == episode.length


def test_a_codec_without_distributions_records_none(tmp_path):
    task = level("GoToLocal")
    model = ModelConfig(layers=1, heads=2, width=16, feedforward=32, context_length=1024)
    save_network(tmp_path, make_network(model, plain_codec(name="gato")), {})
    assert Decompose().policy(tmp_path, [task], "generalist").distribution_kind == {}


class Soloist:
    """Completes the shown instruction with BabyAI's bot."""

    name = "soloist"
    distribution_kind = {}

    def __init__(self, afterwards=DONE):
        self._afterwards = afterwards

    def initial_state(self, num_envs):
        return {}

    def act(self, inputs, state):
        from experts.programs.bot import Bot

        [rows] = inputs
        actions = np.full(len(rows.env_ids), self._afterwards)
        for row, (env_id, env) in enumerate(zip(rows.env_ids, rows.envs, strict=True)):
            env_level, whole = env.unwrapped, env.unwrapped.instrs
            if env_level.step_count == 0:
                state[env_id] = {each.surface(env): each for each in leaves(whole)}, None
            known, bot = state[env_id]
            if rows.episode_start[row]:
                env_level.instrs = known[text_of(rows.observations["mission"][row])]
                bot = Bot(env_level)
                env_level.instrs = whole
                state[env_id] = known, bot
            last = None if rows.episode_start[row] else env.get_wrapper_attr("last_action")
            action = bot.decide(rows.observations["image"][row], last)
            actions[row] = self._afterwards if action is None else action
        return [PolicyOutput(actions, actions)], state


@pytest.mark.parametrize("name", ["GoToSeq", "OpenDoorsOrderN4", "OpenTwoDoors"])
def test_a_single_instruction_policy_completes_missions_of_several(name):
    task = level(name)
    episodes = list(rollout(decomposed(Soloist()), {task: range(20)}, envs_per_task=5))
    assert sum(episode.success for episode in episodes) >= 18
    without = list(rollout(decomposed(Soloist(), lambda progress, env: 0), {task: range(20)}, envs_per_task=5))
    assert sum(episode.success for episode in without) <= 14  # the first instruction is not the whole mission


@pytest.mark.parametrize(
    "options, task, words",
    [
        ({"judge": "oracle"}, None, "unknown amplifier.judge 'oracle'.* Valid: budget, environment"),
        ({"part_steps": 0}, None, "amplifier.part_steps must be at least 1, not 0"),
        ({"part_steps": 1.5}, None, "config key amplifier.part_steps: .* could not be converted to Integer"),
        ({"judges": "budget"}, None, "unknown config key in amplifier 'judges'. Did you mean 'judge'"),
        ({}, make_task(), r"task toy/counter has none: leave it out with ida.tasks=\[…\]\.$"),
    ],
)
def test_invalid_settings_get_one_line(options, task, words):
    with pytest.raises(GatitoError, match=words):
        make_amplifier({"name": "decompose", **options}).check([task] if task else [], MODEL, plain_codec())


def test_the_amplifier_makes_no_artifacts():
    amplifier = make_amplifier({"name": "decompose"})
    assert amplifier == Decompose()
    amplifier.check([level("GoToLocal"), level("BossLevel")], MODEL, plain_codec())
    generalist = object()
    assert amplifier.artifact(generalist, None) is generalist
    assert amplifier.make(generalist, None) is None
