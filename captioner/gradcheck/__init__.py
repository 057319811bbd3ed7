"""Numeric against analytic gradients, gradient norms through time, and checks of the functions of students."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner.gradcheck.student_file import Signature, check_functions

__all__ = ["Signature", "check_functions"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from captioner.gradcheck import student_file

    return getattr(student_file, name)
