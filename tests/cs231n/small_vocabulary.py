"""A vocabulary of nine words for CaptioningRNN and CaptioningSolver of the assignment."""

WORDS = ["<NULL>", "<START>", "<END>", "<UNK>", "a", "red", "ball", "near", "dog"]
WORD_TO_IDX = {word: i for i, word in enumerate(WORDS)}
