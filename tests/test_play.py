"""The stage ``play`` on the command line."""

import io
import sys

import pytest

from benchmarks.base.artifacts import describe_files, write_manifest
from generalist.network.network import save_network
from tests.codecs import plain_codec
from tests.conftest import small_network
from tests.test_gatito import fails_with

pytest.importorskip("pyspiel")


def test_a_person_plays_against_the_expert_from_standard_input(gatito_inside, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("4\nq\n"))
    done = gatito_inside("stages=[play]", "suite=games", "tasks=[tic-tac-toe]", "generalist=none", "tracking=none")
    assert done.returncode == 0 and not done.stderr
    assert "3 x 5" in done.stdout and "expert (o) plays " in done.stdout
    assert not (tmp_path / "results").exists()


def test_without_a_run_a_person_plays_against_the_released_network(gatito_inside, tmp_path, monkeypatch):
    codec = plain_codec(board_features=4, discrete_actions=9, critic=1)
    folder = tmp_path / "results" / "games" / "generalist"
    folder.mkdir(parents=True)
    save_network(folder, small_network(codec, 16, ("games/tic-tac-toe",)), {})
    write_manifest(folder, {"files": describe_files(folder), "complete": True})
    monkeypatch.setattr(sys, "stdin", io.StringIO("4\nq\n"))
    done = gatito_inside("stages=[play]", "suite=games", "tasks=[tic-tac-toe]", "tracking=none")
    assert done.returncode == 0, done.stderr
    assert "has no generalist yet: here is the one in" in done.stderr and "(o) plays " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["suite=classic"], ["suite classic has no board game"]),
        (["suite=games"], ["there are tic-tac-toe, connect-four, breakthrough, hex: name one"]),
        (["suite=games", "tasks=[hex]", "generalist.released=mine"], ["run with stages=[experts,distill,ida] first"]),
        (["suite=games", "tasks=[hex]", "generalist=released", "generalist.released=mine"], ["mine has no generalist"]),
    ],
)
def test_without_a_game_or_a_player_there_is_one_line(arguments, words, gatito_inside):
    fails_with(gatito_inside("stages=[play]", "tracking=none", *arguments), *words)


def test_nobody_talks_without_a_conversation_or_a_network(gatito_inside):
    for arguments, words in (
        (["suite=classic"], "suite classic has no task to talk in: suite=words and suite=gato29 have one"),
        (["suite=words", "generalist=none"], "no expert can talk"),
        (["suite=words"], "run with stages=[experts,record,distill,ida] first"),
        (["suite=words", "generalist=released", "generalist.released=mine"], "mine has no generalist"),
    ):
        fails_with(gatito_inside("stages=[chat]", "tracking=none", *arguments), words)
