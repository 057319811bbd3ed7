"""The assignment's data dict and solver."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_vocabulary import WORD_TO_IDX, WORDS

from captioner.cs231n.captioning_solver import CaptioningSolver
from captioner.cs231n.classifiers.rnn import CaptioningRNN
from captioner.cs231n.coco_utils import decode_captions, load_coco_data, sample_coco_minibatch

Array = np.ndarray
V = len(WORDS)
every_cell = pytest.mark.parametrize("cell", ["rnn", "lstm"])


def model(cell: str = "rnn", dtype: type = np.float64, hidden_dim: int = 8) -> CaptioningRNN:
    return CaptioningRNN(WORD_TO_IDX, 6, 5, hidden_dim, cell, dtype)


def coco(captions: int = 12, images: int = 5, seed: int = 0) -> dict[str, Any]:
    """A data dict like the assignment's: each caption belongs to one image."""
    rng = np.random.default_rng(seed)
    data: dict[str, Any] = {"idx_to_word": WORDS, "word_to_idx": WORD_TO_IDX}
    for split, count in (("train", captions), ("val", 4)):
        rows = np.zeros((images, 6), np.int32)
        for row, length in zip(rows, rng.integers(1, 5, images), strict=True):
            row[: length + 2] = [1, *rng.integers(4, V, length), 2]
        owners = 2 * np.arange(count, dtype=np.int32) % images
        data[f"{split}_captions"] = rows[owners]
        data[f"{split}_image_idxs"] = owners
        data[f"{split}_features"] = rng.standard_normal((images, 6))
        data[f"{split}_urls"] = np.array([f"http://x/{split}{k}.jpg" for k in range(images)])
    return data


@pytest.mark.parametrize("split", ["train", "val"])
def test_minibatches_are_sampled_with_replacement_with_matching_images(split: str) -> None:
    data = coco()
    np.random.seed(3)
    captions, features, urls = sample_coco_minibatch(data, batch_size=40, split=split)
    np.random.seed(3)
    rows = np.random.choice(len(data[f"{split}_captions"]), 40)
    images = data[f"{split}_image_idxs"][rows]
    np.testing.assert_array_equal(captions, data[f"{split}_captions"][rows])
    np.testing.assert_array_equal(features, data[f"{split}_features"][images])
    np.testing.assert_array_equal(urls, data[f"{split}_urls"][images])
    assert len(set(rows.tolist())) < 40
    assert sample_coco_minibatch(data)[0].shape == (100, 6)


def test_load_coco_data_samples_train_with_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def read_folder(root: str, *, pca: bool) -> dict[str, Any]:
        calls.append((root, pca))
        return coco()

    monkeypatch.setattr("captioner.cs231n.coco_utils.read_folder", read_folder)
    whole = load_coco_data("there")
    np.random.seed(1)
    small = load_coco_data("there", max_train=30, pca_features=False)
    np.random.seed(1)
    rows = np.random.randint(12, size=30)
    assert calls == [("there", True), ("there", False)]
    assert small.keys() == whole.keys() == coco().keys()
    for key, value in coco().items():
        cut = value[rows] if key in ("train_captions", "train_image_idxs") else value
        np.testing.assert_array_equal(small[key], cut)
        np.testing.assert_array_equal(whole[key], value)


def decode_by_hand(row: list[int]) -> str:
    words = []
    for i in row:
        if WORDS[i] != "<NULL>":
            words.append(WORDS[i])
        if WORDS[i] == "<END>":
            break
    return " ".join(words)


@given(count=st.integers(0, 4), steps=st.integers(0, 6), seed=st.integers(0, 999))
def test_decode_captions(count: int, steps: int, seed: int) -> None:
    ids = np.random.default_rng(seed).integers(0, V, (count, steps))
    captions = ids.tolist()
    for words in (WORDS, dict(enumerate(WORDS))):
        assert decode_captions(ids, words) == [decode_by_hand(row) for row in captions]
        for row in captions:
            assert decode_captions(np.array(row, int), words) == decode_by_hand(row)
    assert decode_captions(np.array([1, 4, 2, 99]), WORDS) == "<START> a <END>"


