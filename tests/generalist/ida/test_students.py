"""What a round's student starts from."""

from dataclasses import replace

import pytest
import torch

from benchmarks.play.rollout import rollout
from generalist.ida.run import make_rounds
from generalist.network.network import load_network
from generalist.network.policy import NetworkPolicy
from tests.generalist.ida.test_ida import CONFIG, TASK, make_ida


@pytest.mark.parametrize("fresh", [False, True])
def test_students_start_with_random_weights_or_the_weights_before(tmp_path, fresh):
    ida = make_ida(tmp_path, replace(CONFIG, rounds=1, control=False, updates=1, learning_rate=1e-12, fresh=fresh))
    make_rounds(ida)
    [student] = (load_network(each.student.folder).state_dict() for each in ida.rounds)
    same = [
        torch.allclose(student[name], weights) for name, weights in load_network(ida.start.folder).state_dict().items()
    ]
    assert all(same) == (not fresh)


def test_students_may_have_a_longer_context(tmp_path):
    ida = make_ida(tmp_path, replace(CONFIG, rounds=2, context_length=8, updates=4))
    make_rounds(ida)
    assert load_network(ida.start.folder).model.context_length == 4
    assert {load_network(each.student.folder).model.context_length for each in ida.rounds} == {8}
    policy = NetworkPolicy.load(ida.rounds[-1].student.folder, [TASK])
    assert list(rollout(policy, {TASK: range(2)}))
    assert (ida.distill.sequence_length, ida.distill.batch_size) == (8, 4)  # as many steps as in 8 sequences of 4
    assert replace(ida, config=replace(ida.config, batch_size=6)).distill.batch_size == 6
