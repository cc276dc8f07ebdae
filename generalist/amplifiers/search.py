"""Tree search in cloned environments, with the generalist's policy and critic as prior and value function.

Gumbel AlphaZero (Danihelka et al. 2022, "Policy improvement by planning with Gumbel", ICLR): first actions are sampled
without replacement, sequential halving distributes visits among them, and deeper actions are chosen so that visits
follow the improved policy. In expectation, its choice is never worse than the policy's, however few the visits. PUCT
(Silver et al. 2018, Schrittwieser et al. 2020) is a baseline. The improved policy is distilled, not the choice.

A critic has errors, and a search finds them: a choice other than the policy's own must win against it in confirmation
rollouts (the rollout algorithm's guarantee, see ``best_of_n``). With exact rollouts, the search is then no worse than
the policy for any critic, so values may outweigh an overconfident prior.

There is no learned model: a visit to a new action takes it once in a clone of the environment with its own random
stream, and the resulting state represents all possible outcomes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import alike
from benchmarks.base.settings import check_settings, setting
from benchmarks.play.policy import PolicyInput, PolicyOutput
from benchmarks.tasks import Task
from benchmarks.tasks.overseer import check_costs
from benchmarks.tasks.snapshots import snapshot as cloning
from generalist.amplifiers.amplifier import Planner
from generalist.amplifiers.caution import check_discrete, likely_logits
from generalist.amplifiers.rollouts import Rollouts, confirm
from generalist.amplifiers.simulator import Simulator, Snapshot, uncollected
from generalist.amplifiers.tree import ILLEGAL, Prediction, Trees, sequential_halving
from generalist.config.codec import CodecConfig
from generalist.config.networks import network_kind
from generalist.config.objective import cost_weight, min_probability
from generalist.config.settings import ModelConfig
from generalist.network.batches import is_discrete
from generalist.network.distributions import Categorical, Distribution, environment_actions
from generalist.network.heads import check_samples
from generalist.network.inference_cost import CountingPolicy, InferenceCost
from generalist.network.policy import NetworkPolicy

SELECTIONS = ("gumbel", "puct")
_DIRICHLET = 0.25  # share of PUCT's noise at the root, and its concentration times the number of actions
_CONCENTRATION = 10.0
_ROLLOUTS = 2  # one of the choice, and one of the policy's own action


@dataclass(frozen=True)
class Search(Planner):
    """The options of ``amplifier=search``."""

    num_simulations: int = setting(
        16, "Visits per decision; with 64, a weak critic's errors were only found more reliably.", at_least=1
    )
    max_num_considered_actions: int = setting(
        8, "Most first actions that are tried; of continuous actions, as many are sampled at every node.", at_least=2
    )
    selection: str = setting("gumbel", "How actions are selected.", choices=SELECTIONS)
    value_scale: float = setting(
        1.0,
        "Scale of values against the prior, c_scale of equation 8: 1 as in the paper's board games; 0.1, as for its "
        "Atari, leaves a prior as sure as a distilled one nearly unchanged.",
        at_least=0,
    )
    confirmation_rollouts: int = setting(
        4,
        "New rollouts that a choice other than the policy's own must win against it, since a search finds its "
        "critic's errors; 0: none.",
        at_least=0,
    )
    horizon: int = setting(100, "Longest such rollout in steps; the critic estimates the rest.", at_least=1)
    gumbel_scale: float = setting(1.0, "Scale of the noise on first actions; 0: greedy.", at_least=0)
    cost_weight: float = cost_weight()
    min_probability: float = min_probability()

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Reject settings and tasks that cannot work.

        Raises:
            GatitoError: names the setting or the task.
        """
        check_settings("amplifier", self)
        check_costs("amplifier.cost_weight", self.cost_weight, tasks)
        check_discrete(self.min_probability, tasks)
        if self.num_simulations < self.max_num_considered_actions:
            raise GatitoError(
                f"amplifier.num_simulations={self.num_simulations} is less than one for each of "
                f"amplifier.max_num_considered_actions={self.max_num_considered_actions} actions: "
                "raise the one or lower the other."
            )
        if not network_kind(codec.name).has_critic:
            raise GatitoError(
                f"codec {codec.name} has no critic to search with: set codec=step, or amplifier=best_of_n."
            )
        if not codec.critic:
            raise GatitoError(
                "amplifier search needs a critic: distil with codec.critic=0.5, or take another amplifier."
            )
        for task in tasks:
            check_samples(codec, task)
            cloning.check(task)

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, deterministic: bool = True) -> "SearchPolicy":
        """The generalist in this folder with the amplifier."""
        return SearchPolicy(NetworkPolicy.load(folder, tasks, name), tasks, self)


