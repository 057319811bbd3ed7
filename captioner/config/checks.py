"""Checks across options: constraints, and overrides without effect.

A violated constraint is an error everywhere. An option without effect is an error in an override, because its user
expects a change; in a config file it is accepted, since one file serves several commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from captioner.config.option_table import OPTIONS, either
from captioner.config.options import SAMPLING, Config
from captioner.errors import ConfigError


class Constraint(NamedTuple):
    """A condition on two options; if it does not hold, `problem` (of the config) is reported for `option`.

    With `reset`, an `option` that an override of `other` makes ineffective is set to its default instead.
    """

    option: str
    other: str
    holds: Callable[[Config], bool]
    problem: str | Callable[[Config], str]
    reset: bool = False

    def describe(self, config: Config) -> str:
        return self.problem if isinstance(self.problem, str) else self.problem(config)


def _only_with(option: str, other: str, value: str) -> Constraint:
    """Require the default of `option` unless `other` has `value`."""
    default = OPTIONS[option].default
    return Constraint(
        option,
        other,
        lambda config: attrgetter(option)(config) == default or attrgetter(other)(config) == value,
        f"has no effect without {other} {value} (set that, or leave this at {'null' if default is None else default})",
        reset=option.startswith("decode."),
    )


def _only_with_a_beam(option: str) -> Constraint:
    """Require 0 for an option that ranks the candidates of a beam unless there is more than one."""
    return Constraint(
        option,
        "decode.beam_width",
        lambda c: attrgetter(option)(c) == 0 or (c.decode.method == "beam" and c.decode.beam_width >= 2),
        "has no effect without decode.method beam and decode.beam_width >= 2 (set those, or leave this at 0)",
        reset=True,
    )


def _needs_root(source: str, expected: str) -> Constraint:
    """Require `data.root` for a data source."""
    return Constraint(
        "data.root",
        "data.source",
        lambda c: c.data.source != source or c.data.root is not None,
        f"required by data.source {source} ({expected})",
    )


def _divisors(config: Config) -> str:
    width = config.model.hidden_dim
    divisors = either([str(heads) for heads in range(1, 17) if width % heads == 0])
    return f"expected a divisor of model.hidden_dim {width} (such as {divisors}; or change model.hidden_dim)"


LEARNED = ("data.captions", "data.captions_per_image", "data.references")
"""Options of the captions that training learns; no other command reads them."""


def _only_with_captions(option: str) -> Constraint:
    """Require the default of `option` without `data.captions`."""
    default = OPTIONS[option].default
    return Constraint(
        option,
        "data.captions",
        lambda c: attrgetter(option)(c) == default or c.data.captions is not None,
        f"has no effect without data.captions (set that, or leave this at {default})",
        reset=True,
    )


CONSTRAINTS = (
    _needs_root("cs231n", "the folder with coco2014_captions.h5"),
    _needs_root("prepared", "a file written by `captioner prepare`"),
    _only_with("train.lr_decay", "train.schedule", "exponential"),
    _only_with("train.weight_decay", "train.update_rule", "adamw"),
    Constraint("model.heads", "model.hidden_dim",
               lambda c: not has_effect(c, "model.heads") or c.model.hidden_dim % c.model.heads == 0,
               _divisors),
    Constraint("train.objective", "train.init_from",
               lambda c: c.train.objective != "self_critical" or c.train.init_from is not None,
               "self_critical needs a trained model (set train.init_from to its run)"),
    _only_with("train.consensus", "train.objective", "self_critical"),
    Constraint("train.samples", "train.batch_size",
               lambda c: c.train.objective != "self_critical" or c.train.samples <= c.train.batch_size,
               "expected at most train.batch_size"),
    Constraint("data.vocabulary", "train.init_from",
               lambda c: c.data.vocabulary == "union" or c.train.init_from is not None,
               "has no effect without train.init_from (set that, or leave this at union)"),
    Constraint("data.captions", "train.objective",
               lambda c: c.data.captions is None or c.train.objective != "self_critical",
               "has no effect with train.objective self_critical (set another, or leave this at null)",
               reset=True),
    *map(_only_with_captions, LEARNED[1:]),
    Constraint("train.label_smoothing", "train.objective",
               lambda c: c.train.label_smoothing == 0 or c.train.objective != "self_critical",
               "has no effect with train.objective self_critical (set another, or leave this at 0)"),
    Constraint("validate.score_every", "validate.every",
               lambda c: c.validate.score_every is None or c.validate.score_every % c.validate.every == 0,
               "expected a multiple of validate.every"),
    Constraint("decode.min_length", "decode.max_length",
               lambda c: c.decode.min_length <= c.decode.max_length,
               "expected at most decode.max_length"),
    _only_with("decode.beam_width", "decode.method", "beam"),
    *(_only_with_a_beam(f"decode.{name}") for name in ("length_penalty", "consensus")),
    Constraint("decode.guidance", "decode.consensus",
               lambda c: c.decode.guidance == 0 or c.decode.consensus > 0,
               "has no effect without decode.consensus > 0 (set that, or leave this at 0)",
               reset=True),
    *(_only_with(f"decode.{name}", "decode.method", "sampling") for name in SAMPLING),
)  # fmt: skip

DEPENDENT: Mapping[str, Callable[[Config], Any]] = {
    "validate.best_metric": lambda c: "cider_d" if learns_other_captions(c) else "loss",
    "validate.score_every": lambda c: None if c.validate.best_metric == "loss" else c.validate.every,
}
"""What null means for options whose default depends on others, in the order in which it is replaced."""


def learns_other_captions(config: Config) -> bool:
    """Return whether training minimizes something else than the loss of the references, which validation measures."""
    return config.train.objective == "self_critical" or config.data.captions is not None


SCORED = ("threads", "data", "decode")
"""What can change for a trained model: where its data set is, and how captions are decoded."""
CAPTIONED = (*SCORED, "caption")
"""The same, and what is written for an image."""
SHAPING = (
    *("data.standardize", "model.decoder", "model.wordvec_dim", "model.hidden_dim", "model.image_input"),
    *("model.attention", "model.attention_dim", "model.layers", "model.heads", "model.feed_forward_dim", "model.norm"),
    "model.activation",
)
"""Options that determine the parameters' names, shapes and meaning, and the scale of the features."""
USED_BY: Mapping[str, Sequence[str]] = {
    "sample": CAPTIONED,
    "serve": CAPTIONED,
    "evaluate": SCORED,
    "report": (*SCORED, "caption.n_best"),
    "captioner.load": CAPTIONED,
    "captioner.evaluate": SCORED,
    "export": ("decode",),
    "inspect gradients": ("data",),
    "data show": ("seed", "data"),
    "gradcheck": (
        "seed",
        *SHAPING,
        *(path for path in OPTIONS if path.startswith("model.dropout_")),
        "train.label_smoothing",
    ),
}
"""The options and sections that a command, or a function of the Python API, uses; others use all."""
ADAM = ("adam", "adamw")
RECURRENT = tuple(name for name in OPTIONS["model.decoder"].choices if name != "transformer")
ATTENTION = ("attention_dim", "dropout_keys", "dropout_regions")
TRANSFORMER = ("layers", "heads", "feed_forward_dim", "norm", "activation", "dropout_layers")
STORED = ("cs231n", "prepared")
USED_WITH: Sequence[tuple[str, str, Sequence[str]]] = (
    ("data.root", "data.source", STORED),
    ("data.memory_mib", "data.source", STORED),
    ("data.cs231n.pca", "data.source", ("cs231n",)),
    *((f"model.{name}", "model.attention", ("adaptive",)) for name in ATTENTION),
    *((f"model.{name}", "model.decoder", RECURRENT) for name in ("wordvec_dim", "image_input", *ATTENTION[:2])),
    *((f"model.{name}", "model.decoder", ("transformer",)) for name in TRANSFORMER),
    ("model.forget_bias", "model.decoder", ("lstm",)),
    ("train.captions_per_image", "train.objective", ("cross_entropy",)),
    ("train.samples", "train.objective", ("self_critical",)),
    ("train.momentum", "train.update_rule", ("sgd_momentum",)),
    ("train.decay_rate", "train.update_rule", ("rmsprop",)),
    ("train.beta1", "train.update_rule", ADAM),
    ("train.beta2", "train.update_rule", ADAM),
    ("train.epsilon", "train.update_rule", ("rmsprop", *ADAM)),
)
"""Options that have an effect only with some values of another option.

`CONSTRAINTS` has those that are an error in a config file too.
"""


