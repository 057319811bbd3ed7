"""The JSON Schema accepts what the loader accepts, and refuses the same mistakes in single options."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.config.checks import CONSTRAINTS
from captioner.config.options import Config
from captioner.config.schema import DRAFT, Option, build, json_schema, options, sections
from captioner.config.yaml_io import dump, parse
from captioner.errors import ConfigError
from captioner.text.strict_json import to_json

SCHEMA = json.loads(to_json(json_schema()))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
OPTIONS = {option.path: option for option in options()}
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


def valid_values(option: Option) -> st.SearchStrategy[Any]:
    """Values within the bounds, the default and the bounds among them."""
    limits = {bound.sign[0]: bound for bound in option.bounds}
    low, high = (limits[sign].limit if sign in limits else None for sign in "><")
    kinds: dict[type, Any] = {
        bool: st.booleans,
        int: lambda: st.integers(int(low or 0), int(high or 10**6)),
        float: lambda: st.floats(
            low, 1e6 if high is None else high, exclude_min=">" in limits and limits[">"].sign == ">",
            exclude_max="<" in limits and limits["<"].sign == "<",
        ),
        str: lambda: st.sampled_from(option.choices or ("val", "a name", "null", "1e-3")),
        Path: lambda: st.sampled_from(("/data", "~", "with space.h5")),
    }  # fmt: skip
    rest = kinds[option.kind]()
    return st.one_of(st.just(option.default), rest, *([st.none()] if option.nullable else []))


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Values of some options, which violate no constraint between options."""
    paths = draw(st.lists(st.sampled_from(sorted(OPTIONS)), max_size=12, unique=True))
    values = {path: draw(valid_values(OPTIONS[path])) for path in paths}
    while broken := [constraint for constraint in CONSTRAINTS if not constraint.holds(build(values))]:
        values.pop(broken[0].option, None)
        values.pop(broken[0].other, None)
    return values


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


@settings(max_examples=150, deadline=None)
@given(documents())
def test_what_the_loader_accepts_is_valid(values: dict[str, Any]) -> None:
    document = nested(values)
    assert loads(document)
    VALIDATOR.validate(document)


@settings(max_examples=50, deadline=None)
@given(documents())
def test_written_configs_validate(values: dict[str, Any]) -> None:
    VALIDATOR.validate(yaml.safe_load(dump(build(values))))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_shipped_configs_validate(file: Path) -> None:
    text = re.sub(r"(?<=\d)e-", ".0e-", file.read_text())  # PyYAML reads YAML 1.1
    VALIDATOR.validate(yaml.safe_load(text))


def mistakes(option: Option) -> st.SearchStrategy[Any]:
    """Values that are wrong for an option."""
    wrong: list[Any] = [[1], {"a": 1}]
    if option.kind is bool:
        wrong += [1, "true"]
    if option.kind in (int, float):
        wrong += [
            True,
            "many",
            *(bound.limit - 1 if bound.sign[0] == ">" else bound.limit + 1 for bound in option.bounds),
        ]
        wrong += [bound.limit for bound in option.bounds if not bound.sign.endswith("=")]
    if option.kind is int:
        wrong.append(2.5)
    if option.choices:
        wrong.append("gru2")
    if option.kind in (str, Path):
        wrong.append("")
    if not option.nullable:
        wrong.append(None)
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


@pytest.mark.parametrize(
    "document", [None, {}, {"train": None}, {"data": {"scenes": None}}, nested({"model.cell": "rnn"})]
)
def test_empty_files_and_sections_are_valid(document: Any) -> None:
    assert loads(document)
    VALIDATOR.validate(document)


@pytest.mark.parametrize("document", [[], "lstm", {"train": []}, {"model": "lstm"}])
def test_other_documents_are_refused_by_both(document: Any) -> None:
    assert not loads(document)
    assert not VALIDATOR.is_valid(document)


def test_only_the_loader_checks_constraints_between_options() -> None:
    document = nested({"train.lr_decay": 0.5, "decode.min_length": 40})
    VALIDATOR.validate(document)
    assert not loads(document)


def test_the_defaults_are_valid() -> None:
    VALIDATOR.validate(yaml.safe_load(dump(Config())))
