"""Checks across options: constraints, and options without effect.

A violated constraint is an error everywhere. An option without effect is an error in an override, because its user
expects a change. Elsewhere it is ignored, since one config file serves several decoders: it has its default value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from captioner.config.option_table import OPTIONS, either
from captioner.config.options import GUIDED, SAMPLING, Config
from captioner.errors import ConfigError

ROOTS = {
    "cs231n": "the folder with coco2014_captions.h5",
    "prepared": "a file written by `captioner prepare`",
}
"""What `data.root` is for each data source that needs it."""


class Need(NamedTuple):
    """A condition under which an option has an effect; `text` says what to set."""

    text: str
    holds: Callable[[Config], bool]


def _choice(path: str, *values: str) -> Need:
    return Need(f"{path} {either(values)}", lambda config: attrgetter(path)(config) in values)


STORED, SCENES, CS231N = (_choice("data.source", *names) for names in (ROOTS, ("scenes",), ("cs231n",)))
CAPTIONS = Need("data.captions", lambda c: c.data.captions is not None)
BASE = Need("train.init_from", lambda c: c.train.init_from is not None)
INITIAL = Need("train.init_from null", lambda c: c.train.init_from is None)
RECURRENT = _choice("model.decoder", *(name for name in OPTIONS["model.decoder"].choices if name != "transformer"))
TRANSFORMER, LSTM = _choice("model.decoder", "transformer"), _choice("model.decoder", "lstm")
ATTENTION = _choice("model.attention", "adaptive")
CROSS_ENTROPY, SELF_CRITICAL = (_choice("train.objective", name) for name in ("cross_entropy", "self_critical"))
BEAM, OF_SAMPLING = _choice("decode.method", "beam"), _choice("decode.method", "sampling")
SEVERAL = Need("decode.beam_width or caption.n_best >= 2", lambda c: max(c.decode.beam_width, c.caption.n_best) >= 2)
NEEDS: Mapping[str, Sequence[Need]] = {
    **dict.fromkeys(("data.root", "data.memory_mib"), (STORED,)),
    **{path: (SCENES,) for path in OPTIONS if path.startswith("data.scenes.")},
    "data.cs231n.pca": (CS231N,),
    "data.vocabulary": (BASE,),
    **dict.fromkeys(("data.captions", "train.captions_per_image", "train.label_smoothing"), (CROSS_ENTROPY,)),
    **dict.fromkeys(("data.captions_per_image", "data.references"), (CAPTIONS,)),
    **dict.fromkeys(("model.wordvec_dim", "model.image_input"), (RECURRENT,)),
    **dict.fromkeys(("model.attention_dim", "model.dropout_keys"), (ATTENTION, RECURRENT)),
    "model.dropout_regions": (ATTENTION,),
    **{
        f"model.{name}": (TRANSFORMER,)
        for name in ("layers", "heads", "feed_forward_dim", "activation", "dropout_layers")
    },
    "model.forget_bias": (LSTM, INITIAL),
    "model.output_bias": (INITIAL,),
    **dict.fromkeys(("train.samples", "train.similarity_weight"), (SELF_CRITICAL,)),
    "train.weight_decay": (_choice("train.update_rule", "adamw"),),
    "train.lr_decay": (_choice("train.schedule", "exponential"),),
    "decode.beam_width": (BEAM,),
    **{f"decode.{name}": (BEAM, SEVERAL) for name in ("length_penalty", *GUIDED)},
    **{f"decode.{name}": (OF_SAMPLING,) for name in SAMPLING},
}
"""Options that have an effect only if all of these conditions on other options hold."""


def has_effect(config: Config, path: str) -> bool:
    """Return whether an option has an effect with the values of the other options."""
    return all(need.holds(config) for need in NEEDS.get(path, ()))


def no_effect(path: str, config: Config) -> str:
    """Describe why an option has no effect, and what to set."""
    if INITIAL in NEEDS[path] and not INITIAL.holds(config):
        return "has no effect with train.init_from, whose parameters replace the initial ones; leave it out"
    needs = [need.text for need in NEEDS[path] if need is not INITIAL]
    default, those = OPTIONS[path].default, "those" if len(needs) > 1 else "that"
    left = "null" if default is None else default
    return f"has no effect without {' and '.join(needs)} (set {those}, or leave this at {left})"


def is_unused(config: Config, path: str) -> bool:
    """Return whether an option differs from its default without effect."""
    return attrgetter(path)(config) != OPTIONS[path].default and not has_effect(config, path)


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
               lambda c: not samples_captions(c) or c.train.init_from is not None,
               lambda c: f"{c.train.objective} needs a trained model (set train.init_from to its run)"),
    Constraint("train.samples", ("train.batch_size",),
               lambda c: not samples_captions(c) or c.train.samples <= c.train.batch_size,
               lambda c: f"expected at most train.batch_size {c.train.batch_size}, got {c.train.samples}"),
    Constraint("validate.score_every", ("validate.every",),
               lambda c: c.validate.score_every is None or c.validate.score_every % c.validate.every == 0,
               lambda c: f"expected a multiple of validate.every {c.validate.every}, got {c.validate.score_every}"),
    Constraint("decode.min_length", ("decode.max_length",),
               lambda c: c.decode.min_length <= c.decode.max_length,
               lambda c: f"expected at most decode.max_length {c.decode.max_length}, got {c.decode.min_length}"),
)  # fmt: skip


def samples_captions(config: Config) -> bool:
    """Return whether the model samples the captions of a batch itself: a batch then depends on the parameters."""
    return has_effect(config, "train.samples")


def learns_other_captions(config: Config) -> bool:
    """Return whether training minimizes something else than the loss of the references, which validation measures."""
    return samples_captions(config) or config.data.captions is not None


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
    *("model.attention", "model.attention_dim", "model.layers", "model.heads", "model.feed_forward_dim"),
    "model.activation",
)
"""Options that determine the parameters' names, shapes and meaning, and the scale of the features."""
FIXED = (
    "seed", *SHAPING, "data.source", "data.vocabulary", "data.max_captions_per_image", "data.max_train",
    "data.captions_per_image", "data.references",
    "model.dtype", "model.forget_bias", "model.output_bias",
    "train.batch_size", "train.captions_per_image", "train.samples", "train.objective", "train.init_from",
    "train.min_epoch_steps",
    "train.update_rule", "validate.split", "validate.best_metric",
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
