"""captioner gradcheck: its table and exit code."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from captioner.gradcheck.cases import LAYERS

SMALL = ("-o", "model.hidden_dim=4", "-o", "model.wordvec_dim=3")


def masked(text: str) -> str:
    """Mask the digits of errors, which differ between machines."""
    return re.sub(r"\d\.\de[-+]\d\d", "#.#e-##", text)


@pytest.mark.smoke
def test_the_table(cli: Callable[..., Any], golden: Callable[..., None]) -> None:
    done = cli("gradcheck").succeeded()
    golden("gradcheck.txt", masked(done.out))


def test_a_full_check_of_another_cell(cli: Callable[..., Any]) -> None:
    done = cli("gradcheck", "--full", "-o", "model.decoder=rnn", *SMALL).succeeded()
    _, *lines, last = done.out.splitlines()
    assert last.startswith(f"PASS: {len(lines)} gradients, maximum relative error ")
    assert {line.split()[-3] for line in lines} == {"elements"}
    assert any(line.startswith("model (rnn) ") for line in lines)


def test_a_fault_is_named_and_the_exit_code_is_1(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    layer = LAYERS["affine"]

    def wrong(*args: Any) -> tuple[Any, ...]:
        dx, dw, db = layer.backward(*args)
        return dx, dw * 1.001, db

    monkeypatch.setitem(LAYERS, "affine", layer._replace(backward=wrong))
    done = cli("gradcheck", *SMALL)
    assert (done.code, done.err) == (1, "")
    *_, last = lines = done.out.splitlines()
    assert re.fullmatch(r"FAIL: 1 of \d+ gradients are wrong: affine w", last)
    assert [line.split()[:3] for line in lines if line.endswith("FAIL")] == [["affine", "w", "elements"]]
