"""captioner gradcheck: the table and the exit code."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from captioner.gradcheck.layer_cases import LAYERS


def masked(text: str) -> str:
    """Mask the errors, which differ between machines."""
    return re.sub(r"\d\.\de[-+]\d\d", "#.#e-##", text)


def test_the_table(cli: Callable[..., Any], golden: Callable[..., None]) -> None:
    done = cli("gradcheck")
    assert (done.code, done.err) == (0, "")
    golden("gradcheck.txt", masked(done.out))


def test_a_wrong_gradient_is_reported_with_exit_code_1(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = LAYERS["affine"]

    def wrong(*args: Any) -> tuple[Any, ...]:
        dx, dw, db = layer.backward(*args)
        return dx, dw * 1.001, db

    monkeypatch.setitem(LAYERS, "affine", layer._replace(backward=wrong))
    done = cli("gradcheck")
    assert (done.code, done.err) == (1, "")
    *_, last = lines = done.out.splitlines()
    assert re.fullmatch(r"FAIL: 1 of \d+ gradients are wrong: affine w", last)
    assert [line.split()[:3] for line in lines if line.endswith("FAIL")] == [["affine", "w", "elements"]]
