"""A conversation in the terminal: a person's lines are prompts, and a policy writes the replies.

Run by ``gatito stages=[chat]``.
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
from benchmarks.tasks.words.environment import Writing
from benchmarks.tasks.words.items import Item, check_item

_QUIT = "/q"


def the_conversation(suite: Suite) -> Task | None:
    """The suite's task of replies; None if it has none."""
    return next((task for task in suite if task.family == "words" and task.env_id == "replies"), None)


def chat_in_terminal(policy: Policy, task: Task, seed: int, read: Callable[[str], str] = input) -> None:
    """Answer lines until the person leaves. Each line is answered by itself: the policy sees no earlier ones.

    Args:
        policy: the policy that answers.
        task: a task of family ``words`` without images.
        seed: decides the policy's random choices.
        read: asks for a line; raises EOFError at the end of the input.
    """
    slot = Slot(0, task, make_env(task))
    with closing(slot.env):
        source = cast(Writing, slot.env.unwrapped).source
        console.say(f"{policy.name} answers each line by itself. Type {_QUIT} to leave.")
        for number in itertools.count():
            line = _line(read)
            if line is None:
                return
            try:
                check_item(Item(line, ("-",)), source, "your line")
            except GatitoError as error:
                console.say(str(error).partition(", or raise")[0])
                continue
            slot.rng = stream("chat", task.name, policy.name, seed, number)
            slot.reset(derive("chat", seed, number), {"prompt": line})
            console.say(_reply(policy, slot))


def _reply(policy: Policy, slot: Slot) -> str:
    """Play one episode; returns what was written."""
    memory = policy.initial_state(1)
    while not (slot.terminated or slot.truncated):
        rows = replace(policy_input(slot.task, [slot]), rewards=np.zeros(1))  # a score means nothing here
        [output], memory = policy.act([rows], memory)
        slot.step(np.asarray(output.actions[0]))
    return cast(Writing, slot.env.unwrapped).answer


def _line(read: Callable[[str], str]) -> str | None:
    """What the person types; None to leave."""
    while True:
        try:
            line = read("> ").strip()
        except EOFError:
            console.say("")
            return None
        if line:
            return None if line == _QUIT else line
