"""A conversation in the terminal."""

import numpy as np

from benchmarks.play.chat import chat_in_terminal, the_conversation
from benchmarks.play.policy import PolicyOutput, RandomPolicy
from benchmarks.tasks import Suite, Task, TaskConfig
from tests.conftest import make_task

TASK = Task.resolve("words/replies", TaskConfig(family="words", env_id="replies"))


class Echo(RandomPolicy):
    """Writes the prompt again."""

    name = "echo"

    def act(self, inputs, state):
        [rows] = inputs
        prompt, _, written = bytes(rows.observations["text"][0]).rstrip(b"\0").partition(b"\n")
        byte = np.array([[*prompt, 0][len(written)]])
        return [PolicyOutput(byte, byte)], state


def talk(*lines, capsys):
    left = list(lines)

    def read(question):
        if not left:
            raise EOFError
        return left.pop(0)

    chat_in_terminal(Echo(), TASK, 0, read)
    return capsys.readouterr().out.splitlines()


def test_each_line_is_answered(capsys):
    said = talk("Hello", "  how are you?", "", "/q", "never", capsys=capsys)
    assert said[0] == "echo answers each line by itself. Type /q to leave." and said[1:] == ["Hello", "how are you?"]


def test_a_line_that_does_not_fit_is_refused_and_the_talk_goes_on(capsys):
    said = talk("a" * 97, "¿?", "yes", capsys=capsys)
    assert "97 bytes, and the limit is 96: shorten it" in said[1] and "kwargs" not in said[1]
    assert "not ASCII" in said[2] and said[3] == "yes"


def test_the_conversation_of_a_suite():
    assert the_conversation(Suite("a", (make_task(), TASK))) == TASK
    assert the_conversation(Suite("a", (make_task(),))) is None
