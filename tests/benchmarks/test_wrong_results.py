"""No wrong loss, gradient or caption is timed, and the measured work is that of COCO and of a training step."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from benchmarks import checks, decoding, loops, shapes, steps
from benchmarks.ours import Floor
from benchmarks.session import Session
from benchmarks.timing import Timer
from captioner.arrays import Params
from captioner.layers.dropout import Dropout
from captioner.model.build import parameter_shapes

SHAPE, TRANSFORMER = shapes.QUICK[0], replace(shapes.QUICK_TRANSFORMER, regions=3)
LIBRARIES = {
    name: library
    for library in ("captioner", "loops", *["torch"] * Session.has_torch)
    for name in steps.learners(library)
}
FLOAT32 = [name for name in LIBRARIES if name != "bfloat16"]
TRANSFORMER_FLOAT32 = [name for name in FLOAT32 if name not in ("loops", "torch packed")]

FAULTS: dict[str, Callable[[float, Params], tuple[float, Params]]] = {
    "loss": lambda loss, grads: (loss * (1 + 2e-5), grads),
    "NaN": lambda loss, grads: (loss, grads | {"b": grads["b"] * np.nan}),
    "missing": lambda loss, grads: (loss, {name: grad for name, grad in grads.items() if name != "Wx"}),
    **{
        name: lambda loss, grads, name=name: (loss, grads | {name: grads[name] * 1.001})
        for name in parameter_shapes(SHAPE.sizes)
    },
}


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the return value of one method of one contender."""
    learners = steps.learners

    def change(contender: str, method: str, fault: Callable[[Any], Any]) -> None:
        def make(*arguments: Any) -> Any:
            learner = learners(LIBRARIES[contender])[contender](*arguments)
            true = getattr(learner, method)
            setattr(learner, method, lambda: fault(true()))
            return learner

        def changed(library: str, *arguments: Any) -> dict[str, Any]:
            return {**learners(library, *arguments), **({contender: make} if library == LIBRARIES[contender] else {})}

        monkeypatch.setattr(steps, "learners", changed)
        monkeypatch.setattr(Timer, "race", lambda *_: pytest.fail("timed"))

    return change


every_contender = pytest.mark.parametrize("contender", FLOAT32)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@every_contender
def test_a_wrong_loss_or_gradient_is_not_timed(
    contender: str, fault: Any, session: Session, plant: Callable[..., None]
) -> None:
    plant(contender, "gradients", lambda true: fault(*true))
    with pytest.raises(checks.WrongResultError):
        steps.measure_shape(session, SHAPE)


@pytest.mark.parametrize("name", ["W_region", "null", "layer0_self_b", "layer1_cross_W", "gamma"])
@pytest.mark.parametrize("contender", TRANSFORMER_FLOAT32)
def test_a_wrong_gradient_of_a_transformer_is_not_timed(
    contender: str, name: str, session: Session, plant: Callable[..., None]
) -> None:
    plant(contender, "gradients", lambda true: (true[0], true[1] | {name: true[1][name] * 1.001}))
    with pytest.raises(checks.WrongResultError, match=f"{contender}: gradient of {name}"):
        steps.measure_shape(session, TRANSFORMER)


@every_contender
def test_the_timed_step_has_the_checked_loss(contender: str, session: Session, plant: Callable[..., None]) -> None:
    plant(contender, "step", lambda loss: loss * (1 + 2e-5))
    with pytest.raises(checks.WrongResultError, match=f"{contender}, in training"):
        steps.measure_shape(session, SHAPE)


@pytest.mark.parametrize("rate", [0.0, 1e-3], ids=["no update", "SGD"])
def test_another_update_is_detected(rate: float, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "adam", lambda w, dw, config: w - rate * dw)
    with pytest.raises(checks.WrongResultError, match="loops: decrease of the loss in two steps"):
        steps.measure_shape(session, SHAPE)


CAPTIONS = np.array([[4, 5, 2, 0], [6, 7, 2, 0]])


