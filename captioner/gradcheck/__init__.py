"""Numeric against analytic gradients, gradient norms through time, and checks of the functions of students."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner.gradcheck.function_checks import SIGNATURES, Exercises, Signature, check_functions

__all__ = ["SIGNATURES", "Exercises", "Signature", "check_functions"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from captioner.gradcheck import function_checks

    return getattr(function_checks, name)
