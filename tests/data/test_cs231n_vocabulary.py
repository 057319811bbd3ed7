"""The source cs231n rejects an invalid vocabulary."""

import json

import pytest
from cs231n_folders import WORDS, refusal

from captioner.data.cs231n import cs231n

WORD = "expected a word without spaces, got "
BAD_VOCABS = {
    "not json": ("words:\n  - a\n", "invalid JSON: Expecting value: line 1 column 1 (char 0)"),
    "a list": (json.dumps(WORDS[:1]), "expected an object with the list idx_to_word, got ['<NULL>']"),
    "no list": ('{"idx_to_word": 3}', "expected an object with the list idx_to_word, got {'idx_to_word': 3}"),
    "a number": (json.dumps({"idx_to_word": [*WORDS, 7]}), "idx_to_word[6]: " + WORD + "7"),
    "nothing": (json.dumps({"idx_to_word": ["", *WORDS]}), "idx_to_word[0]: " + WORD + "''"),
    "two words": (json.dumps({"idx_to_word": [*WORDS, "a b"]}), "idx_to_word[6]: " + WORD + "'a b'"),
    "a line end": (json.dumps({"idx_to_word": [*WORDS, "a\n"]}), "idx_to_word[6]: " + WORD + "'a\\n'"),
    "half a letter": (json.dumps({"idx_to_word": [*WORDS, "\ud800"]}), "idx_to_word[6]: " + WORD + "'\\ud800'"),
    "a word twice": (
        json.dumps({"idx_to_word": [*WORDS, "cat"]}),
        "vocabulary: duplicate word 'cat'; each word needs one id",
    ),
    "no end": (
        json.dumps({"idx_to_word": [word for word in WORDS if word != "<END>"]}),
        "vocabulary: <END> is missing; expected all of <NULL> <START> <END> <UNK>",
    ),
    "no inverse": (
        json.dumps({"idx_to_word": WORDS, "word_to_idx": WORDS}),
        f"word_to_idx: expected an object, got {WORDS!r:.60}",
    ),
    "another id": (
        json.dumps({"idx_to_word": WORDS, "word_to_idx": {**{w: i for i, w in enumerate(WORDS)}, "cat": 4}}),
        "word_to_idx: 'cat': expected 5 as in idx_to_word, got 4",
    ),
    "a word too few": (
        json.dumps({"idx_to_word": WORDS, "word_to_idx": {w: i for i, w in enumerate(WORDS[:-1])}}),
        "word_to_idx: 'cat': expected 5 as in idx_to_word, got None",
    ),
    "a word too many": (
        json.dumps({"idx_to_word": WORDS, "word_to_idx": {**{w: i for i, w in enumerate(WORDS)}, "dog": 6}}),
        "word_to_idx: 'dog': expected None as in idx_to_word, got 6",
    ),
}


@pytest.mark.parametrize(("text", "problem"), BAD_VOCABS.values(), ids=BAD_VOCABS)
def test_an_invalid_vocabulary_is_rejected(cs231n_folder, text, problem):
    (cs231n_folder / "coco2014_vocab.json").write_text(text)
    assert refusal(cs231n_folder) == f"coco2014_vocab.json: {problem}"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"idx_to_word": ' + "9" * 5000 + "}"])
def test_unparsable_json_is_rejected(cs231n_folder, text):
    (cs231n_folder / "coco2014_vocab.json").write_text(text)
    assert refusal(cs231n_folder).startswith("coco2014_vocab.json: invalid JSON: ")


def test_the_inverse_vocabulary_is_optional(cs231n_folder):
    (cs231n_folder / "coco2014_vocab.json").write_text(json.dumps({"idx_to_word": WORDS}))
    assert cs231n(cs231n_folder).vocab.words == tuple(WORDS)
