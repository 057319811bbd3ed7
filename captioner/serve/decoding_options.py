"""The decoding options of a request: those of `decode.*` by their names, `n_best` and `attention`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from captioner.config.options import Decode
from captioner.config.schema import Option, options
from captioner.config.values import MAX_SHOWN, Scalar, closest, read, write
from captioner.config.yaml_io import dump, parse
from captioner.errors import ConfigError
from captioner.inference.captioner import MAX_N_BEST, Captioner
from captioner.printable import printable
from captioner.serve.limits import RequestError

SECTION = "decode."
MODEL = "the model"
_PLACE = re.compile(rf"^(-o .*?|{MODEL}:[0-9]+): (?={re.escape(SECTION)})")
"""The place of an option in a message."""
CAPS = {"beam_width": 100, "max_length": 100}
"""Maximum values, unless the model's own is larger: the time of a caption grows with their product."""
KEYBOARDS: Mapping[type, str] = {int: "numeric", float: "decimal"}
"""Values of the HTML attribute `inputmode`."""
FLAGS = {"true": True, "false": False, "on": True}
"""Values of `attention`; a checkbox of a form has the value `on`."""


class Decoding(NamedTuple):
    """How to caption one photograph."""

    decode: Decode
    n_best: int
    attention: bool


class Field(NamedTuple):
    """An option of the form: the model's own value, and its choices or the kind of keyboard that its values need."""

    name: str
    doc: str
    default: str
    choices: tuple[str, ...] = ()
    keyboard: str = "text"


class DecodingOptions:
    """The options that requests may set for a model."""

    def __init__(self, captioner: Captioner) -> None:
        config = captioner.loaded.config
        self.own = config.decode
        self.has_attention = captioner.loaded.meta.region_dim > 0
        self.options: Mapping[str, Option] = {
            option.path.removeprefix(SECTION): option
            for option in options()
            if option.path.startswith(SECTION) and (captioner.reranker or option.path != "decode.consensus")
        }
        self._caps = {name: max(cap, getattr(self.own, name)) for name, cap in CAPS.items()}
        text = dump(config)
        self._parse = lru_cache(256)(lambda overrides: parse(text, MODEL, overrides).decode)

    def decoding(self, given: Mapping[str, str]) -> Decoding:
        """Return the options of a request; an empty value counts as not given.

        Raises: RequestError for an option that is unknown, invalid or without effect.
        """
        given = {name: text.strip() for name, text in given.items() if text.strip()}
        n_best, attention = given.pop("n_best", "1"), given.pop("attention", "false")
        if not n_best.isascii() or not n_best.isdigit() or not 1 <= int(n_best[:9]) <= MAX_N_BEST:
            expected = f"expected an integer >= 1 and <= {MAX_N_BEST}"
            raise RequestError(422, f"n_best: {expected}, got {printable(n_best, MAX_SHOWN)}")
        if attention not in FLAGS:
            raise RequestError(422, f"attention: expected true or false, got {printable(attention, MAX_SHOWN)}")
        if FLAGS[attention] and not self.has_attention:
            raise RequestError(422, "attention: this model has no attention; leave this out")
        for name, text in given.items():
            self._check(name, text)
        try:
            decode = self._parse(tuple(f"{SECTION}{name}={text}" for name, text in sorted(given.items())))
        except ConfigError as error:
            raise invalid(error) from None
        return Decoding(decode, int(n_best), FLAGS[attention])

    def _check(self, name: str, text: str) -> None:
        if name not in self.options:
            known = (*self.options, "n_best", "attention")
            raise RequestError(422, f"{printable(name, MAX_SHOWN)}: unknown option{closest(name, known)}")
        value, problem = read(self.options[name], Scalar(text))
        if problem is not None:
            raise RequestError(422, f"{name}: {problem}")
        if name in self._caps and value > self._caps[name]:
            raise RequestError(422, f"{name}: expected at most {self._caps[name]}, got {value}")

    def fields(self) -> list[Field]:
        """Return the fields of the form."""
        return [
            Field("n_best", "number of captions", "1", keyboard=KEYBOARDS[int]),
            *map(self._field, self.options),
        ]

    def _field(self, name: str) -> Field:
        option = self.options[name]
        choices = ("true", "false") if option.kind is bool else option.choices
        default = write(option, getattr(self.own, name))
        return Field(name, option.doc, default, choices, KEYBOARDS.get(option.kind, "text"))


def invalid(error: ConfigError) -> RequestError:
    """Return the refusal of options that do not fit together, in the words of a request."""
    return RequestError(422, "; ".join(_PLACE.sub("", problem).replace(SECTION, "") for problem in error.problems))
