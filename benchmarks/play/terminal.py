"""Board games in the terminal, a person against a policy.

Run by ``gatito stages=[play]``.
"""

import itertools
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import cast

import numpy as np

from benchmarks.base import console
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import derive, stream
from benchmarks.play.policy import Policy
from benchmarks.play.slots import Slot, policy_input
from benchmarks.tasks import Suite, Task, make_env
from benchmarks.tasks.games import as_self_play
from benchmarks.tasks.games.environment import BoardGame
from benchmarks.tasks.games.notation import diagram, legal_moves

_QUIT = "q"
_SIDES = "xo"


def the_game(suite: Suite) -> Task:
    """The only game of a suite.

    Raises:
        GatitoError: if it has none or several.
    """
    games = [task for task in suite if task.family == "games"]
    if not games:
        raise GatitoError(f"suite {suite.name} has no board game to play: suite=games tasks=[connect-four] is one.")
    if len(games) > 1:
        names = ", ".join(task.name.partition("/")[2] for task in games)
        first = names.partition(",")[0]
        raise GatitoError(f"stages=[play] plays one game, and there are {names}: name one, such as tasks=[{first}].")
    return games[0]


def play_in_terminal(policy: Policy, task: Task, seed: int, read: Callable[[str], str] = input) -> None:
    """Play games until the person leaves; colours change after each one.

    Args:
        policy: the policy to play against.
        task: a task of family ``games``.
        seed: decides the policy's random choices.
        read: asks for a line; raises EOFError at the end of the input.
    """
    both = as_self_play(task)  # the moves of both sides are steps
    slot = Slot(0, both, make_env(both))
    with closing(slot.env):
        console.say(f"{task.name} against {policy.name}. Type a move, or {_QUIT} to leave.")
        for number in itertools.count():
            person = number % 2
            slot.rng = stream("play", task.name, policy.name, seed, number)
            slot.reset(derive("play", seed, number))
            if not _play(policy, slot, person, read) or _answer(read, "Enter for another game, q to leave: ") is None:
                return


def _play(policy: Policy, slot: Slot, person: int, read: Callable[[str], str]) -> bool:
    """One game; returns False if the person has left."""
    game = cast(BoardGame, slot.env.unwrapped)
    memory, first = policy.initial_state(1), True
    console.say(f"You are {_SIDES[person]}; x begins.")
    while not game.state.is_terminal():
        if game.state.current_player() == person:
            action = _ask(game, read)
            if action is None:
                return False
        else:
            rows = replace(policy_input(slot.task, [slot]), episode_start=np.array([first]), rewards=np.zeros(1))
            [output], memory = policy.act([rows], memory)
            action, first = int(output.actions[0]), False
            value = "" if output.values is None else f", value {float(output.values[0]):+.2f} for it"
            name = next((name for name, known in legal_moves(game.board, game.state).items() if known == action), "?")
            console.say(f"{policy.name} ({_SIDES[1 - person]}) plays {name}{value}")
        slot.step(np.asarray(action))
    console.say(diagram(game.board, game.state))
    outcome = game.state.player_return(person)
    console.say("You have won." if outcome > 0 else "You have lost." if outcome < 0 else "It is a draw.")
    return True


def _ask(game: BoardGame, read: Callable[[str], str]) -> int | None:
    """The person's move, a canonical action; None to leave."""
    legal = legal_moves(game.board, game.state)
    console.say(diagram(game.board, game.state))
    while (answer := _answer(read, f"your move ({', '.join(legal)}): ")) is not None:
        if answer in legal:
            return legal[answer]
        console.say(f"'{answer}' is no legal move: type one of {', '.join(legal)}, or {_QUIT} to leave.")
    return None


def _answer(read: Callable[[str], str], question: str) -> str | None:
    """What the person types, in lower case; None to leave."""
    try:
        answer = read(question).strip().lower()
    except EOFError:
        console.say("")
        return None
    return None if answer == _QUIT else answer