def test_unknown_keywords_and_update_rules_raise() -> None:
    with pytest.raises(ValueError, match=r'Unrecognized arguments "lr", "epochs"'):
        CaptioningSolver(model(), coco(), lr=1, epochs=2)
    with pytest.raises(ValueError, match=r'Invalid update_rule "adamax"'):
        CaptioningSolver(model(), coco(), update_rule="adamax")


@pytest.mark.parametrize(
    ("batch", "epochs", "iterations"), [(4, 3, 9), (5, 2, 4), (12, 2, 2), (13, 2, 2), (100, 5, 5), (4, 0, 0)]
)
def test_the_solvers_bookkeeping(batch: int, epochs: int, iterations: int, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"learning_rate": 0.5}
    solver = CaptioningSolver(
        model(), coco(), optim_config=options, batch_size=batch, num_epochs=epochs, lr_decay=0.9, print_every=2
    )
    assert (solver.epoch, solver.loss_history) == (0, [])
    assert solver.optim_configs == {name: {"learning_rate": 0.5} for name in solver.model.params}
    solver.train()
    assert solver.epoch == epochs
    assert len(solver.loss_history) == iterations
    for config in solver.optim_configs.values():
        assert config["learning_rate"] == pytest.approx(0.5 * 0.9**epochs)
    assert options == {"learning_rate": 0.5}
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        f"(Iteration {t + 1} / {iterations}) loss: {solver.loss_history[t]:f}" for t in range(0, iterations, 2)
    ]


class PlainSgd:
    def update(self, name: str, w: Array, dw: Array, rate: float, t: int) -> Array:
        return w - rate * dw


class PlainAdam:
    def __init__(self) -> None:
        self.m: dict[str, Array] = {}
        self.v: dict[str, Array] = {}

    def update(self, name: str, w: Array, dw: Array, rate: float, t: int) -> Array:
        m = self.m[name] = 0.9 * self.m.get(name, np.zeros_like(w)) + 0.1 * dw
        v = self.v[name] = 0.999 * self.v.get(name, np.zeros_like(w)) + 0.001 * dw**2
        step: Array = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        return w - rate * step


def solver_of(m: CaptioningRNN, data: dict[str, Any], rate: float, **options: Any) -> CaptioningSolver:
    return CaptioningSolver(m, data, optim_config={"learning_rate": rate}, verbose=False, **options)


@every_cell
@pytest.mark.parametrize(("rule", "plain"), [("sgd", PlainSgd), ("adam", PlainAdam)])
def test_the_solver_matches_the_assignments_loop(cell: str, rule: str, plain: type, capsys: Any) -> None:
    epochs, batch, rate, decay = 6, 5, 0.02, 0.9
    np.random.seed(231)
    solver = solver_of(model(cell), coco(), rate, update_rule=rule, lr_decay=decay, batch_size=batch, num_epochs=epochs)
    solver.train()
    assert capsys.readouterr().out == "", "quiet"

    np.random.seed(231)
    m, data, reference, losses = model(cell), coco(), plain(), []
    per_epoch = max(len(data["train_captions"]) // batch, 1)
    for t in range(epochs * per_epoch):
        rows = np.random.choice(len(data["train_captions"]), batch)
        features = data["train_features"][data["train_image_idxs"][rows]]
        loss, grads = m.loss(features, data["train_captions"][rows])
        losses.append(loss)
        for name, w in m.params.items():
            m.params[name] = reference.update(name, w, grads[name], rate, t + 1)
        rate *= decay if (t + 1) % per_epoch == 0 else 1
    np.testing.assert_allclose(solver.loss_history, losses, rtol=1e-9)
    for name, w in m.params.items():
        np.testing.assert_allclose(solver.model.params[name], w, rtol=1e-7, atol=1e-9, err_msg=name)
