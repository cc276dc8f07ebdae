"""Tree search in clones, with the generalist's policy and critic as its prior knowledge.

Gumbel AlphaZero (Danihelka et al. 2022, "Policy improvement by planning with Gumbel", ICLR): the first actions are
drawn without replacement, visits are given out among them by sequential halving, and deeper actions are chosen so that
visits follow the improved policy. Its choice is, in expectation, never worse than the policy's, however few the visits.
PUCT (Silver et al. 2018, Schrittwieser et al. 2020) is there to compare with. What is distilled is the improved policy,
not the choice.

States are those of real environments, so nothing is modelled: a visit to a new action plays it once, in a clone with a
random stream of its own, and what it led to stands for what might follow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.artifacts import Artifact
from benchmarks.errors import GatitoError, check_at_least, unknown
from benchmarks.policy import Decision, Observed
from benchmarks.tasks import Task, cloning, spaces
from generalist.amplifiers import Setting
from generalist.amplifiers.imagination import Imagination, Transition, branch
from generalist.amplifiers.spent import Spent
from generalist.amplifiers.tree import (
    Bounds,
    Node,
    backup,
    descend,
    gumbel_choice,
    halving,
    improved,
    puct_choice,
    softmax,
)
from generalist.codecs.config import CodecConfig
from generalist.codecs.heads import bin_middles, check_samples, from_unit
from generalist.codecs.windows import is_discrete
from generalist.policy import NetworkPolicy
from generalist.settings import ModelConfig

SELECTIONS = ("gumbel", "puct")
_DIRICHLET = 0.25  # share of PUCT's noise at the root, and its concentration times the number of actions
_CONCENTRATION = 10.0


@dataclass(frozen=True)
class Search:
    """``conf/amplifier/search.yaml``.

    Attributes:
        simulations: visits per decision.
        considered: first actions that are tried, at most; of continuous actions, as many are drawn at every node.
        selection: ``gumbel`` or ``puct``.
        noise: scale of the noise on first actions; 0: the search is greedy.
    """

    simulations: int = 32
    considered: int = 8
    selection: str = "gumbel"
    noise: float = 1.0

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Refuse settings and tasks that cannot work.

        Raises:
            GatitoError: naming the setting or the task.
        """
        check_at_least("amplifier", self, considered=2, noise=0)
        if self.selection not in SELECTIONS:
            raise unknown("amplifier.selection", self.selection, SELECTIONS)
        if self.simulations < self.considered:
            raise GatitoError(
                f"amplifier.simulations={self.simulations} is less than one for each of amplifier.considered="
                f"{self.considered} actions: raise the one or lower the other."
            )
        if codec.name == "gato":
            raise GatitoError("codec gato has no critic to search with: set codec=step, or amplifier=best_of_n.")
        if not codec.critic:
            raise GatitoError(
                "amplifier search needs a critic: distil with codec.critic=0.5, or take another amplifier."
            )
        for task in tasks:
            check_samples(codec, task)
            cloning.check(task)

    def artifact(self, generalist: Artifact, setting: Setting) -> Artifact:
        """The generalist itself: nothing is learnt."""
        return generalist

    def make(self, generalist: Artifact, setting: Setting) -> None:
        """There is nothing to be made."""

    def policy(self, folder: Path, tasks: Sequence[Task], name: str) -> "SearchPolicy":
        """The generalist in this folder with the amplifier."""
        return SearchPolicy(NetworkPolicy.load(folder, tasks, name), tasks, self)


@dataclass
class _State:
    """The policy's memory: of the lanes that are played, then of their trees' nodes."""

    memory: Any
    lanes: int


