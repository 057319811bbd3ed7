"""Words to ids and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.vocabulary import END, NULL, SPECIAL, START, UNK, Vocab
from captioner.errors import DataError

WORDS = st.sampled_from(["a", "red", "ball", "near", "straße", "的", "don't", "<b>", "Ball"])
CAPTIONS = st.lists(st.lists(WORDS, max_size=5), max_size=6)


def test_special_tokens_may_have_any_id() -> None:
    vocab = Vocab(["cat", UNK, END, "dog", NULL, START])
    assert (vocab.null, vocab.start, vocab.end, vocab.unk) == (4, 5, 2, 1)
    assert vocab.encode([["dog", "cow"], []]).tolist() == [[5, 3, 1, 2], [5, 2, 4, 4]]
    assert vocab.decode([5, 3, 1, 4, 2, 0]) == ["dog", UNK]


@pytest.mark.parametrize("token", SPECIAL)
def test_a_missing_special_token_is_reported(token: str) -> None:
    with pytest.raises(DataError, match=f"vocabulary: {token} is missing; expected all of <NULL> <START> <END> <UNK>"):
        Vocab([word for word in (*SPECIAL, "cat") if word != token])


def test_a_duplicate_word_is_an_error() -> None:
    with pytest.raises(DataError, match="vocabulary: duplicate word 'cat'") as error:
        Vocab([*SPECIAL, "dog", "cat", "cow", "cat"])
    assert "\n" not in str(error.value)


def test_words_are_ordered_by_count_and_code_point() -> None:
    vocab = Vocab.build([["b", "a"], ["c", "b"], ["b", "c", "d"]])
    assert vocab.words == (*SPECIAL, "b", "c", "a", "d")


COUNTED = [["b", "a", "b"], ["c", "b"], ["a", "c", "d"], [END, END, END, END]]


@pytest.mark.parametrize(("min_count", "words"), [(1, "bacd"), (2, "bac"), (3, "b"), (4, "")])
def test_rare_words_are_excluded(min_count: int, words: str) -> None:
    vocab = Vocab.build(COUNTED, min_count)
    assert vocab.words == (*SPECIAL, *words)
    assert vocab.decode(vocab.encode([["d"]])[0]) == ["d" if "d" in words else UNK]


@pytest.mark.parametrize("word", ["a\x07", "", "a b", "a\u00a0", " "])
def test_words_that_are_not_printable_or_have_spaces_are_rejected(word: str) -> None:
    with pytest.raises(DataError) as error:
        Vocab([*SPECIAL, "a", word])
    assert str(error.value) == f"vocabulary: word 5: expected a printable word without spaces, got {word!r}"


def test_a_long_word_is_rejected_and_not_built() -> None:
    longest = "a" * 1000
    assert Vocab.build([[longest, longest + "a", "b"]]).words == (*SPECIAL, longest, "b")
    with pytest.raises(DataError, match=r"^vocabulary: word 5: expected at most 1,000 characters, got 300,000$"):
        Vocab([*SPECIAL, longest, 300 * longest])


def test_special_tokens_in_captions_are_not_words() -> None:
    assert Vocab.build([[START, "a", END, NULL], [UNK]]).words == (*SPECIAL, "a")


@given(CAPTIONS)
def test_encode_and_decode_are_inverse(captions: list[list[str]]) -> None:
    vocab = Vocab.build(captions)
    rows = vocab.encode(captions)
    assert rows.dtype == np.int32
    assert rows.shape == (len(captions), 2 + max(map(len, captions), default=0))
    assert [vocab.decode(row) for row in rows] == captions
    for row, words in zip(rows, captions, strict=True):
        assert row[0] == vocab.start
        assert row[1 + len(words)] == vocab.end
        assert (row[2 + len(words) :] == vocab.null).all()
        assert not np.isin(row[1 : 1 + len(words)], [vocab.null, vocab.start, vocab.end, vocab.unk]).any()


def test_vocabularies_differ_by_their_words_and_order() -> None:
    vocab = Vocab([*SPECIAL, "a", "b"])
    again = Vocab.build([["b"], ["a", "a"], ["b"]])
    assert vocab == again
    assert (len(vocab), hash(vocab)) == (6, hash(again))
    assert vocab != Vocab([*SPECIAL, "b", "a"])
    assert vocab != [*SPECIAL, "a", "b"]


def test_decoding_stops_at_the_first_end() -> None:
    vocab = Vocab.build([["a", "b"]])
    assert vocab.decode(np.array([4, 2, 5, 5])) == ["a"]
    assert vocab.decode([0, 1, 4, 0, 5]) == ["a", "b"]
    assert vocab.decode([]) == []