@dataclass
class _State:
    """The policy's memory: slots for the real environments, their trees' nodes, and two rollouts for each."""

    memory: Any
    num_envs: int


class SearchPolicy(CountingPolicy):
    """A network's policy with a tree search before each decision.

    Attributes:
        name: the agent's name.
        distribution_kind: ``logits`` (of the improved policy) for tasks with discrete actions.
        cost: the compute of its decisions so far.
    """

    def __init__(self, policy: NetworkPolicy, tasks: Sequence[Task], config: Search) -> None:
        """Args: the policy to amplify, the tasks, and the settings."""
        self.name = policy.name
        self.distribution_kind: Mapping[str, str] = {task.name: "logits" for task in tasks if is_discrete(task)}
        self.cost = InferenceCost()
        self._policy = policy
        self._config = config
        self._simulators: dict[str, Simulator] = {}

    def initial_state(self, num_envs: int) -> _State:
        """Memory for ``num_envs`` environments."""
        return _State(self._policy.initial_state(num_envs * (1 + self._config.num_simulations + _ROLLOUTS)), num_envs)

    def act(self, inputs: Sequence[PolicyInput], state: _State) -> tuple[list[PolicyOutput], _State]:
        """Search for every row, task by task; a decision's value is that of the improved policy."""
        with self.cost.timed("seconds"), uncollected():
            decisions = [self._decide(rows, state) for rows in inputs]
        self.cost.decisions += sum(len(rows.env_ids) for rows in inputs)
        return decisions, state

    def close(self) -> None:
        """Close the cloned environments and the amplified policy."""
        for simulator in self._simulators.values():
            simulator.close()
        self._policy.close()

    def _decide(self, rows: PolicyInput, state: _State) -> PolicyOutput:
        simulator = self._simulators.setdefault(
            rows.task.name, Simulator(rows.task, self.cost, self._config.cost_weight)
        )
        rollouts = Rollouts(self._policy, simulator, state.memory, self.cost)
        trees = Trees(self._predict(rollouts, rows), 1 + self._config.num_simulations, self._config.value_scale)
        forest = _Forest(trees, rows, rollouts, state)
        for tree, env in enumerate(rows.envs):
            forest.snapshots[tree, 0] = simulator.snapshot(env)
        every, roots = np.arange(len(rows.env_ids)), np.zeros(len(rows.env_ids), dtype=np.int64)
        prior = trees.children_prior_logits[:, 0].copy()
        searching = self._puct if self._config.selection == "puct" else self._gumbel
        chosen, logits = searching(forest, every, roots)
        best = logits.argmax(axis=1) if self._config.gumbel_scale else chosen  # labels are without noise
        if self._config.confirmation_rollouts:
            policy_choice = prior.argmax(axis=1)
            confirmed = self._confirmed(forest, best, policy_choice)
            others = self._confirmed(forest, np.where(chosen == best, policy_choice, chosen), policy_choice)
            chosen = np.where(chosen == best, confirmed, others)
            logits = np.where((confirmed == best)[:, None], logits, prior)
            best = confirmed
        actions = trees.actions[every, roots, chosen]
        self._policy.replace_actions(state.memory, rows.task, rows.env_ids, actions)
        values = (softmax(logits, axis=-1) * trees.complete_qvalues(every, roots)).sum(axis=1)
        if not is_discrete(rows.task):
            return PolicyOutput(actions, actions, values=values)
        return PolicyOutput(actions, trees.actions[every, roots, best], logits.astype(np.float32), values=values)

    def _gumbel(self, forest: "_Forest", every: np.ndarray, roots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each root's choice, ``(T,)``, and its improved policy's logits, ``(T, k)``."""
        trees, k = forest.trees, forest.trees.children_prior_logits.shape[2]
        noise = self._config.gumbel_scale * np.stack([rng.gumbel(size=k) for rng in forest.rows.rngs])
        left = np.tile(np.arange(k), (len(every), 1))

        def best(count: int) -> np.ndarray:
            scores = np.take_along_axis(noise + trees.improved_logits(every, roots), left, axis=1)
            return np.take_along_axis(left, np.argsort(-scores, axis=1, kind="stable")[:, :count], axis=1)

        for count, visits in sequential_halving(
            min(self._config.max_num_considered_actions, k), self._config.num_simulations
        ):
            left = best(count)
            for _ in range(visits):
                self._simulate(forest, np.repeat(every, count), left.ravel())
        return best(1)[:, 0], trees.improved_logits(every, roots)

    def _puct(self, forest: "_Forest", every: np.ndarray, roots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each root's most visited action, ``(T,)``, and its shares of visits as logits, ``(T, k)``."""
        trees, k = forest.trees, forest.trees.children_prior_logits.shape[2]
        share = _DIRICHLET * min(1.0, self._config.gumbel_scale)
        noise = np.stack([rng.dirichlet(np.full(k, _CONCENTRATION / k)) for rng in forest.rows.rngs])
        legal = trees.children_prior_logits[:, 0] > ILLEGAL
        mixed = (1 - share) * softmax(trees.children_prior_logits[:, 0], axis=-1) + share * noise
        trees.children_prior_logits[:, 0] = np.where(legal, np.log(mixed + 1e-12), ILLEGAL)
        for _ in range(self._config.num_simulations):
            self._simulate(forest, every, trees.puct_action_selection(every, roots))
        visits = trees.children_visits[:, 0]
        shares = visits / visits.sum(axis=1, keepdims=True)
        return visits.argmax(axis=1), np.where(legal, np.log(shares + 1e-6), ILLEGAL)

    def _simulate(self, forest: "_Forest", which: np.ndarray, first: np.ndarray) -> None:
        """One visit to each of these trees' first actions, all different; new nodes are evaluated in one batch."""
        trees, simulator, rows = forest.trees, forest.rollouts.simulator, forest.rows
        choose = trees.puct_action_selection if self._config.selection == "puct" else trees.interior_action_selection
        paths = trees.simulate(which, first, choose)
        new = np.flatnonzero(trees.children_index[which, paths.nodes, paths.actions] == 0)
        owners, parents = which[new], paths.nodes[new]
        taken = trees.actions[owners, parents, paths.actions[new]]
        rngs = [rows.rngs[tree] for tree in owners]
        forest.save_arrivals(which, first, save_all=self._config.selection == "puct")
        simulator.enter([forest.snapshots[node] for node in zip(owners.tolist(), parents.tolist(), strict=True)], rngs)
        last = simulator.step(range(len(new)), taken)
        terminated = np.array([transition.terminated for transition in last], dtype=bool)
        ended = terminated | np.array([transition.truncated for transition in last], dtype=bool)
        nodes = trees.add_nodes(paths, new, np.array([transition.reward for transition in last]), ended)
        forest.arrivals = [
            (int(owners[place]), int(first[new[place]]), int(nodes[place]), place)
            for place in np.flatnonzero(~ended).tolist()
        ]
        ongoing = np.flatnonzero(~terminated)
        if len(ongoing):
            env_ids = forest.env_ids(owners[ongoing], nodes[ongoing])
            self._policy.fork(forest.state.memory, forest.env_ids(owners[ongoing], parents[ongoing]), env_ids)
            self._policy.replace_actions(forest.state.memory, rows.task, env_ids, taken[ongoing])
            reached = simulator.policy_input(
                ongoing.tolist(), env_ids, [last[place] for place in ongoing], [rngs[place] for place in ongoing]
            )
            trees.update_nodes(owners[ongoing], nodes[ongoing], self._predict(forest.rollouts, reached))
        trees.backward(paths, self._policy.network.codec.discount)

    def _confirmed(self, forest: "_Forest", choices: np.ndarray, policy_choices: np.ndarray) -> np.ndarray:
        """Each root's choice if it wins all confirmation rollouts, otherwise the policy's own choice, ``(T,)``."""
        tested = np.flatnonzero(choices != policy_choices)

        def rollout(which: np.ndarray) -> np.ndarray:
            roots = tested[which]
            return self._rollout_returns(forest, roots, choices[roots], policy_choices[roots])

        won, _ = confirm(len(tested), self._config.confirmation_rollouts, rollout)
        confirmed = choices.copy()
        confirmed[tested[~won]] = policy_choices[tested[~won]]
        return confirmed

    def _rollout_returns(
        self, forest: "_Forest", which: np.ndarray, choices: np.ndarray, policy_choices: np.ndarray
    ) -> np.ndarray:
        """Returns of these trees' choices and of the policy's own, with common random numbers, ``(n, 2)``."""
        trees, rows, memory = forest.trees, forest.rows, forest.state.memory
        both = np.repeat(which, _ROLLOUTS)
        actions = trees.actions[both, 0, np.stack([choices, policy_choices], axis=1).ravel()]
        env_ids = forest.rollout_slots(which)
        self._policy.fork(memory, rows.env_ids[both], env_ids)
        self._policy.replace_actions(memory, rows.task, env_ids, actions)
        return forest.rollouts.returns(
            [forest.snapshots[tree, 0] for tree in both.tolist()],
            actions,
            env_ids,
            [rng for tree in which.tolist() for rng in alike(rows.rngs[tree], _ROLLOUTS)],
            self._config.horizon,
            bootstrap=True,
        ).reshape(-1, _ROLLOUTS)

    def _predict(self, rollouts: Rollouts, rows: PolicyInput) -> Prediction:
        """The network's prediction for each row."""
        output = rollouts.ask(rows)
        assert output.distribution is not None
        assert output.values is not None
        if isinstance(output.distribution, Categorical):
            logits = output.distribution.logits
            prior = likely_logits(output.distribution.parameters(rows.task), self._config.min_probability)
            indices = torch.arange(logits.shape[1]).expand(len(logits), -1)
            # The most likely action stands in for those without a probability: all nodes have as many branches.
            indices = torch.where(torch.from_numpy(np.isfinite(prior)), indices, output.distribution.mode()[:, None])
            return Prediction(prior, environment_actions(rows.task, indices), output.values)
        actions = self._sampled_actions(rows, output.distribution)
        # Actions sampled from the policy have a uniform prior (Hubert et al. 2021).
        return Prediction(np.zeros(actions.shape[:2]), actions, output.values)

    def _sampled_actions(self, rows: PolicyInput, distribution: Distribution) -> np.ndarray:
        """The most likely continuous action and samples, ``(n, considered, *action shape)``."""
        samples = [distribution.sample(rows.rngs) for _ in range(self._config.max_num_considered_actions - 1)]
        actions = [environment_actions(rows.task, chosen) for chosen in (distribution.mode(), *samples)]
        return np.stack(actions, axis=1)


@dataclass
class _Forest:
    """The rows' trees, with the snapshots of their nodes and their slots in the policy's memory.

    Attributes:
        snapshots: by tree and node.
        arrivals: the nodes of the last simulations: tree, first action, node, and the index of the cloned environment
            that is still in the node's state.
    """

    trees: Trees
    rows: PolicyInput
    rollouts: Rollouts
    state: _State
    snapshots: dict[tuple[int, int], Snapshot] = field(default_factory=dict)
    arrivals: list[tuple[int, int, int, int]] = field(default_factory=list)

    def save_arrivals(self, which: np.ndarray, first: np.ndarray, save_all: bool) -> None:
        """Save the states that the last visits reached, before the clones are used again.

        Args:
            which: the trees that are visited next.
            first: the first actions of these visits; sequential halving never returns to other actions.
            save_all: whether states below other first actions are saved too.
        """
        visited = set(zip(which.tolist(), first.tolist(), strict=True))
        for tree, action, node, place in self.arrivals:
            if save_all or (tree, action) in visited:
                self.snapshots[tree, node] = self.rollouts.simulator.reached(place)

    def env_ids(self, trees: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """The memory slot of each node."""
        played = self.rows.env_ids[trees]
        slots_per_tree = self.trees.children_prior_logits.shape[1] - 1
        return np.where(nodes == 0, played, self.state.num_envs + played * slots_per_tree + nodes - 1)

    def rollout_slots(self, trees: np.ndarray) -> np.ndarray:
        """``(2 n,)``, the memory slots of these trees' two rollouts."""
        first = self.state.num_envs * self.trees.children_prior_logits.shape[1]
        return (first + self.rows.env_ids[trees, None] * _ROLLOUTS + np.arange(_ROLLOUTS)).ravel()
