"""Words in miniature: the whole loop on the command line, then a talk in a pseudo-terminal."""

import csv
import os
import pty
import subprocess
import sys

import pytest

from tests.conftest import ROOT, gatito

TINY = [
    "experiment=words",
    "tasks=[captions,replies,language]",
    "record.tasks={words/captions: 300, words/questions: 300, words/language: 300}",
    "record.env_steps=300",
    "record.random_env_steps=200",
    "distill.updates=3",
    "model.layers=1",
    "model.width=32",
    "model.feedforward=32",
    "evaluate.episodes=3",
    "controls.agents=[trigram,retrieval]",
    "experts.gate_episodes=2",
    "clips.agents=[expert,generalist]",
    "tracking=none",
    "name=w",
    "workers=1",
]


def talk(folder, *lines):
    """The output of a talk in a pseudo-terminal."""
    ours, theirs = pty.openpty()
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = [sys.executable, str(ROOT / "gatito.py"), *TINY, "stages=[chat]"]
    process = subprocess.Popen(command, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, "".join(f"{line}\n" for line in lines).encode())
    said = b""
    while True:
        try:
            said += os.read(ours, 1024)
        except OSError:  # the other side is closed
            break
    os.close(ours)
    return process.wait(timeout=60), said.decode()


@pytest.mark.slow
def test_words_are_learned_scored_shown_and_spoken(tmp_path):
    done = gatito(*TINY, cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "results" / "runs" / "w"
    texts = list(csv.DictReader((run / "texts.csv").open(encoding="utf-8", newline="")))
    assert {row["agent"] for row in texts} == {"random", "expert", "generalist", "trigram", "retrieval"}
    assert len(texts) == 5 * 3 * 3
    bits = {row["agent"]: float(row["bits"]) for row in texts if row["task"] == "words/language" and row["bits"]}
    assert set(bits) == {"generalist", "trigram"} and all(0 < value < 9 for value in bits.values())
    quantities = {(row["task"], row["quantity"]) for row in csv.DictReader((run / "words.csv").open(encoding="utf-8"))}
    assert ("words/captions", "F1") in quantities and ("words/replies", "chrF") in quantities
    page = (run / "index.html").read_text(encoding="utf-8")
    assert page.count('alt="The picture that is asked about"') == 3 and "Bits per byte" in page
    assert (run / "clips" / "words" / "captions" / "clip.mp4").exists()
    assert gatito("stages=[verify]", "runs=[w]", "tracking=none", cwd=tmp_path).returncode == 0
    code, said = talk(tmp_path, "Hello", "¿?", "/q")
    assert code == 0 and "answers each line by itself" in said and "not ASCII" in said and "Traceback" not in said


def test_an_experiments_weights_of_other_tasks_are_left_out(gatito_inside):
    done = gatito_inside("experiment=words", "tasks=[digits]", "stages=[list]")
    assert done.returncode == 0 and "words/digits" in done.stdout and "words/captions" not in done.stdout, done.stderr
    done = gatito_inside("experiment=words", "+distill.weights={word: 2}", "stages=[list]")
    assert done.returncode and "unknown task in distill.weights 'word'" in done.stderr
