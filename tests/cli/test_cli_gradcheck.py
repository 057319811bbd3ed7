"""captioner gradcheck: what it checks, and its exit code."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from captioner.gradcheck import cases
from captioner.gradcheck.cases import LAYERS, VARIANTS
from captioner.layers import CELLS
from captioner.layers.lstm import LSTM
from captioner.model.captioning_model import CaptioningModel
from captioner.model.captioning_rnn import CaptioningRNN

SMALL = ("-o", "model.hidden_dim=4", "-o", "model.wordvec_dim=3")


def test_a_full_check_of_another_cell(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two layers and two models: `tests/gradcheck` fully checks all of them."""
    monkeypatch.setattr(cases, "LAYERS", {name: LAYERS[name] for name in ("affine", "rnn_step")})
    monkeypatch.setitem(cases.MODELS, CaptioningRNN, ({}, {"model, smoothing": VARIANTS["model, smoothing"]}))
    done = cli("gradcheck", "--full", "-o", "model.decoder=rnn", *SMALL).succeeded()
    _, *lines, last = done.out.splitlines()
    assert last.startswith(f"PASS: {len(lines)} gradients, maximum relative error ")
    assert {line.split()[-3] for line in lines} == {"elements"}
    assert any(line.startswith("model (rnn) ") for line in lines)


def negated_forget_gate(dstate: Any, saved: Any, dax: Any, dah: Any) -> None:
    LSTM.backward(dstate, saved, dax, dah)
    dah[1] *= -1


def test_the_check_ends_at_the_innermost_wrong_layer_and_names_the_gate(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = LSTM._replace(backward=negated_forget_gate)
    monkeypatch.setattr("captioner.layers.lstm.LSTM", cell)
    monkeypatch.setitem(CELLS, "lstm", cell)
    done = cli("gradcheck", *SMALL)
    assert (done.code, done.err) == (1, "")
    *rows, summary, not_checked = done.out.splitlines()
    assert summary == "FAIL: 5 of 6 gradients of lstm_step: x, h, Wx, Wh, b"
    later = "; ".join([*LAYERS][[*LAYERS].index("lstm_step") + 1 :])
    assert not_checked.startswith(f"not checked, after lstm_step: {later}; model (lstm); ")
    (b,) = (row for row in rows if row.startswith("lstm_step                 b "))
    errors = dict(re.findall(r"([a-z]) (\d\.\de[-+]\d\d)", b.partition("FAIL")[2]))
    assert list(errors) == ["i", "f", "o", "g"]
    assert {gate: float(error) > 1e-3 for gate, error in errors.items()} == dict.fromkeys("iog", False) | {"f": True}


def test_the_last_layer_leaves_none_unchecked(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.gradcheck.cases.MODELS", {CaptioningRNN: ({}, {})})
    loss = CaptioningModel.loss
    monkeypatch.setattr(
        CaptioningModel, "loss", lambda *args, **options: (loss(*args, **options)[0], {"b": np.zeros(16)})
    )
    *_, last = cli("gradcheck", *SMALL).out.splitlines()
    assert last.startswith("FAIL: 8 of 8 gradients of model (lstm): W_embed, ")