def is_used(path: str, command: str) -> bool:
    """Return whether a command or function uses an option."""
    used = USED_BY.get(command)
    return used is None or (path not in LEARNED and any(path == name or path.startswith(f"{name}.") for name in used))


def check_used(paths: Iterable[str], command: str) -> None:
    """Check that a command or function uses the options that are overridden.

    Raises: ConfigError with one line per option that it does not use.
    """
    problems = [
        f"{path} has no effect on {command}{_alternative(path, command)}"
        for path in paths
        if not is_used(path, command)
    ]
    if problems:
        raise ConfigError(problems)


def _alternative(path: str, command: str) -> str:
    """Name the option of the same name that the command uses, or else all options that it uses."""
    if path in LEARNED:
        return "; only train uses it"
    name = path.rpartition(".")[2]
    same = [other for other in OPTIONS if other.rpartition(".")[2] == name and is_used(other, command)]
    if same:
        return f"; did you mean {either(same)}?"
    used = (name if name in OPTIONS else f"{name}.*" for name in USED_BY[command])
    return f"; it uses {', '.join(used)}"


def has_effect(config: Config, path: str) -> bool:
    """Return whether an option has an effect with the values of the other options."""
    return next(_obstacles(config, path), None) is None


def unused(config: Config, paths: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the options that differ from their defaults without effect, each with the other option and the problem."""
    for path in paths:
        obstacle = next(_obstacles(config, path), None)
        if obstacle and attrgetter(path)(config) != OPTIONS[path].default:
            other, values = obstacle
            yield path, other, f"has no effect with {other} {attrgetter(other)(config)}, only with {either(values)}"


def _obstacles(config: Config, path: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield each option whose value disables `path`, with the values that enable it."""
    for option, other, values in USED_WITH:
        if option == path and attrgetter(other)(config) not in values:
            yield other, values
