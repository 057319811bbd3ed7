import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.scenes.grammar import PARAPHRASES, TEMPLATES, WORDS, fill, paraphrases
from captioner.data.scenes.scene import SPLITS, sample_scene
from captioner.data.scenes.truth import is_true

seeds = st.integers(0, 2**32)


@st.composite
def scenes(draw):
    return sample_scene(np.random.default_rng(draw(seeds)), draw(st.sampled_from(SPLITS)))


@given(scenes(), seeds)
def test_a_scene_has_five_distinct_true_captions_within_the_vocabulary(scene, seed):
    captions = paraphrases(scene, np.random.default_rng(seed))
    assert len({tuple(words) for words in captions}) == PARAPHRASES
    for words in captions:
        assert is_true(scene, words), " ".join(words)
        assert set(words) <= set(WORDS)
        assert len(words) <= 21


@given(scenes(), seeds)
def test_every_template_gives_a_true_caption(scene, seed):
    for sentence in TEMPLATES[len(scene.objects)]:
        words = fill(sentence, scene, np.random.default_rng(seed))
        assert is_true(scene, words), " ".join(words)


def test_the_vocabulary_is_small_and_fully_used():
    rng = np.random.default_rng(0)
    used = {w for _ in range(300) for words in paraphrases(sample_scene(rng, "train"), rng) for w in words}
    assert used == set(WORDS)
    assert len(WORDS) < 60
