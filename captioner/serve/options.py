"""The decoding options of a request: those of `decode.*` by their names, `n_best`, `keywords` and `attention`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from captioner.config.option_table import OPTIONS, Bound, Option
from captioner.config.options import Decode
from captioner.config.values import MAX_SHOWN, Scalar, closest, read, write
from captioner.config.yaml_io import dump, parse
from captioner.errors import ConfigError, printable
from captioner.images.keywords import CLASSES, has_classes
from captioner.inference.caption import CaptionOptions
from captioner.inference.captioner import MAX_N_BEST, Captioner

SECTION = "decode."
MODEL = "the model"
_PLACE = re.compile(rf"^(-o .*?|{MODEL}:[0-9]+): (?={re.escape(SECTION)})")
"""The place of an option in a message."""
ADDED = (
    Option("n_best", int, False, 1, (Bound(">=", 1), Bound("<=", MAX_N_BEST)), (), "captions per photograph"),
    Option("keywords", int, False, 0, (Bound(">=", 0), Bound("<=", CLASSES)), (), "ImageNet labels per photograph"),
    Option("attention", bool, False, False, (), (), "attention weights of the caption"),
)
"""What a request may ask for besides the options of `decode.*`."""
CAPS = {"beam_width": 100, "max_length": 100}
"""Maximum values, unless the model's own is larger: the time of a caption grows with their product."""
SHOWN_KEYWORDS = 5
"""ImageNet labels that the page asks for."""


class Field(NamedTuple):
    """A field of the page: an option with the model's own value, and attributes of its HTML element."""

    name: str
    label: str
    doc: str
    own: str
    choices: tuple[str, ...]
    value: str
    attributes: Mapping[str, Any]


class DecodingOptions:
    """The options that requests may set for a model, by name."""

    def __init__(self, captioner: Captioner) -> None:
        loaded = captioner.loaded
        self.own = loaded.config.decode
        absent = {
            "unfamiliar_below",  # marks a caption on the page, but changes no answer
            *(() if captioner.reranker else ("consensus", "guidance")),
            *(() if has_classes(loaded.meta.encoder) else ("keywords",)),
            *(() if loaded.meta.region_dim else ("attention",)),
        }
        of_decoding = [
            replace(option, path=path.removeprefix(SECTION))
            for path, option in OPTIONS.items()
            if path.startswith(SECTION)
        ]
        self.table: Mapping[str, Option] = {
            option.path: self._capped(option) for option in (*ADDED, *of_decoding) if option.path not in absent
        }
        text = dump(loaded.config)
        self._parse = lru_cache(256)(lambda overrides: parse(text, MODEL, overrides).decode)

    def _capped(self, option: Option) -> Option:
        if option.path not in CAPS:
            return option
        cap = Bound("<=", max(CAPS[option.path], getattr(self.own, option.path)))
        return replace(option, bounds=(*(bound for bound in option.bounds if bound.sign != cap.sign), cap))

    def read(self, texts: Mapping[str, str]) -> tuple[Decode, CaptionOptions]:
        """Return the options of a request; an empty text counts as not given.

        Raises: ConfigError for an option that is unknown, invalid or without effect.
        """
        texts = {name: text.strip() for name, text in sorted(texts.items()) if text.strip()}
        values = {name: self._value(name, text) for name, text in texts.items()}
        overrides = (f"{SECTION}{name}={text}" for name, text in texts.items() if hasattr(self.own, name))
        added = {option.path: values.get(option.path, option.default) for option in ADDED}
        return self._parse(tuple(overrides)), CaptionOptions(**added)

    def _value(self, name: str, text: str) -> Any:
        if name not in self.table:
            raise ConfigError([f"{printable(name, MAX_SHOWN)}: not an option of this model{closest(name, self.table)}"])
        value, problem = read(self.table[name], Scalar(text))
        if problem is not None:
            raise ConfigError([f"{name}: {problem}"])
        return value

    def fields(self) -> list[Field]:
        """Return the fields of the page."""
        return [self._field(name, option) for name, option in self.table.items()]

    def _field(self, name: str, option: Option) -> Field:
        own = write(option, getattr(self.own, name, option.default))
        choices = ("true", "false") if option.kind is bool else option.choices
        attributes: dict[str, Any] = {"type": "text"}
        if option.kind in (int, float):
            limits = {"max" if bound.sign.startswith("<") else "min": bound.limit for bound in option.bounds}
            attributes = {"type": "number", "step": 1 if option.kind is int else "any", **limits}
        value = str(SHOWN_KEYWORDS) if name == "keywords" else ""
        return Field(name, name.replace("_", " "), option.doc, own, choices, value, attributes)


def in_words_of_request(error: ConfigError) -> str:
    """Return the problems of options without the section and the place in the config of the model."""
    return "; ".join(_PLACE.sub("", problem).replace(SECTION, "") for problem in error.problems)
