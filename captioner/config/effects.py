"""Options without effect: an override that changes nothing is an error, because its user expects a change.

In a config file such an option is accepted: one file serves several commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

from captioner.config.options import Config
from captioner.config.schema import either, options
from captioner.config.values import MAX_SHOWN
from captioner.errors import ConfigError
from captioner.printable import printable

DEFAULTS: Mapping[str, object] = {option.path: option.default for option in options()}
TRAINED = ("threads", "data", "decode")
"""What can change for a trained model: where its data set is, and how captions are decoded."""
SHAPING = (
    "data.standardize",
    "model.cell",
    "model.wordvec_dim",
    "model.hidden_dim",
    "model.image_input",
    "model.attention",
    "model.attention_dim",
)
"""Options that determine the parameters' names and shapes, and the scale of the features."""
USED_BY: Mapping[str, Sequence[str]] = {
    "sample": TRAINED,
    "serve": TRAINED,
    "evaluate": TRAINED,
    "report": TRAINED,
    "distill": (
        *("seed", "threads", "data", "model", "distill", "validate", "decode"),
        *(path for path in DEFAULTS if path.startswith("train.") and path != "train.objective"),
    ),
    "the teachers": ("decode",),
    "captioner.load": TRAINED,
    "captioner.evaluate": TRAINED,
    "export": ("decode",),
    "package": ("decode",),
    "inspect gradients": ("data",),
    "data summary": ("seed", "data"),
    "data show": ("seed", "data"),
    "gradcheck": (
        "seed",
        *SHAPING,
        *(path for path in DEFAULTS if path.startswith("model.dropout_")),
        "train.label_smoothing",
    ),
}
"""The options and sections that a command, or a function of the Python API, uses; others use all."""
ADAM = ("adam", "adamw")
STORED = ("cs231n", "prepared")
USED_WITH: Mapping[str, tuple[str, Sequence[str]]] = {
    "data.root": ("data.source", STORED),
    "data.memory_mib": ("data.source", STORED),
    "data.cs231n.pca": ("data.source", ("cs231n",)),
    "model.attention_dim": ("model.attention", ("adaptive",)),
    "model.dropout_regions": ("model.attention", ("adaptive",)),
    "model.dropout_keys": ("model.attention", ("adaptive",)),
    "model.forget_bias": ("model.cell", ("lstm",)),
    "distill.captions_per_image": ("train.objective", ("distillation",)),
    "distill.references": ("train.objective", ("distillation",)),
    "train.momentum": ("train.update_rule", ("sgd_momentum",)),
    "train.decay_rate": ("train.update_rule", ("rmsprop",)),
    "train.beta1": ("train.update_rule", ADAM),
    "train.beta2": ("train.update_rule", ADAM),
    "train.epsilon": ("train.update_rule", ("rmsprop", *ADAM)),
}
"""Options that have an effect only with some values of another option.

`config.constraints` has those that are an error in a config file too.
"""


def is_used(path: str, command: str) -> bool:
    """Return whether a command or function uses an option."""
    used = USED_BY.get(command)
    return used is None or any(path == one or path.startswith(f"{one}.") for one in used)


def check_used(overrides: Sequence[str], command: str) -> None:
    """Check that a command or function uses the options of `key=value` overrides; unknown options are ignored.

    Raises: ConfigError with one line per option that it does not use.
    """
    paths = {override: override.partition("=")[0].strip() for override in overrides}
    problems = [
        f"-o {printable(override, MAX_SHOWN)}: {path} has no effect on {command}{_alternative(path, command)}"
        for override, path in paths.items()
        if path in DEFAULTS and not is_used(path, command)
    ]
    if problems:
        raise ConfigError(problems)


def _alternative(path: str, command: str) -> str:
    """Name the option of the same name that the command uses, or else all options that it uses."""
    name = path.rpartition(".")[2]
    same = [other for other in DEFAULTS if other.rpartition(".")[2] == name and is_used(other, command)]
    if same:
        return f"; did you mean {either(same)}?"
    used = [one if one in DEFAULTS else f"{one}.*" for one in USED_BY[command]]
    return f"; it uses {', '.join(used)}"


def unused(config: Config, paths: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the options that differ from their defaults without effect, each with the other option and the problem."""
    for path in filter(USED_WITH.__contains__, paths):
        other, values = USED_WITH[path]
        got = attrgetter(other)(config)
        if got not in values and attrgetter(path)(config) != DEFAULTS[path]:
            yield path, other, f"has no effect with {other} {got}, only with {either(values)}"
