"""The table of options is complete, and its JSON Schema accepts what the loader accepts for each option."""

import dataclasses
import json
import re
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import pytest
import yaml
from config_texts import configs
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.config.checks import CONSTRAINTS
from captioner.config.option_table import DRAFT, NOUNS, OPTIONS, Option, build, json_schema, options, sections
from captioner.config.options import Config, Prepare
from captioner.config.yaml_io import dump, parse
from captioner.errors import ConfigError
from captioner.storage.strict_json import to_json


@pytest.mark.parametrize("option", [*options(), *options(Prepare)], ids=lambda option: option.path)
def test_every_option_is_complete_and_its_bounds_choices_and_null_are_checked(option: Option) -> None:
    section = Config() if OPTIONS.get(option.path) == option else Prepare()
    assert attrgetter(option.path)(section) == option.default
    assert option.admits(option.default)
    assert option.kind in NOUNS
    assert type(option.default) is (type(None) if option.default is None else option.kind)
    assert option.bounds or option.kind not in (int, float)
    assert option.doc
    assert not {"\n", "#"} & {*option.doc}
    assert option.admits(None) == option.nullable == ("null" in option.expected())
    for bound in option.bounds:
        outside = bound.limit - 1 if bound.sign.startswith(">") else bound.limit + 1
        assert option.admits(bound.limit) == bound.sign.endswith("=")
        assert not option.admits(outside)
        assert str(bound) in option.expected()
    for choice in option.choices:
        assert option.admits(choice)
        assert choice in option.expected()
    assert not (option.choices and option.admits("gru2"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.decoder", "rnn, lstm, gru or transformer"),
        ("train.update_rule", "sgd, sgd_momentum, rmsprop, adam or adamw"),
        ("model.hidden_dim", "an integer >= 1"),
        ("train.learning_rate", "a number > 0"),
        ("train.momentum", "a number >= 0 and < 1"),
        ("train.clip_norm", "a number > 0 or null"),
        ("data.root", "a path or null"),
        ("data.standardize", "true or false"),
        ("validate.split", "a name"),
    ],
)
def test_valid_values_are_described(path: str, expected: str) -> None:
    assert OPTIONS[path].expected() == expected


def test_every_section_is_a_parent_of_options_and_has_a_docstring() -> None:
    parents = {path[: path.rindex(".")] for path in OPTIONS if "." in path}
    assert parents | {"data"} == sections().keys()
    assert all(doc and "\n" not in doc for doc in sections().values())
    assert not sections().keys() & OPTIONS.keys()


def test_one_line_adds_an_option() -> None:
    @dataclasses.dataclass(frozen=True)
    class Larger(Config):
        beam: Annotated[int, "beam width", ">= 1", "< 9"] = 3

    # Annotations are strings and refer to names of this module, as in config/options.py.
    (new,) = set(options(Larger)) - set(options())
    assert (new.path, new.kind, new.default, new.expected()) == ("beam", int, 3, "an integer >= 1 and < 9")


def test_build_sets_values_and_keeps_the_other_defaults() -> None:
    values = {"seed": 3, "data.scenes.train": 5, "model.decoder": "rnn", "data.root": Path("/x")}
    config = build(values)
    for path, option in OPTIONS.items():
        assert attrgetter(path)(config) == values.get(path, option.default)
    assert build({}) == Config()


def test_constraints_name_options_and_hold_for_the_defaults() -> None:
    for constraint in CONSTRAINTS:
        assert {constraint.option, constraint.other} <= OPTIONS.keys()
        assert constraint.other in constraint.describe(Config())
        assert constraint.holds(Config())


def test_a_config_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1  # type: ignore[misc]


SCHEMA = json.loads(to_json(json_schema()))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Convert values by path to nested sections, as in a file."""
    root: dict[str, Any] = {}
    for path, value in values.items():
        *parents, name = path.split(".")
        section = root
        for parent in parents:
            section = section.setdefault(parent, {})
        section[name] = str(value) if isinstance(value, Path) else value
    return root


def loads(document: Any) -> bool:
    """Return whether the loader accepts a document; JSON is YAML."""
    try:
        parse(json.dumps(document), "file")
    except ConfigError:
        return False
    return True


def test_the_schema_is_valid_and_has_every_option() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == DRAFT
    for path, option in OPTIONS.items():
        schema = SCHEMA
        for name in path.split("."):
            assert schema["additionalProperties"] is False
            schema = schema["properties"][name]
        assert schema["description"].startswith(option.doc)
        assert schema["default"] == option.default
    assert {path.partition(".")[0] for path in sections()} < SCHEMA["properties"].keys()


@settings(max_examples=100, deadline=None)
@given(configs())
def test_what_the_loader_accepts_is_valid(config: Config) -> None:
    VALIDATOR.validate(yaml.safe_load(dump(config)))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_shipped_configs_validate(file: Path) -> None:
    text = re.sub(r"(?<=\d)e-", ".0e-", file.read_text())  # PyYAML reads YAML 1.1
    VALIDATOR.validate(yaml.safe_load(text))


def mistakes(option: Option) -> st.SearchStrategy[Any]:
    """Values that are wrong for an option."""
    wrong: list[Any] = [[1], {"a": 1}]
    wrong += {bool: [1, "true"], int: [True, "many", 2.5], float: [True, "many"]}.get(option.kind, [""])
    wrong += [bound.limit - 1 if bound.sign[0] == ">" else bound.limit + 1 for bound in option.bounds]
    wrong += [bound.limit for bound in option.bounds if not bound.sign.endswith("=")]
    wrong += ["gru2"] if option.choices else []
    wrong += [] if option.nullable else [None]
    return st.sampled_from(wrong)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_mistake_is_refused_by_both(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(OPTIONS)))
    document = nested({path: data.draw(mistakes(OPTIONS[path]))})
    assert not loads(document)
    assert not VALIDATOR.is_valid(document)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["", *sections()]), st.sampled_from(["hidden", "lr", "cell2"]), st.sampled_from([1, None, {}]))
def test_an_unknown_name_is_refused_by_both(section: str, name: str, value: Any) -> None:
    document = nested({f"{section}.{name}" if section else name: value})
    assert not loads(document)
    assert not VALIDATOR.is_valid(document)


def test_documents_that_both_accept_or_refuse() -> None:
    for document in (None, {}, {"train": None}, {"data": {"scenes": None}}, nested({"model.decoder": "rnn"})):
        assert loads(document)
        VALIDATOR.validate(document)
    for document in ([], "lstm", {"train": []}, {"model": "lstm"}):
        assert not loads(document)
        assert not VALIDATOR.is_valid(document)


def test_only_the_loader_checks_constraints_between_options() -> None:
    document = nested({"train.lr_decay": 0.5, "decode.min_length": 40})
    VALIDATOR.validate(document)
    assert not loads(document)