def test_captions_may_differ_only_after_a_tie() -> None:
    other = np.array([[4, 5, 2, 0], [6, 8, 9, 2]])

    def score(difference: float, images: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        assert images.tolist() == [1], "the caption that differs"
        assert tokens.tolist() == [[[6, 7], [6, 8]]], "up to the first different word"
        return np.array([[-3.0, -3.0 + difference]])

    assert checks.same_captions("ours", CAPTIONS, CAPTIONS, partial(score, 1.0)) == 0
    assert checks.same_captions("ours", CAPTIONS, other, partial(score, 5e-5)) == 1
    for difference in (2e-4, -2e-4, np.nan):
        with pytest.raises(checks.WrongResultError, match="word 2 of caption 1"):
            checks.same_captions("ours", CAPTIONS, other, partial(score, difference))


def test_scores_of_missing_captions_are_not_compared() -> None:
    scores = np.array([[-3.0, -np.inf]])
    checks.same_scores("beam", scores, np.array([[-3.0005, 0.0]]))
    for wrong in (-3.002, np.nan):
        with pytest.raises(checks.WrongResultError):
            checks.same_scores("beam", scores, np.array([[wrong, 0.0]]))


@pytest.mark.parametrize("decoder", ["ours", "ours beam 3", "ours beam 5"])
def test_a_wrong_decoder_is_not_timed(decoder: str, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    true = decoding.decoders

    def wrong(*arguments: Any) -> Any:
        table = true(*arguments)
        decode = table[decoder]
        return table | {decoder: lambda images: (lambda ids, scores: (ids, scores - 0.002))(*decode(images))}

    monkeypatch.setattr(decoding, "decoders", wrong)
    monkeypatch.setattr(Timer, "race", lambda *_: pytest.fail("timed"))
    with pytest.raises(checks.WrongResultError, match=decoder):
        decoding.measure_shape(session, SHAPE)


@pytest.mark.parametrize("shape", [SHAPE, shapes.QUICK_TRANSFORMER], ids=lambda shape: shape.decoder)
def test_beams_with_the_states_of_others_are_not_timed(
    shape: shapes.Shape, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    models = pytest.importorskip("benchmarks.torch_models")
    monkeypatch.setattr(models.MODELS[shape.decoder], "take", lambda self, state, rows: state)
    with pytest.raises(checks.WrongResultError, match="torch beam 5"):
        decoding.measure_shape(session, shape)


@pytest.mark.parametrize("decoder", decoding.STEEPNESS)
def test_decoded_captions_have_the_lengths_of_coco(decoder: str) -> None:
    shape = shapes.Shape(decoder, 200, 300, 64, 64, 128, layers=2, heads=4, feed_forward=256)
    images = shapes.batch(shape).features
    tokens, _ = decoding.decoders(shape, decoding.caption_parameters(shape, images))["ours"](images)
    lengths = (tokens != shapes.NULL).sum(axis=2)
    assert lengths.mean() == pytest.approx(decoding.MEAN, abs=0.5)
    assert 1 < lengths.std() < 4
    assert len(np.unique(tokens, axis=0)) > 100


@pytest.mark.parametrize(
    ("contender", "shape"),
    [
        *((name, replace(SHAPE, dropout=Dropout(0.2, 0.5, 0.5))) for name in FLOAT32 if name != "loops"),
        *((name, replace(TRANSFORMER, dropout=Dropout(layers=0.1))) for name in TRANSFORMER_FLOAT32),
    ],
)
def test_dropout_is_applied_in_the_step_but_not_in_the_gradient_check(contender: str, shape: shapes.Shape) -> None:
    learner = steps.learners(LIBRARIES[contender])[contender](shape, shapes.parameters(shape), shapes.batch(shape))
    whole = learner.gradients()[0]
    assert learner.gradients()[0] == whole
    assert learner.step() != pytest.approx(whole, rel=1e-5)


def test_the_gemm_floor_computes_the_products_of_a_step_and_stays_finite() -> None:
    params, batch = shapes.parameters(SHAPE), shapes.batch(SHAPE)
    floor = Floor(SHAPE, params, batch)
    assert len(floor.h) == batch.words
    assert len(floor.x) < batch.words, "distinct words"
    results = []
    for _ in range(2):
        floor.step()
        results.append({name: array.copy() for name, array in floor.out.items()})
    for name, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][name])
        assert np.isfinite(array).all()
    np.testing.assert_allclose(results[0]["ah"], floor.h @ params["Wh"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(results[0]["dh_prev"], floor.da @ params["Wh"].T, rtol=1e-4, atol=1e-5)
