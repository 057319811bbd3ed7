"""The options of model cards, shared by `captioner card` and `captioner package`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from captioner.cli.options import PATH

if TYPE_CHECKING:
    from captioner.packaging.card_facts import CardOptions

Command = TypeVar("Command", bound=Callable[..., Any])
OPTIONS = (
    click.option(
        "--scores",
        type=PATH,
        metavar="FILE",
        help="Scores of the model: the output of `captioner evaluate --json`, with --worst also examples of failures.",
    ),
    click.option("--dataset", metavar="TEXT", help="Name of the training data set, such as flickr8k."),
    click.option("--data-terms", metavar="TEXT", help="Terms of the training data: license, source, restrictions."),
    click.option("--license", metavar="ID", help="License of the model, such as cc-by-4.0.  [default: unknown]"),
    click.option("--language", metavar="CODE", help="Language of the captions.  [default: en]"),
)


def card_options(command: Command) -> Command:
    """Add the options of model cards; their values are arguments of the same names, None if not given."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def build_card_options(values: dict[str, str | Path | None]) -> CardOptions:
    """Build the options of a card from those that were given; blank texts count as not given."""
    from captioner.packaging.card_facts import CardOptions

    given: dict[str, Any] = {name: value for name, value in values.items() if str(value or "").strip()}
    return CardOptions(**given)
