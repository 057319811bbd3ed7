"""The words of captions: counted by hand on a data set of two images."""

import numpy as np

from captioner.data.corpus import Split
from captioner.data.vocabulary import Vocab
from captioner.report.report_tables import WordShare, word_use

VOCAB = Vocab(["<NULL>", "<START>", "<END>", "<UNK>", "a", "dog", "cat", "runs", "sleeps"])
CAPTIONS = [["a", "dog", "runs"], ["a", "dog"], ["a", "cat", "a", "cat"], ["dog"]]
SPLIT = Split(
    VOCAB.encode(CAPTIONS), np.array([0, 0, 1, 1], np.int32), np.zeros((3, 2), np.float32), ["one", "two", "three"]
)


def test_words_are_counted() -> None:
    use = word_use(["a cat", "a cat", "a a dog"], {"unk": 0.25, "distinct": 2}, SPLIT, VOCAB)
    assert use.rows == [WordShare("a", 1.0, 0.75), WordShare("cat", 2 / 3, 0.25), WordShare("dog", 1 / 3, 0.75)]
    assert use.never.rows == [["runs", "1"]]
    assert use.repeated.rows == [["a cat", "2"]]
    assert use.summary == (
        "3 of 5 words of the vocabulary are used, 1 words of the references are not. "
        "25.0% of the words are <UNK>, and 2 of 3 captions are distinct."
    )


def test_empty_captions_are_counted_too() -> None:
    use = word_use(["", ""], {"unk": 0.0, "distinct": 1}, SPLIT, VOCAB)
    assert (use.rows, use.repeated.rows) == ([], [["(no words)", "2"]])
    assert use.never.rows == [["a", "3"], ["dog", "3"], ["cat", "1"], ["runs", "1"]]
