"""Check the functions that a student wrote in a notebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from captioner.cs231n import attention_layers, layers, rnn_layers, transformer_layers
from captioner.gradcheck.student_file import all_names, check_functions, checked_name


def check(*functions: Callable[..., Any]) -> None:
    """Check functions by their names, as `captioner gradcheck` does, and print a line for each.

    Raises: UsageError for a function that has none of the names.
    """
    named = {str(getattr(function, "__name__", function)): function for function in functions}
    for name in named:
        checked_name(name, all_names())
    reference: dict[str, Any] = {}
    for module in (attention_layers, layers, rnn_layers, transformer_layers):
        reference |= vars(module)
    for result in check_functions(named, reference):
        print(result.line())  # noqa: T201 - below the cell of a notebook
