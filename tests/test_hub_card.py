"""The text that goes to the Hub with a network."""

import pytest

from gatito_hub import card
from tests.conftest import ROOT

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed: pip install 'gatito[hub]'")


def test_the_card_names_the_round_of_its_network_and_says_if_it_has_no_scores(capsys):
    facts = {"suite": "games", "seed": 0, "tasks": ["games/hex"]}
    cards = {
        round_: card(
            ROOT / "results" / "games" / "hex", "generalist", "me/hex", facts | ({"round": round_} if round_ else {})
        )
        for round_ in (None, 3, 20)
    }
    assert "1 task, after round 20)" in cards[20] and "after round" not in cards[None]
    assert "model-index" in cards[20] and "model-index" not in cards[3]
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("the card has no scores of") == 1 and "generalist round 3" in told and "score_every=1" in told
