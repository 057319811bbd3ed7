"""Decoding methods from the decode section: options are passed on, and suppressed words are validated."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from captioner.captioning.decoding import decoding_method
from captioner.config.options import Decode
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.decode import Constraints, beam, greedy, sample
from captioner.errors import ConfigError

VOCAB = Vocab([*SPECIAL, "a", "cat", "dog", "sat"])
WORDS: dict[str, Any] = {"start": 1, "end": 2, "null": 0}
TABLE = 2 * np.random.default_rng(0).standard_normal((9, 8))
TABLE -= np.log(np.exp(TABLE).sum(axis=1, keepdims=True))
IMAGES = np.array([3, 1, 4])


def step(tokens: np.ndarray, state: Any) -> Any:
    return TABLE[tokens], state


def written(options: Decode, best: int = 1) -> Any:
    return decoding_method(options, VOCAB, best).decode(step, (np.zeros(3),), IMAGES)


@pytest.mark.parametrize(("best", "width"), [(1, 1), (2, 4), (4, 4), (6, 6)])
def test_the_beam_is_widened_to_n_best(best: int, width: int) -> None:
    method = decoding_method(Decode(beam_width=1 if width == 1 else 4), VOCAB, best)
    tokens, _ = method.decode(step, (np.zeros(3),), IMAGES)
    assert method.width == tokens.shape[1] == width


EXAMPLES = {
    "greedy": (Decode(), greedy, Constraints([0, 1, 3]), {}),
    "unk": (Decode(suppress_unk=False), greedy, Constraints([0, 1]), {}),
    "suppress": (Decode(suppress_words=" dog,a , ,"), greedy, Constraints([0, 1, 3, 6, 4]), {}),
    "limits": (Decode(min_length=4, no_repeat_ngram=1, max_length=6), greedy, Constraints([0, 1, 3], 4, 1), {}),
    "power": (Decode(beam_width=3, length_penalty=1.5), beam, Constraints([0, 1, 3]),
              {"width": 3, "length_penalty": 1.5}),
    "sampling": (Decode(method="sampling", temperature=2.0, top_k=4, top_p=0.9, seed=5, min_length=2), sample,
                 Constraints([0, 1, 3], 2),
                 {"images": IMAGES, "temperature": 2.0, "top_k": 4, "top_p": 0.9, "seed": 5}),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_options_are_passed_to_the_decoding_method(name: str) -> None:
    config, decode, constraints, options = EXAMPLES[name]
    expected = decode(step, (np.zeros(3),), max_length=config.max_length, constraints=constraints, **options, **WORDS)
    for got, want in zip(written(config), expected, strict=True):
        np.testing.assert_array_equal(got, want)
    default = dataclasses.replace(Decode(), method=config.method, beam_width=config.beam_width)
    assert name == "greedy" or written(default)[0].tolist() != expected[0].tolist(), "the options change something"


UNKNOWN = {
    "cet": "cet (did you mean cat?)",
    "a, zebra,cat,axolotl": "axolotl, zebra",
    "<END>": "<END>",
}


@pytest.mark.parametrize("words", UNKNOWN)
def test_unknown_suppressed_words_are_rejected(words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        written(Decode(suppress_words=words))
    message = f"decode.suppress_words: expected words of the vocabulary, got {UNKNOWN[words]}"
    assert caught.value.problems[0].startswith(message)
