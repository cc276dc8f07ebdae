"""Nodes of a Ray cluster that leave it while they are asked whether they start jobs."""

from types import SimpleNamespace

import pytest

from benchmarks.base.errors import FatalError
from benchmarks.runs.engines.ray_engine import _check_nodes

pytest.importorskip("ray")


def cluster(alive_later):
    """One node, which starts no job."""

    class RayError(Exception):
        pass

    def get(sent, timeout):
        raise RayError("the node does not exist any more")

    node = {"NodeID": "00" * 28, "NodeManagerAddress": "192.0.2.1"}
    answers = iter([True, alive_later])
    task = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *_: None))
    return SimpleNamespace(
        remote=lambda **_: lambda function: task,
        nodes=lambda: [{**node, "Alive": next(answers)}],
        get=get,
        exceptions=SimpleNamespace(RayError=RayError),
    )


def test_a_node_that_has_left_is_no_error(tmp_path):
    _check_nodes(cluster(alive_later=False), tmp_path)


def test_a_node_that_starts_no_job_is_one(tmp_path):
    with pytest.raises(FatalError, match=r"Ray node 192\.0\.2\.1 does not start a job"):
        _check_nodes(cluster(alive_later=True), tmp_path)
