"""Texts to words and back: in any script, without punctuation, and never a special token."""

import doctest
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from captioner.data import vocabulary
from captioner.data.vocabulary import CLITICS, SPECIAL, Vocab, join, normalize, tokenize
from captioner.errors import JOINERS

# plain text hardly ever has a clitic or an accent apart from its letter
PIECES = (
    "a b n t s d 1 2 A İ Σ é e\u0301 \u0301 \u0345 Ί n't 's 'd 've ' - . , .b.a _ < > <END> 猫 か \u3099 々 한 कि क "
    "\u200d \u200c ی ক্ \u200b \ufe0f \u034f \u2800 \u3164 ❤️ 👍🏽 \ud800 \0 \x1c \u2028 ’ % # ½ ٣"
)
ODD = st.sampled_from([" ", *PIECES.split(" ")])
TEXTS = st.text(max_size=30) | st.lists(ODD, max_size=12).map("".join)


def test_docstring_examples() -> None:
    assert doctest.testmod(vocabulary) == (0, 2)


WORDS = {
    "A child in a pink dress .": "a child in a pink dress",
    'The dog, (brown) "runs"; fast!? [yes] {no}': "the dog brown runs fast yes no",
    "well-worn T-shirt - and so--on -a- b-": "well-worn t-shirt and so on a b",
    "1,000 dogs, 3.5 cats, 1.2.3, 5. 7,": "1,000 dogs 3.5 cats 1.2.3 5 7",
    "the U.S. and U.S.A. at 5 p.m. by Mr. X.": "the u.s and u.s.a at 5 p.m by mr x",
    "end.Begin": "end begin",
    "can't won't isn't I'm he's": "ca n't wo n't is n't i 'm he 's",
    "we've they'd you'll you're": "we 've they 'd you 'll you 're",
    "I'd've shouldn't've": "i 'd 've should n't 've",
    "the dog\u2019s isn\u2019t \u2018so\u2019 \u201cquoted\u201d": "the dog 's is n't so quoted",
    "o'clock rock'n'roll 'tis dogs' n't 's": "o'clock rock'n'roll tis dogs n't s",
    "snake_case 50% $5 a+b c&d #1 @me x/y 2*3": "snake case 50 % $ 5 a + b c & d # 1 @ me x / y 2 * 3",
    "non\u2011breaking hy\u2010phen en–dash em—dash": "non-breaking hy-phen en dash em dash",
    "soft\u00adly zero\u200bwidth \ufeffmark": "softly zerowidth mark",
    "STRASSE Straße ÉCOLE": "strasse straße école",
    "ΟΔΟΣ": "οδο\u03c2",
    "एक बच्चा गुलाबी कपड़े में है।": "एक बच्चा गुलाबी कपड़े में है",
    "一只猫坐在。hat上": "一 只 猫 坐 在 hat 上",
    "人々は〇です": "人 々 は 〇 で す",
    "ネコ ﾈｺ": "ネ コ ﾈ ｺ",
    "빨간 공": "빨간 공",
    "кот, который спит": "кот который спит",
    "قطة حمراء؟": "قطة حمراء",
    "می\u200cرود\u200c، \u200cکتاب\u200c\u200cها": "می\u200cرود کتاب\u200cها",
    "क्\u200dष \u200d र\u200d": "क्\u200dष र",
    "zero\u200dwidth 👩\u200d💻 ا\u200d👍": "zerowidth 👩 💻 ا 👍",
    "I \u2764\ufe0f cats😀😀": "i ❤ cats 😀 😀",
    "\u2800 \u3164 \u200b \ufe0f \0 \ud800 \ue000": "",
    "": "",
    " \t\n…!?": "",
}


@pytest.mark.parametrize("text", WORDS)
def test_tokenize(text: str) -> None:
    normal = unicodedata.normalize("NFC", WORDS[text])
    assert tokenize(text) == normal.split()


def test_composed_and_decomposed_accents_are_equal() -> None:
    assert tokenize("caf\u00e9") == tokenize("cafe\u0301") == tokenize("CAFE\u0301") == ["caf\u00e9"]
    assert tokenize("cafe\u200d\u0301") == ["caf\u00e9"]  # composed once the mark between them is gone
    assert tokenize("\u1fbc\u0301") == ["\u1fb4"]  # and once it is a small letter


def test_join() -> None:
    assert join(["i", "'d", "'ve", "is", "n't", "猫", "が", "い", "a", "猫"]) == "i'd've isn't 猫がい a 猫"
    assert join([]) == ""
    assert join(["'s", "a"]) == "'s a"
    assert join(iter(["a", "<UNK>", "b"])) == "a <UNK> b"


def test_join_keeps_tokens_separable() -> None:
    assert join(["か", "\u3099"]) == "か \u3099"  # together they are another letter
    assert join(["b.a", "n't"]) == "b.a n't"  # and b.an't is b an't


@given(TEXTS)
@example("a\u00adb\ufe0fe\u200d\u0301 👩\u200d💻")
def test_normalized_texts_have_the_same_tokens(text: str) -> None:
    normal = normalize(text)
    assert tokenize(normal) == tokenize(text)
    assert normalize(normal) == normal
    assert not set("".join(normal.split())) & {"\u00ad", "\ufe0f"}


@given(TEXTS)
@example("か \u3099")
@example("b.a n't")
@example("a-n't's")
@example("1.n't")
@example("e\ufe0f\u0301")
def test_tokenizing_joined_words_is_the_identity(text: str) -> None:
    words = tokenize(text)
    assert tokenize(join(words)) == words


@pytest.mark.parametrize("clitic", CLITICS)
def test_many_clitics_take_linear_time(clitic: str) -> None:
    """With quadratic time, this would take an hour."""
    count = 50_000
    assert tokenize("a" + clitic * count) == ["a", *[clitic] * count]


@given(TEXTS)
def test_the_definition_of_a_word(text: str) -> None:
    words = tokenize(text)
    for word in words:
        assert word.split() == [word]
        assert word.translate(dict.fromkeys(map(ord, JOINERS))).isprintable()
        assert not {word[0], word[-1]} & {*JOINERS}
        assert unicodedata.is_normalized("NFC", word)
        assert word[-1] not in "'.,-"
        assert word[0] not in ".,-"
        assert any(unicodedata.category(character)[0] in "LMNS" or character in "%&#@*/" for character in word)
    assert not set(words) & set(SPECIAL)
    Vocab.build([words])


def test_all_characters_with_and_without_an_accent() -> None:
    for code in range(0x3200):
        for text in (chr(code), f"a{chr(code)}\u0301"):
            words = tokenize(text)
            assert tokenize(join(words)) == words, ascii(text)


@pytest.mark.parametrize("token", SPECIAL)
def test_special_tokens_in_text_are_split(token: str) -> None:
    assert tokenize(f"a {token}") == ["a", "<", token[1:-1].lower(), ">"]
