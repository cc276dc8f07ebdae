"""Items: right by construction, and never on both sides."""

import json
from itertools import product

import numpy as np
import pytest
from PIL import Image

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.tasks import Task, TaskConfig
from benchmarks.tasks.words.corpora import Digits, Language, Replies, documentation
from benchmarks.tasks.words.items import SIDE, check_item
from benchmarks.tasks.words.metrics import SCORES, chrf, exact, named, predicted
from benchmarks.tasks.words.scenes import COLOURS, HELD_OUT, KINDS, Captions, Questions, _tiles
from benchmarks.tasks.words.sources import make_source

KINDS_OF_ITEMS = ("captions", "questions", "digits", "replies", "language")


def items(source, test, count=300):
    return [source.draw(np.random.default_rng(seed), test) for seed in range(count)]


def seen_in(image):
    """The names of all objects in a room's picture, and their cells."""
    size = SIDE // 7
    found = {}
    for row, column in product(range(7), range(7)):
        tile = image[row * size : (row + 1) * size, column * size : (column + 1) * size]
        [name] = [name for name, known in _tiles().items() if np.array_equal(known, tile)]
        if name not in ("wall", "floor"):
            found.setdefault(name, []).append((column, row))
    return found


@pytest.mark.parametrize("kind", KINDS_OF_ITEMS)
@pytest.mark.parametrize("test", [False, True])
def test_every_item_fits_its_source_and_its_reference_scores_one(kind, test):
    source = make_source(kind, {}, "words/x")
    for item in items(source, test):
        check_item(item, source, kind)
        assert all(SCORES[source.metric](text, item.references) > 0.999 for text in item.references)


def test_captions_name_what_the_picture_shows():
    for test in (False, True):
        for item in items(Captions(), test):
            things = seen_in(item.image)
            assert item.references == (", ".join(sorted(things)),)
            assert sum(map(len, things.values())) == len(things)
            assert any(" ".join(pair) in things for pair in HELD_OUT) == test


def test_answers_are_true_of_the_picture():
    kinds = set()
    for test in (False, True):
        for item in items(Questions(), test, 600):
            things, [answer], words = seen_in(item.image), item.references, item.prompt.rstrip("?").split()
            kinds.add((words[0], answer))
            if words[0] == "what":
                assert [name for name in things if name.split()[1] == words[-1]] == [f"{answer} {words[-1]}"]
            elif words[0] == "how":
                counted = [len(cells) for name, cells in things.items() if words[-1].startswith(name.split()[1])]
                assert int(answer) == sum(counted)
            elif words[0] == "where":
                [(column, row), *_] = [cell for cell in things[" ".join(words[-2:])]]
                assert answer == f"{'top' if row < 3 else 'bottom'} {'left' if column < 3 else 'right'}"
            else:
                assert (answer == "yes") == (" ".join(words[-2:]) in things)
    assert {answer for word, answer in kinds if word == "how"} == {"0", "1", "2", "3"}
    assert {answer for word, answer in kinds if word == "is"} == {"yes", "no"}


def test_held_out_pairs_are_neither_shown_nor_named_in_training_and_always_at_test():
    held = {" ".join(pair) for pair in HELD_OUT}
    assert all(colour in COLOURS and kind in KINDS for colour, kind in HELD_OUT)
    for item in items(Questions(), False, 600):
        assert not held & set(seen_in(item.image)) and not any(name in item.prompt for name in held)
    for item in items(Questions(), True, 600):
        assert held & set(seen_in(item.image)) or any(name in item.prompt for name in held)


def test_no_digit_prompt_or_passage_is_on_both_sides():
    for source, key in ((Digits(), lambda item: item.image.tobytes()), (Replies(), lambda item: item.prompt.lower())):
        train, test = ({key(item) for item in items(source, side, 3000)} for side in (False, True))
        assert train and test and not train & test
    train, test = documentation()
    passages = {test[start : start + 64] for start in range(0, len(test) - 64, 7)}
    assert len(test) > 20_000 and len(train) > 6 * len(test)
    assert sum(passage in train for passage in passages) <= 0.02 * len(passages)  # short paragraphs' ends, lists
    paragraphs = [{" ".join(part.split()) for part in text.split("\n\n")} - {""} for text in (train, test)]
    assert not paragraphs[0] & paragraphs[1]


def test_an_episodes_seed_decides_its_side():
    task = Task.resolve("words/captions", TaskConfig(family="words", env_id="captions"))
    from benchmarks.tasks import make_env

    env = make_env(task)
    for purpose in Purpose:
        env.reset(seed=episode_seed(purpose, 3))
        shown = set(env.unwrapped.item.references[0].split(", "))
        held = bool(shown & {" ".join(pair) for pair in HELD_OUT})
        assert held == (purpose in (Purpose.TEST, Purpose.HELD_OUT))


def test_a_dialogues_prompt_has_all_of_its_replies():
    source = Replies()
    item = next(item for item in items(source, False, 3000) if item.prompt == "Are you sentient?")
    assert {"Sort of.", "By the strictest dictionary definition of the word 'sentience', I may be."} <= {
        *item.references
    }


