"""The model, corpus and training plan are built with every configured option."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from small_options import fitting

from captioner.config.checks import ROOTS
from captioner.config.options import Config
from captioner.config.overrides import override, read_overrides
from captioner.config.yaml_io import parse
from captioner.data.batches import ShuffledBatches
from captioner.data.corpus import Corpus
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.optim import SCHEDULES, UPDATE_RULES, Hyper, Span
from captioner.preparation import load_corpus
from captioner.preparation.load_corpus import build_corpus
from captioner.training.build import OUTPUT_BIASES, build_model, build_plan, ignored_options
from captioner.training.solver import TrainState, steps

SCST = "objective: self_critical, init_from: x"


@pytest.fixture(scope="module")
def config():
    return lambda *overrides: override(Config(), fitting(*overrides))


@pytest.fixture(scope="module")
def corpus(config):
    return build_corpus(config())


def test_every_source_receives_root_memory_and_its_config_section(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Corpus(Vocab(SPECIAL), {}, "features:given.h5,sha256=0")
    for name in load_corpus.SOURCES:
        got = {}

        def source(root: object, got: dict = got, **options: object) -> Corpus:
            got.update(root=root, **options)
            return made

        monkeypatch.setitem(load_corpus.SOURCES, name, source)
        text = f"data: {{source: {name}, root: /data, memory_mib: 7}}"
        assert build_corpus(parse(text, "my.yaml")) is made
        section, is_stored = getattr(Config().data, name, None), name in ROOTS
        assert (got.pop("memory_mib"), got.pop("regions")) == (7 if is_stored else 1024, False)
        assert got.pop("root") == (Path("/data") if is_stored else None)
        assert got == (vars(section) if section else {})


def test_max_train_selects_a_seeded_subset_of_captions(config, corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    train = corpus.split("train")
    texts = [" ".join(map(str, row)) for row in train.captions.tolist()]
    with_texts = dataclasses.replace(corpus, splits={**corpus.splits, "train": dataclasses.replace(train, texts=texts)})
    monkeypatch.setitem(load_corpus.SOURCES, "scenes", lambda *_, **__: with_texts)
    few = [build_corpus(config("data.max_train=9", f"seed={seed}")).split("train") for seed in (0, 0, 1)]
    whole = corpus.split("train")
    assert [len(split.captions) for split in few] == [9, 9, 9]
    np.testing.assert_array_equal(few[0].captions, few[1].captions)
    assert not np.array_equal(few[0].captions, few[2].captions)
    pairs = {(image, *row) for image, row in zip(whole.image_idxs, whole.captions.tolist(), strict=True)}
    assert {(image, *row) for image, row in zip(few[0].image_idxs, few[0].captions.tolist(), strict=True)} <= pairs
    assert few[0].texts == [" ".join(map(str, row)) for row in few[0].captions.tolist()]
    assert (np.diff(few[0].image_idxs) >= 0).all()
    assert len(build_corpus(config("data.max_train=100000")).split("train").captions) == len(whole.captions)


def test_max_captions_per_image_selects_the_first_captions_of_every_image(config, corpus) -> None:
    whole, few = corpus.split("train"), build_corpus(config("data.max_captions_per_image=2")).split("train")
    rows = [row for image in range(len(whole.image_ids)) for row in whole.caption_rows(image)[:2]]
    np.testing.assert_array_equal(few.captions, whole.captions[rows])
    np.testing.assert_array_equal(few.image_idxs, whole.image_idxs[rows])
    many = build_corpus(config("data.max_captions_per_image=99")).split("train")
    np.testing.assert_array_equal(many.captions, whole.captions)
    both = build_corpus(config("data.max_captions_per_image=1", "data.max_train=9")).split("train")
    assert len(set(both.image_idxs.tolist())) == 9


def test_the_model_has_the_configured_sizes_type_and_dropout(config) -> None:
    options = ["model.decoder=rnn", "model.wordvec_dim=5", "model.hidden_dim=7", "model.dtype=float64"]
    names = ("features", "embedding", "hidden", "regions", "keys")
    dropout = ["model.attention=adaptive", *(f"model.dropout_{name}=0.{i}" for i, name in enumerate(names, 1))]
    chosen = config(*options, *dropout)
    model = build_model(chosen, build_corpus(chosen))
    assert model.params["Wx"].shape == (5, 7)
    assert {w.dtype for w in model.params.values()} == {np.dtype("float64")}
    assert model.dropout == (0.1, 0.2, 0.3, 0.4, 0.5, 0.0)
    assert model.standardizer is None
    assert model.null == 0


def test_features_are_standardized_with_statistics_of_train(config, corpus) -> None:
    standardizer = build_model(config("data.standardize=true"), corpus).standardizer
    train = np.asarray(corpus.split("train").features, float)
    np.testing.assert_allclose(standardizer.mean, train.mean(axis=0), rtol=1e-6, atol=1e-9)
    deviation = train.std(axis=0)
    np.testing.assert_allclose(standardizer.std[deviation > 1e-6], deviation[deviation > 1e-6], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "decoder", "names"),
    [
        ("model: {forget_bias: 2, wordvec_dim: 8}", "rnn", ["model.forget_bias"]),
        ("model: {forget_bias: 2, wordvec_dim: 8}", "transformer", ["model.wordvec_dim", "model.forget_bias"]),
        ("model: {decoder: transformer, layers: 2, heads: 4}", "gru", ["model.layers", "model.heads"]),
        ("model: {forget_bias: 1}", "lstm", []),
        ("{model: {forget_bias: 2, output_bias: log_frequency}, train: {init_from: x}}", "lstm",
         ["model.forget_bias", "model.output_bias"]),
        (f"train: {{captions_per_image: 2, {SCST}}}", "lstm", ["train.captions_per_image"]),
        (f"{{validate: {{best_metric: loss}}, train: {{{SCST}}}}}", "lstm",
         ["validate.best_metric: loss selects best.h5 by the loss of the references, which training does not minimize; "
          "captions may score lower than those of last.h5; try -o validate.best_metric=cider_d"]),
        (f"train: {{{SCST}}}", "lstm", []),
    ],
)  # fmt: skip
def test_ignored_options_are_named(text: str, decoder: str, names: list[str]) -> None:
    config = parse(text, "my.yaml", read_overrides([f"model.decoder={decoder}"]))
    lines = (line.removeprefix("my.yaml:1: ignored: ") for line in ignored_options(config))
    assert [line.partition(": has no effect with")[0] for line in lines] == names


def test_the_initial_forget_gate_bias(config, corpus) -> None:
    b = build_model(config("model.forget_bias=1.5"), corpus).params["b"].reshape(4, -1)
    assert b.tolist() == [[start] * 16 for start in (0, 1.5, 0, 0)]


@pytest.mark.parametrize("name", OUTPUT_BIASES)
def test_the_output_bias(name: str, config, corpus) -> None:
    bias = build_model(config(f"model.output_bias={name}"), corpus).params["b_vocab"]
    assert bias.dtype == np.float32
    if name == "zeros":
        assert not bias.any()
    else:
        assert np.exp(bias.astype(float)).sum() == pytest.approx(1)
        assert bias.argmax() == corpus.vocab.word_to_idx["a"]


@pytest.mark.parametrize(
    ("overrides", "total"),
    [
        (["train.epochs=3"], 12),
        (["train.epochs=3", "train.max_steps=5"], 5),
        (["train.epochs=1", "train.max_steps=50"], 4),
        (["train.epochs=2", "train.batch_size=1000"], 2),
    ],
)
def test_total_steps_is_the_minimum_of_epochs_and_max_steps(overrides: list[str], total: int, config, corpus) -> None:
    assert build_plan(config(*overrides), corpus.split("train")).span.total_steps == total


def test_the_plan_has_every_training_option(config, corpus) -> None:
    options = {"learning_rate": 0.5, "weight_decay": 0.7, "update_rule": "adamw", "schedule": "exponential"}
    options |= {"lr_decay": 0.8, "warmup_steps": 3, "clip_norm": 2.5, "ema_decay": 0.99, "batch_size": 64}
    text = "".join(f"  {name}: {value}\n" for name, value in options.items())
    plan = build_plan(parse(f"seed: 9\ntrain:\n{text}", "my.yaml"), corpus.split("train"))
    hyper = Hyper(0.5, momentum=0.9, decay_rate=0.99, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.7)
    assert plan == (UPDATE_RULES["adamw"], hyper, SCHEDULES["exponential"], Span(40, 4, 0.8, 3), 2.5, 9, 0.99, True)


def test_random_streams_are_independent(config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training subset, initial parameters, epoch orders and dropout each have a generator with its own seed."""
    real, drawn = np.random.default_rng, []
    monkeypatch.setattr(np.random, "default_rng", lambda entropy: drawn.append(real(entropy).random()) or real(entropy))
    few = config("data.max_train=8", "train.batch_size=4", "train.epochs=4", "model.dropout_hidden=0.5")
    corpus = build_corpus(few)
    del drawn[:-1]  # those of the scenes
    model, train = build_model(few, corpus), corpus.split("train")
    plan = build_plan(few, train)
    list(steps(model, ShuffledBatches(train, 4, few.seed, null=0), TrainState.fresh(model, plan.rule), plan))
    assert len(drawn) == 1 + 1 + 4 + 8
    assert len(set(drawn)) == len(drawn)
