"""The options of a request: those of `decode.*` and `caption.*` by their last names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any, NamedTuple

from captioner.captioning.captioner import Captioner
from captioner.config.option_table import MAX_SHOWN, OPTIONS, Bound, Option, closest, read, write
from captioner.config.overrides import Values
from captioner.errors import ConfigError, printable
from captioner.images.labels import has_labels

SECTIONS = ("caption.", "decode.")
OFFERED = {path.partition(".")[2]: path for section in SECTIONS for path in OPTIONS if path.startswith(section)}
"""The options that requests may set, by name."""
CAPS = {"decode.beam_width": 100, "decode.max_length": 100}
"""Maximum values, unless the model's own is larger: the time of a caption grows with their product."""
FIRST_VALUES = {"labels": "5"}
"""Values of fields of the page, if they are not those of the model."""


class Field(NamedTuple):
    """A field of the page: an option with the model's own value, and attributes of its HTML element."""

    name: str
    label: str
    doc: str
    own: str
    choices: tuple[str, ...]
    value: str
    attributes: Mapping[str, Any]


class RequestOptions:
    """The options that requests may set for a model, by name."""

    def __init__(self, captioner: Captioner) -> None:
        loaded = captioner.loaded
        self.own = loaded.config
        absent = {
            "unfamiliar_below",  # marks a caption on the page, but changes no answer
            *(() if captioner.reranker else ("consensus", "guidance")),
            *(() if has_labels(loaded.meta.encoder) else ("labels",)),
            *(() if loaded.meta.region_dim else ("attention",)),
        }
        self.table: Mapping[str, Option] = {
            name: self._capped(OPTIONS[path]) for name, path in OFFERED.items() if name not in absent
        }

    def _capped(self, option: Option) -> Option:
        if option.path not in CAPS:
            return option
        cap = Bound("<=", max(CAPS[option.path], attrgetter(option.path)(self.own)))
        return replace(option, bounds=(*(bound for bound in option.bounds if bound.sign != cap.sign), cap))

    def read(self, texts: Mapping[str, str]) -> Values:
        """Return the values of a request; an empty text counts as not given.

        Raises: ConfigError for an option that is unknown or invalid.
        """
        given = {name: text.strip() for name, text in sorted(texts.items()) if text.strip()}
        return dict(self._value(name, text) for name, text in given.items())

    def _value(self, name: str, text: str) -> tuple[str, Any]:
        if name not in self.table:
            raise ConfigError([f"{printable(name, MAX_SHOWN)}: not an option of this model{closest(name, self.table)}"])
        try:
            return OFFERED[name], read(self.table[name], text)
        except ValueError as problem:
            raise ConfigError([f"{name}: {problem}"]) from None

    def fields(self) -> list[Field]:
        """Return the fields of the page."""
        return [self._field(name, option) for name, option in self.table.items()]

    def _field(self, name: str, option: Option) -> Field:
        own = write(option, attrgetter(option.path)(self.own))
        choices = ("true", "false") if option.kind is bool else option.choices
        attributes: dict[str, Any] = {"type": "text"}
        if option.kind in (int, float):
            limits = {"max" if bound.sign.startswith("<") else "min": bound.limit for bound in option.bounds}
            attributes = {"type": "number", "step": 1 if option.kind is int else "any", **limits}
        return Field(name, name.replace("_", " "), option.doc, own, choices, FIRST_VALUES.get(name, ""), attributes)


def in_words_of_request(error: ConfigError) -> str:
    """Return the problems of options without the names of their sections."""
    text = "; ".join(error.problems)
    for section in SECTIONS:
        text = text.replace(section, "")
    return text