def test_language_shows_the_bytes_before_its_passage():
    item = Language(10, 20).draw(np.random.default_rng(0), True)
    assert len(item.prompt) == 10 and len(item.references[0]) == 20
    assert item.prompt + item.references[0] in documentation()[1]


def test_scores_of_answers_by_hand():
    assert exact(" yes ", ["yes"]) == 1 and exact("Yes", ["yes"]) == 0 and exact("", ["no"]) == 0
    assert named("red ball, blue key", ["blue key, red ball"]) == 1
    assert named("red ball", ["blue key, red ball"]) == pytest.approx(2 / 3)
    assert named("red ball, red ball, a", ["red ball"]) == pytest.approx(2 / 3)
    assert named("", ["red ball"]) == 0 and named("green", ["red ball", "green"]) == 1
    assert predicted("abxd", ["abcd"]) == 0.75 and predicted("", ["abcd"]) == 0
    assert chrf("the cat", ["the cat"]) == 1 and chrf("zzz", ["the cat"]) == 0


def test_f1_of_what_is_named_is_scikit_learns():
    from sklearn.metrics import f1_score

    things = ["red ball", "blue key", "grey box", "green ball"]
    rng = np.random.default_rng(0)
    for _ in range(50):
        truth, answer = (rng.random((2, 4)) < 0.5) | (np.arange(4) == 0)
        texts = [", ".join(np.array(things)[row]) for row in (truth, answer)]
        assert named(texts[1], [texts[0]]) == pytest.approx(f1_score(truth, answer))


def own(tmp_path, *lines, **kwargs):
    file = tmp_path / "items.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    config = TaskConfig(family="words", env_id="own", kwargs={"file": str(file), **kwargs})
    return Task.resolve("words/mine", config)


GOOD = {"prompt": "2+2?", "references": ["4", "four"]}
OTHER = {"prompt": "1+1?", "references": ["2"], "test": True}


def test_items_of_ones_own_are_read_and_change_the_task(tmp_path):
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(tmp_path / "black.png")
    task = own(tmp_path, GOOD | {"image": "black.png"}, OTHER | {"image": "black.png"}, score="chrf")
    source = make_source("own", {name: value for name, value in task.kwargs.items() if name != "data"}, "words/mine")
    assert source.metric == "chrf" and source.has_images and task.horizon == 97
    assert source.draw(np.random.default_rng(0), True).prompt == "1+1?"
    before = task.digest
    Image.fromarray(np.full((SIDE, SIDE, 3), 9, np.uint8)).save(tmp_path / "black.png")
    assert own(tmp_path, GOOD | {"image": "black.png"}, OTHER | {"image": "black.png"}, score="chrf").digest != before


@pytest.mark.parametrize(
    ("lines", "kwargs", "words"),
    [
        ([GOOD], {}, "no items with test: true"),
        (["{"], {}, "line 1 is not JSON"),
        ([[1]], {}, "must read"),
        ([GOOD | {"answer": "4"}], {}, "unknown key 'answer'"),
        ([GOOD | {"test": "yes"}], {}, "test is true or false"),
        ([{"prompt": "a", "references": [""]}], {}, "empty reference"),
        ([{"prompt": "a", "references": []}], {}, "empty reference"),
        ([{"prompt": "a" * 97, "references": ["b"]}], {}, "97 bytes, and the limit is 96"),
        ([{"prompt": "a", "references": ["bbb"]}], {"longest_answer": 2}, "3 bytes, and the limit is 2"),
        ([{"prompt": "é", "references": ["b"]}], {}, "not ASCII"),
        ([GOOD | {"image": "no.png"}], {}, "cannot be read"),
        ([GOOD | {"image": "small.png"}], {}, "20 x 30 x 3, not 84 x 84 x 3"),
        ([GOOD | {"image": "good.png"}, OTHER], {}, "either all items"),
        ([GOOD, OTHER], {"score": "bleu"}, "unknown score 'bleu'"),
        ([GOOD, OTHER], {"longest_prompt": 0}, "must be a positive number"),
        ([GOOD, OTHER], {"files": 1}, "unknown argument"),
    ],
)
def test_bad_items_get_one_line(lines, kwargs, words, tmp_path):
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "small.png")
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(tmp_path / "good.png")
    with pytest.raises(GatitoError, match=words) as error:
        own(tmp_path, *lines, **kwargs)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_unknown_kinds_get_one_line():
    for env_id, kwargs, words in (
        ("own", {"file": "nowhere.jsonl"}, "there is no file nowhere.jsonl"),
        ("own", {}, "kwargs: {file: PATH}"),
        ("stories", {}, "unknown kind of items"),
        ("captions", {"rooms": 3}, "unknown argument"),
    ):
        with pytest.raises(GatitoError, match=words):
            Task.resolve("words/x", TaskConfig(family="words", env_id=env_id, kwargs=kwargs))
