"""Set options of a Config by their paths: overrides of the command line, of Python and of requests; and saved configs.

All of them are values by path, such as {"decode.beam_width": 5}. A Config is changed by `override` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from captioner.config.checks import CONSTRAINTS, NEEDS, check_used, is_unused, learns_other_captions, no_effect
from captioner.config.option_table import (
    MAX_SHOWN,
    NULL,
    OPTIONS,
    READ,
    SECTIONS,
    closest,
    converted,
    read,
    replaced,
    write,
)
from captioner.config.options import Config
from captioner.errors import ConfigError, printable, quoted

Values = Mapping[str, Any]
"""Values of options by path."""
NONE: Values = {}
FORMER: Values = {
    "model.norm": "pre",
    "train.momentum": 0.9,
    "train.decay_rate": 0.99,
    "train.beta1": 0.9,
    "train.beta2": 0.999,
    "train.epsilon": 1e-8,
    "validate.max_captions": None,
}
"""Former options, with the one value that remains: config files and stored configs may have it, but no other."""


def read_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """Read the values of `key=value` texts; of several values of an option, the last one is used.

    Raises: ConfigError with one line per problem.
    """
    values: dict[str, Any] = {}
    problems = []
    for text in texts:
        path, equals, value = text.partition("=")
        path, value = path.strip(), value.strip()
        try:
            if not equals:
                raise ValueError("expected key=value, such as model.decoder=rnn")
            if path not in OPTIONS:
                raise ValueError(unknown(path))
            if not value:
                raise ValueError(f"expected {OPTIONS[path].expected()} after the =, got nothing")
            values[path] = read(OPTIONS[path], value)
        except ValueError as problem:
            problems.append(f"-o {printable(text, MAX_SHOWN)}: {problem}")
    if problems:
        raise ConfigError(problems)
    return values


def checked_values(values: Values, command: str | None = None) -> dict[str, Any]:
    """Return values that Python code gives, with paths as absolute `Path`; `command` must use these options.

    Raises: ConfigError for an unknown option, a value of another type or out of bounds, or one without effect.
    """
    checked: dict[str, Any] = {}
    problems = []
    if not isinstance(values, Mapping):
        raise ConfigError([f'expected options by path, such as {{"decode.beam_width": 5}}, got {quoted(values)}'])
    for path, value in values.items():
        option = OPTIONS.get(path)
        if option is None:
            problems.append(f"{printable(path, MAX_SHOWN)}: {unknown(str(path))}")
            continue
        try:
            checked[path] = converted(option, value)
        except ValueError as problem:
            problems.append(f"{path}: {problem}")
    if problems:
        raise ConfigError(problems)
    if command is not None:
        check_used(checked, command)
    return checked


def unknown(path: str) -> str:
    """Describe the problem of a path that is not an option, with a suggestion."""
    if path in SECTIONS:
        option = next(option for option in OPTIONS if option.startswith(f"{path}."))
        return f"expected an option, got a section; set one of its options, such as {option}"
    if path in FORMER:
        value = FORMER[path]
        return f"no longer an option; its value is always {'null' if value is None else value}; leave it out"
    return f"unknown option{closest(path, OPTIONS) or ' (captioner config show prints all options)'}"


def remains(path: str, text: str) -> bool:
    """Return whether a text of a config file is the value that remains of a former option."""
    value = FORMER[path]
    return text in NULL if value is None else READ[type(value)](text) == value


def override(config: Config, values: Values = NONE, places: Mapping[str, str] = {}) -> Config:
    """Set options of a config, and check the options that depend on each other.

    An override without effect is a problem. Another option without effect gets its default, and a message in
    `ignored`. The null of validate.best_metric is replaced. `places` are the places of options in messages, such as a
    line of a file; by default, those of overrides are `-o key=value`.

    Raises: ConfigError with one line per problem.
    """
    config = replaced(config, {**values, "given": config.given | values.keys()})
    places = {path: f"-o {path}={printable(write(OPTIONS[path], values[path]), MAX_SHOWN)}" for path in values} | {
        **places
    }
    problems = []
    ignored = {path: problem for path, problem in config.ignored.items() if path not in values}
    for path in NEEDS:
        if is_unused(config, path):
            problem = f"{path}: {no_effect(path, config)}"
            if path in values:
                problems.append(": ".join(filter(None, (places[path], problem))))
            else:
                ignored[path] = ": ".join(filter(None, (places.get(path), f"ignored: {problem}")))
                config = replaced(config, {path: OPTIONS[path].default})
    config = replaced(config, {"ignored": ignored, "given": config.given - ignored.keys()})
    if config.validate.best_metric is None:
        metric = "cider_d" if learns_other_captions(config) else "loss"
        config = replaced(config, {"validate.best_metric": metric})
    for option, others, holds, problem_of in CONSTRAINTS:
        if not holds(config):
            place = next(filter(None, map(places.get, (option, *others))), None)
            problems.append(": ".join(filter(None, (place, option, problem_of(config)))))
    if problems:
        raise ConfigError(problems)
    return config


def to_record(config: Config) -> dict[str, Any]:
    """Return the values of all options by path, as JSON values."""
    values = {path: attrgetter(path)(config) for path in OPTIONS}
    return {path: str(value) if isinstance(value, Path) else value for path, value in values.items()}


def from_record(record: Any) -> Config:
    """Build the Config of a record that `to_record` returned; an option that it lacks has its default.

    Raises: ConfigError with one line per problem.
    """
    if not isinstance(record, dict):
        raise ConfigError([f"expected options by name, got {type(record).__name__}"])
    current = {path: value for path, value in record.items() if path not in FORMER or value != FORMER[path]}
    return override(replaced(Config(), checked_values(current)))


def differences(config: Config, other: Config) -> list[str]:
    """Return the options in which two configs differ."""
    return [path for path in OPTIONS if attrgetter(path)(config) != attrgetter(path)(other)]
