"""Checks across options: constraints, and options without effect.

A violated constraint is an error everywhere. An option without effect is an error in an override, because its user
expects a change. Elsewhere it is ignored, since one config file serves several decoders: it has its default value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from captioner.config.option_table import BOUNDS, OPTIONS, either
from captioner.config.options import GUIDED, SAMPLING, Config
from captioner.errors import ConfigError

RECURRENT = tuple(name for name in OPTIONS["model.decoder"].choices if name != "transformer")
ROOTS = {
    "cs231n": "the folder with coco2014_captions.h5",
    "prepared": "a file written by `captioner prepare`",
}
"""What `data.root` is for each data source that needs it."""
SET, NOT_SET = "set", "not set"
"""Conditions on an option: it is not null, or null. Any other condition is a tuple of allowed values."""
Condition = str | Sequence[str]
ADAM, OF_RANKING = ("adam", "adamw"), {"decode.method": ("beam",), "decode.beam_width or caption.n_best": ">= 2"}
CROSS_ENTROPY, SELF_CRITICAL = {"train.objective": ("cross_entropy",)}, {"train.objective": ("self_critical",)}
OF_STORED, OF_ADAM, OF_CAPTIONS = {"data.source": tuple(ROOTS)}, {"train.update_rule": ADAM}, {"data.captions": SET}
OF_RECURRENT, OF_ATTENTION = {"model.decoder": RECURRENT}, {"model.attention": ("adaptive",)}
OF_INITIAL = {"train.init_from": NOT_SET}
TRANSFORMER = ("layers", "heads", "feed_forward_dim", "norm", "activation", "dropout_layers")
NEEDS: Mapping[str, Mapping[str, Condition]] = {
    **dict.fromkeys(("data.root", "data.memory_mib"), OF_STORED),
    **{path: {"data.source": ("scenes",)} for path in OPTIONS if path.startswith("data.scenes.")},
    "data.cs231n.pca": {"data.source": ("cs231n",)},
    "data.vocabulary": {"train.init_from": SET},
    **dict.fromkeys(("data.captions", "train.captions_per_image", "train.label_smoothing"), CROSS_ENTROPY),
    **dict.fromkeys(("data.captions_per_image", "data.references"), OF_CAPTIONS),
    **dict.fromkeys(("model.wordvec_dim", "model.image_input"), OF_RECURRENT),
    "model.attention_dim": {**OF_ATTENTION, **OF_RECURRENT},
    "model.dropout_keys": {**OF_ATTENTION, **OF_RECURRENT},
    "model.dropout_regions": OF_ATTENTION,
    **{f"model.{name}": {"model.decoder": ("transformer",)} for name in TRANSFORMER},
    "model.forget_bias": {"model.decoder": ("lstm",), **OF_INITIAL},
    "model.output_bias": OF_INITIAL,
    **dict.fromkeys(("train.samples", "train.similarity_weight"), SELF_CRITICAL),
    "train.momentum": {"train.update_rule": ("sgd_momentum",)},
    "train.decay_rate": {"train.update_rule": ("rmsprop",)},
    **dict.fromkeys(("train.beta1", "train.beta2"), OF_ADAM),
    "train.epsilon": {"train.update_rule": ("rmsprop", *ADAM)},
    "train.weight_decay": {"train.update_rule": ("adamw",)},
    "train.lr_decay": {"train.schedule": ("exponential",)},
    "decode.beam_width": {"decode.method": ("beam",)},
    **{f"decode.{name}": OF_RANKING for name in ("length_penalty", *GUIDED)},
    **{f"decode.{name}": {"decode.method": ("sampling",)} for name in SAMPLING},
}
"""Options that have an effect only under conditions on other options; of `A or B`, one must fulfil the condition."""


def has_effect(config: Config, path: str) -> bool:
    """Return whether an option has an effect with the values of the other options."""
    needs = NEEDS.get(path, {}).items()
    return all(any(_holds(attrgetter(other)(config), c) for other in others.split(" or ")) for others, c in needs)


def no_effect(path: str, config: Config) -> str:
    """Describe why an option has no effect, and what to set."""
    default, needs = OPTIONS[path].default, NEEDS[path]
    if unset := [other for other, condition in needs.items() if condition == NOT_SET and attrgetter(other)(config)]:
        return f"has no effect with {unset[0]}, whose parameters replace the initial ones; leave it out"
    conditions = [
        other if c == SET else f"{other} {c if isinstance(c, str) else either(c)}"
        for other, c in needs.items()
        if c != NOT_SET
    ]
    those = "those" if len(conditions) > 1 else "that"
    left = "null" if default is None else default
    return f"has no effect without {' and '.join(conditions)} (set {those}, or leave this at {left})"


def is_unused(config: Config, path: str) -> bool:
    """Return whether an option differs from its default without effect."""
    return attrgetter(path)(config) != OPTIONS[path].default and not has_effect(config, path)


def _holds(value: object, condition: Condition) -> bool:
    match condition:
        case "set" | "not set":
            return (value is not None) == (condition == SET)
        case str():
            sign, limit = condition.split()
            return BOUNDS[sign](value, float(limit))
        case _:
            return value in condition


class Constraint(NamedTuple):
    """A condition on `option` and the `others` that it depends on, and the problem of a config that violates it."""

    option: str
    others: Sequence[str]
    holds: Callable[[Config], bool]
    problem: Callable[[Config], str]


def _divisors(config: Config) -> str:
    width = config.model.hidden_dim
    divisors = either([str(heads) for heads in range(1, 17) if width % heads == 0])
    return f"expected a divisor of model.hidden_dim {width} (such as {divisors}; or change model.hidden_dim)"


CONSTRAINTS = (
    Constraint("data.root", ("data.source",),
               lambda c: c.data.source not in ROOTS or c.data.root is not None,
               lambda c: f"required by data.source {c.data.source} ({ROOTS.get(c.data.source)})"),
    Constraint("model.heads", ("model.hidden_dim",),
               lambda c: not has_effect(c, "model.heads") or c.model.hidden_dim % c.model.heads == 0,
               _divisors),
    Constraint("train.objective", ("train.init_from",),
               lambda c: c.train.objective != "self_critical" or c.train.init_from is not None,
               lambda _: "self_critical needs a trained model (set train.init_from to its run)"),
    Constraint("train.samples", ("train.batch_size",),
               lambda c: c.train.objective != "self_critical" or c.train.samples <= c.train.batch_size,
               lambda c: f"expected at most train.batch_size {c.train.batch_size}, got {c.train.samples}"),
    Constraint("validate.score_every", ("validate.every",),
               lambda c: c.validate.score_every is None or c.validate.score_every % c.validate.every == 0,
               lambda c: f"expected a multiple of validate.every {c.validate.every}, got {c.validate.score_every}"),
    Constraint("decode.min_length", ("decode.max_length",),
               lambda c: c.decode.min_length <= c.decode.max_length,
               lambda c: f"expected at most decode.max_length {c.decode.max_length}, got {c.decode.min_length}"),
)  # fmt: skip


def learns_other_captions(config: Config) -> bool:
    """Return whether training minimizes something else than the loss of the references, which validation measures."""
    return config.train.objective == "self_critical" or config.data.captions is not None


def score_interval(config: Config) -> int | None:
    """Return after how many epochs captions are scored: validate.score_every, or as the metric of best.h5 requires."""
    options = config.validate
    return options.score_every or (None if options.best_metric == "loss" else options.every)


LEARNED = ("data.captions", "data.captions_per_image", "data.references")
"""Options of the captions that training learns; no other command reads them."""
CAPTIONED = ("threads", "decode", "caption")
"""What can change for photographs: how captions are decoded, and what is written for one."""
SCORED = ("threads", "data", "decode")
"""What can change for the images of a data set: where it is, and how captions are decoded."""
SAMPLED = (*SCORED, "caption")
"""Both."""
SHAPING = (
    *("data.standardize", "model.decoder", "model.wordvec_dim", "model.hidden_dim", "model.image_input"),
    *("model.attention", "model.attention_dim", "model.layers", "model.heads", "model.feed_forward_dim", "model.norm"),
    "model.activation",
)
"""Options that determine the parameters' names, shapes and meaning, and the scale of the features."""
FIXED = (
    "seed", *SHAPING, "data.source", "data.vocabulary", "data.max_captions_per_image", "data.max_train",
    "data.captions_per_image", "data.references",
    "model.dtype", "model.forget_bias", "model.output_bias",
    "train.batch_size", "train.captions_per_image", "train.samples", "train.objective", "train.init_from",
    "train.min_epoch_steps",
    "train.update_rule", "validate.split", "validate.max_captions", "validate.best_metric",
)  # fmt: skip
"""Options that cannot change after training has started: they determine parameters, slots, steps or losses."""
USED_BY: Mapping[str, Sequence[str]] = {
    "caption": CAPTIONED,
    "sample": SAMPLED,
    "serve": CAPTIONED,
    "evaluate": SCORED,
    "report": (*SCORED, "caption.n_best"),
    "captioner.load": SAMPLED,
    "captioner.evaluate": SCORED,
    "export": ("decode",),
    "inspect gradients": ("data",),
    "gradcheck": (
        "seed",
        *(path for path in SHAPING if path not in ("model.layers", "model.heads", "model.feed_forward_dim")),
        *(path for path in OPTIONS if path.startswith("model.dropout_")),
        "train.label_smoothing",
    ),
}
"""The options and sections that a command, or a function of the Python API, uses; others use all."""


def is_used(path: str, command: str) -> bool:
    """Return whether a command or function uses an option."""
    used = USED_BY.get(command)
    return used is None or (path not in LEARNED and any(path == name or path.startswith(f"{name}.") for name in used))


def check_used(paths: Iterable[str], command: str) -> None:
    """Check that a command or function uses the options that are overridden.

    Raises: ConfigError with one line per option that it does not use.
    """
    used = ", ".join(name if name in OPTIONS else f"{name}.*" for name in USED_BY.get(command, ()))
    problems = [
        f"{path} has no effect on {command}; {'only train uses it' if path in LEARNED else f'it uses {used}'}"
        for path in paths
        if not is_used(path, command)
    ]
    if problems:
        raise ConfigError(problems)
