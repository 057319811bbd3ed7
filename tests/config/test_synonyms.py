"""Synonyms of options and choices point to existing ones and shadow none."""

import pytest

from captioner.config.values import SYNONYMS, closest
from captioner.config.yaml_io import OPTIONS

CHOICES = {choice for option in OPTIONS.values() for choice in option.choices}
NAMES = {path.rpartition(".")[2] for path in OPTIONS}


def test_every_target_exists() -> None:
    assert set(SYNONYMS.values()) <= OPTIONS.keys() | CHOICES


def test_a_synonym_of_an_option_is_not_the_name_of_another() -> None:
    assert not {name for name, target in SYNONYMS.items() if target in OPTIONS} & NAMES


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("lr", "train.learning_rate"),
        ("optimizer", "train.update_rule"),
        ("num_beams", "decode.beam_width"),
        ("beam", "decode.beam_width"),
        ("no_repeat_ngram_size", "decode.no_repeat_ngram"),
        ("ema", "train.ema_decay"),
        ("length_power", "decode.length_penalty"),
        ("hidden_size", "model.hidden_dim"),
        ("embedding-dim", "model.wordvec_dim"),
        ("Dropout", "model.dropout_hidden"),
        ("max_grad_norm", "train.clip_norm"),
        ("num_epochs", "train.epochs"),
        ("bs", "train.batch_size"),
        ("start", "train.init_from"),
        ("suppress", "decode.suppress_words"),
    ],
)
def test_options(name: str, target: str) -> None:
    assert closest(name, OPTIONS) == closest(f"train.{name}", OPTIONS) == f" (did you mean {target}?)"


@pytest.mark.parametrize(
    ("name", "option", "target"),
    [
        ("scst", "train.objective", "self_critical"),
        ("likelihood", "train.objective", "cross_entropy"),
        ("greedy", "decode.method", "beam"),
        ("fp32", "model.dtype", "float32"),
    ],
)
def test_choices(name: str, option: str, target: str) -> None:
    assert closest(name, OPTIONS[option].choices) == f" (did you mean {target}?)"
