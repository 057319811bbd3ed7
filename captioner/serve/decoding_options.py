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
from captioner.serve.security import OptionError

SECTION = "decode."
MODEL = "the model"
_PLACE = re.compile(rf"^(-o .*?|{MODEL}:[0-9]+): (?={re.escape(SECTION)})")
"""The place of an option in a message."""
CAPS = {"beam_width": 100, "max_length": 100}
"""Maximum values, unless the model's own is larger: the time of a caption grows with their product."""
RERANKING = ("decode.consensus", "decode.guidance")
"""The options that need a re-ranker."""
N_BEST = Option("n_best", int, False, 1, (Bound(">=", 1), Bound("<=", MAX_N_BEST)), (), "number of captions")
KEYWORDS = Option(
    "keywords",
    int,
    False,
    5,
    (Bound(">=", 0), Bound("<=", CLASSES)),
    (),
    "number of keywords, the most probable classes",
)
"""Its default is that of the page; the default of other requests is 0."""
ATTENTION = Option("attention", bool, False, False, (), (), "attention weights of the caption")
KEYBOARDS: Mapping[type, str] = {int: "numeric", float: "decimal"}
"""Values of the HTML attribute `inputmode`."""


class Decoding(NamedTuple):
    """How to caption one photograph."""

    decode: Decode
    options: CaptionOptions


LABELS = {
    "n_best": "captions per photograph",
    "keywords": "keywords per photograph",
    "max_length": "maximum number of words",
    "min_length": "minimum number of words",
    "no_repeat_ngram": "length of phrases that may not repeat",
    "suppress_words": "banned words",
    "suppress_unk": "ban unknown words",
    "consensus": "weight of similar photographs",
    "guidance": "guidance by similar photographs",
    "unfamiliar_below": "minimum familiarity",
    "seed": "random seed",
}
"""Labels of the form; an option that is not listed has its name."""
SHOWN = {"null": "none", "true": "yes", "false": "no"}
"""Values as the form shows them."""


class Field(NamedTuple):
    """An option of the form: the model's own value, and its choices or the kind of keyboard that its values need."""

    name: str
    label: str
    doc: str
    default: str
    choices: tuple[str, ...]
    keyboard: str


class DecodingOptions:
    """The options that requests may set for a model."""

    def __init__(self, captioner: Captioner) -> None:
        config = captioner.loaded.config
        self.defaults = config.decode
        self.has_attention = captioner.loaded.meta.region_dim > 0
        absent = {
            *(() if captioner.reranker else RERANKING),
            *(() if captioner.loaded.familiarity else ("decode.unfamiliar_below",)),
            *(() if has_classes(captioner.loaded.meta.encoder) else (KEYWORDS.path,)),
        }
        of_decoding = (self._capped(option) for path, option in OPTIONS.items() if path.startswith(SECTION))
        self.options: Mapping[str, Option] = {
            option.path.removeprefix(SECTION): option
            for option in (N_BEST, KEYWORDS, ATTENTION, *of_decoding)
            if option.path not in absent
        }
        text = dump(config)
        self._parse = lru_cache(256)(lambda overrides: parse(text, MODEL, overrides).decode)

    def _capped(self, option: Option) -> Option:
        name = option.path.removeprefix(SECTION)
        if name not in CAPS:
            return option
        cap = Bound("<=", max(CAPS[name], getattr(self.defaults, name)))
        return replace(option, bounds=(*(bound for bound in option.bounds if bound.sign != cap.sign), cap))

    def decoding(self, texts: Mapping[str, str], for_page: bool = False) -> Decoding:
        """Return the options of a request, which may be that of the page; an empty text counts as not given.

        Raises: OptionError for an option that is unknown, invalid or without effect.
        """
        texts = {name: text.strip() for name, text in sorted(texts.items()) if text.strip()}
        if for_page:
            texts = {name: "null" if text == SHOWN["null"] else text for name, text in texts.items()}
        values = {name: self._value(name, text) for name, text in texts.items()}
        overrides = (f"{SECTION}{name}={text}" for name, text in texts.items() if hasattr(self.defaults, name))
        try:
            decode = self._parse(tuple(overrides))
        except ConfigError as error:
            raise invalid(error) from None
        keywords = values.get("keywords", KEYWORDS.default if for_page and "keywords" in self.options else 0)
        return Decoding(decode, CaptionOptions(values.get("n_best", 1), values.get("attention", False), keywords))

    def _value(self, name: str, text: str) -> Any:
        if name not in self.options:
            raise OptionError(f"{printable(name, MAX_SHOWN)}: unknown option{closest(name, self.options)}")
        value, problem = read(self.options[name], Scalar(text))
        if name == "attention" and value and not self.has_attention:
            problem = "this model has no attention; leave this out"
        if problem is not None:
            raise OptionError(f"{name}: {problem}")
        return value

    def fields(self) -> list[Field]:
        """Return the fields of the form, apart from the checkbox for attention."""
        return [
            Field(
                name,
                LABELS.get(name, name.replace("_", " ")),
                option.doc.replace("null: ", "none: "),
                write(option, getattr(self.defaults, name, option.default)),
                ("true", "false") if option.kind is bool else option.choices,
                KEYBOARDS.get(option.kind, "text"),
            )
            for name, option in self.options.items()
            if option is not ATTENTION
        ]


def invalid(error: ConfigError) -> OptionError:
    """Return the refusal of options that do not fit together, in the words of a request."""
    return OptionError("; ".join(_PLACE.sub("", problem).replace(SECTION, "") for problem in error.problems))