class SearchPolicy:
    """A network's policy that searches before it acts.

    Attributes:
        name: the agent's.
        distribution_kind: of discrete actions, the improved policy's logits are told.
        spent: what its decisions cost so far.
    """

    def __init__(self, policy: NetworkPolicy, tasks: Sequence[Task], config: Search) -> None:
        """Args: who is to be amplified, on which tasks, and how."""
        self.name = policy.name
        self.distribution_kind: Mapping[str, str] = {task.name: "logits" for task in tasks if is_discrete(task)}
        self.spent = Spent()
        self._policy = policy
        self._config = config
        self._imagined: dict[str, Imagination] = {}

    def initial_state(self, lanes: int) -> _State:
        """Memory for so many environments."""
        return _State(self._policy.initial_state(lanes * (1 + self._config.simulations)), lanes)

    def act(self, observed: Sequence[Observed], state: _State) -> tuple[list[Decision], _State]:
        """Search for every row, task by task; the value of a decision is the improved policy's."""
        with self.spent.timed("seconds"):
            decisions = [self._decide(rows, state) for rows in observed]
        self.spent.decisions += sum(len(rows.lanes) for rows in observed)
        return decisions, state

    def _decide(self, rows: Observed, state: _State) -> Decision:
        imagined = self._imagined.setdefault(rows.task.name, Imagination(rows.task, self.spent))
        nodes = self._look(rows, state, rows.lanes)
        for node, env in zip(nodes, rows.envs, strict=True):
            node.state = cloning.save(env)
        lanes = state.lanes + rows.lanes * self._config.simulations
        trees = [
            _Tree(node, rng, int(lane), self._config.simulations)
            for node, rng, lane in zip(nodes, rows.rngs, lanes, strict=True)
        ]
        searching = self._puct if self._config.selection == "puct" else self._gumbel
        chosen, logits = searching(trees, imagined, state)
        actions = np.stack([tree.root.actions[action] for tree, action in zip(trees, chosen, strict=True)])
        self._policy.remember(state.memory, rows.task, rows.lanes, actions)
        values = [softmax(own) @ tree.root.completed() for tree, own in zip(trees, logits, strict=True)]
        told = np.stack(logits).astype(np.float32) if is_discrete(rows.task) else None
        labels = actions
        if told is not None:  # what is to be learnt is without noise
            labels = np.stack([tree.root.actions[own.argmax()] for tree, own in zip(trees, logits, strict=True)])
        return Decision(actions, labels, told, values=np.array(values))

    def _gumbel(
        self, trees: Sequence["_Tree"], imagined: Imagination, state: _State
    ) -> tuple[list[int], list[np.ndarray]]:
        """Each root's choice, and its improved policy's logits."""
        noise = [self._config.noise * tree.rng.gumbel(size=len(tree.root.logits)) for tree in trees]
        most = min(self._config.considered, len(trees[0].root.logits))

        def ranking(number: int) -> np.ndarray:
            tree = trees[number]
            return np.argsort(-(noise[number] + improved(tree.root, tree.bounds)), kind="stable")

        left = [ranking(number)[:most] for number in range(len(trees))]
        for count, each in halving(most, self._config.simulations):
            left = [[a for a in ranking(n) if a in own][:count] for n, own in enumerate(left)]
            for _ in range(each):
                self._visit([(tree, a) for tree, own in zip(trees, left, strict=True) for a in own], imagined, state)
        best = [next(a for a in ranking(n) if a in own) for n, own in enumerate(left)]
        return [int(action) for action in best], [improved(tree.root, tree.bounds) for tree in trees]

    def _puct(
        self, trees: Sequence["_Tree"], imagined: Imagination, state: _State
    ) -> tuple[list[int], list[np.ndarray]]:
        """Each root's most visited action, and its shares of visits as logits."""
        for tree in trees:
            size = len(tree.root.logits)
            noise = tree.rng.dirichlet(np.full(size, _CONCENTRATION / size))
            share = _DIRICHLET * min(1.0, self._config.noise)
            tree.root.prior = (1 - share) * tree.root.prior + share * noise
        for _ in range(self._config.simulations):
            self._visit([(tree, puct_choice(tree.root, tree.bounds)) for tree in trees], imagined, state)
        visits = [tree.root.visits for tree in trees]
        return [int(own.argmax()) for own in visits], [np.log(own / own.sum() + 1e-6) for own in visits]

    def _visit(self, wanted: Sequence[tuple["_Tree", int]], imagined: Imagination, state: _State) -> None:
        """One visit to each of these first actions, all different; what is new is looked at in one pass."""
        choose = puct_choice if self._config.selection == "puct" else gumbel_choice
        new: list[tuple[_Tree, list[tuple[Node, int]], Transition, int, int]] = []
        for tree, first in wanted:
            path = descend(tree.root, first, lambda node, tree=tree: choose(node, tree.bounds))
            node, action = path[-1]
            if action in node.children:  # an end that was reached before
                backup(path, node.children[action], self._discount, tree.bounds)
                continue
            place = len(new)
            imagined.enter(place, node.state, branch(tree.rng))
            new.append((tree, path, imagined.step(place, node.actions[action]), place, tree.next_lane()))
        going = [each for each in new if not each[2].terminated]
        looked = iter(self._look_further(going, imagined, state))
        for tree, path, transition, place, lane in new:
            parent, action = path[-1]
            end = Node(lane, parent.logits, parent.actions, 0.0)
            child = end if transition.terminated else next(looked)
            child.reward = transition.reward
            child.ended = transition.terminated or transition.truncated
            if not child.ended and tree.has_room:
                child.state = imagined.state(place)
            parent.children[action] = child
            backup(path, child, self._discount, tree.bounds)

    def _look_further(
        self,
        new: Sequence[tuple["_Tree", list[tuple[Node, int]], Transition, int, int]],
        imagined: Imagination,
        state: _State,
    ) -> list[Node]:
        """The nodes of transitions, each on a lane that goes on from its parent's."""
        if not new:
            return []
        lanes = np.array([lane for *_, lane in new])
        parents = [path[-1] for _, path, *_ in new]
        self._policy.fork(state.memory, np.array([node.lane for node, _ in parents]), lanes)
        done = np.stack([node.actions[action] for node, action in parents])
        self._policy.remember(state.memory, imagined.task, lanes, done)
        places = [place for *_, place, _ in new]
        last = [transition for *_, transition, _, _ in new]
        return self._look(imagined.observed(places, lanes, last, [tree.rng for tree, *_ in new]), state, lanes)

    def _look(self, rows: Observed, state: _State, lanes: np.ndarray) -> list[Node]:
        """What the network says of each row."""
        with self.spent.timed("passing"):
            [decision], _ = self._policy.act([rows], state.memory)
        self.spent.passes += len(rows.lanes)
        assert decision.distributions is not None
        assert decision.values is not None
        space = spaces(rows.task)[1]
        nodes = []
        for row, lane in enumerate(lanes):
            logits = decision.distributions[row]
            if isinstance(space, gym.spaces.Discrete):
                actions = np.arange(space.n) + int(space.start)
            else:
                actions = self._some(space, logits, rows.rngs[row])
                logits = np.zeros(len(actions))  # drawn from the policy, they are equally likely (Hubert et al. 2021)
            nodes.append(Node(int(lane), logits, actions, float(decision.values[row])))
        return nodes

    def _some(self, space: gym.Space, logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Continuous actions, ``(considered, *action shape)``: the most likely one, and draws."""
        assert isinstance(space, gym.spaces.Box)
        noise = rng.gumbel(size=(self._config.considered, *logits.shape))
        noise[0] = 0
        return from_unit(space, bin_middles((logits + noise).argmax(axis=-1), logits.shape[-1]))

    @property
    def _discount(self) -> float:
        return self._policy.network.codec.config.discount


@dataclass
class _Tree:
    """A row's tree: its root, its stream, the first of its lanes and how many are taken."""

    root: Node
    rng: np.random.Generator
    first_lane: int
    size: int

    taken: int = 0

    def __post_init__(self) -> None:
        self.bounds = Bounds()
        self.bounds.add(self.root.value)

    @property
    def has_room(self) -> bool:
        """Whether another node may come."""
        return self.taken < self.size

    def next_lane(self) -> int:
        """A lane that no node has."""
        self.taken += 1
        return self.first_lane + self.taken - 1
