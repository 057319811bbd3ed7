"""Every problem of a config is one line with its place and what to try."""

import pytest
from config_texts import problems

from captioner.config import yaml_io as configio
from captioner.config.values import SYNONYMS
from captioner.config.yaml_io import MAX_CHARS, MAX_PROBLEMS


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model:\n  hiden_dim: 3", "2: model.hiden_dim: unknown option (did you mean model.hidden_dim?)"),
        ("\nhidden_dim: 3", "2: hidden_dim: unknown option (did you mean model.hidden_dim?)"),
        ("train:\n  optimizer: adam", "2: train.optimizer: unknown option (did you mean train.update_rule?)"),
        ("lr: 0.1", "1: lr: unknown option (did you mean train.learning_rate?)"),
        ("zzz: 3", "1: zzz: unknown option (captioner config show prints all options)"),
        ("modle:\n  cell: rnn", "1: modle: unknown section (did you mean model?)"),
        ("scenes: {seed: 1}", "1: scenes: unknown section (did you mean data.scenes?)"),
        ("model.cell: rnn", "1: model.cell: expected a name without a dot; write cell below model:"),
        ("<<: {seed: 1}", "1: <<: unknown section (captioner config show prints all options)"),
        ("train:\n\n  learning_rate: -1", "3: train.learning_rate: expected a number > 0, got -1"),
        ("seed:\n  3.0", "1: seed: expected an integer >= 0, got 3.0 (write 3)"),
        ("seed: [1]", "1: seed: expected an integer >= 0, got a list"),
        ("seed: {a: 1}", "1: seed: expected an integer >= 0, got a section"),
        ("seed: |\n  1", "1: seed: expected an integer >= 0, got '1' (without quotes)"),
        ("model: lstm", "1: model: expected options as `name: value` lines, got lstm"),
        ("model: 'null'", "1: model: expected options as `name: value` lines, got 'null'"),
        ("- seed: 1", "1: expected options as `name: value` lines, got a list"),
        ("seed:1", "1: expected options as `name: value` lines, got seed:1"),
        ("model:\n  ? [a]\n  : 1", "2: model: expected an option name, got a list"),
        ("seed: 1\nseed: 2", "2: seed: given twice, first in line 1; keep one"),
        ("{seed: 1, seed: 1}", "1: seed: given twice, first in line 1; keep one"),
        ("model: {}\nmodel: {}", "2: model: given twice, first in line 1; keep one"),
        ("seed: &x 1", "1: unsupported anchor (&name); write plain values"),
        ("model:\n  &x cell: rnn", "2: unsupported anchor (&name); write plain values"),
        ("seed: !!int 1", "1: unsupported tag (!name); write plain values"),
        ("seed: ! 1", "1: unsupported tag (!name); write plain values"),
        ("!!python/object/apply:os.system ['true']", "1: unsupported tag (!name); write plain values"),
        ("%YAML 1.1\n---\nseed: 1", "1: unsupported directive (%NAME); write plain values"),
        ("seed: 1\n---\nseed: 1", "2: unsupported second document; keep one"),
        ("seed:\t1", "1: tab; use spaces"),
        ("model:\n\tcell: rnn", "2: tab; use spaces"),
        ("seed: 1\n\0", "2: control character U+0000; remove it"),
        ("seed: 1\n# \x85", "2: control character U+0085; remove it"),
        ("seed: 1 # \u202e", "1: control character U+202E; remove it"),
        ("data: {root: a\u2066b}", "1: control character U+2066; remove it"),
        ("seed: 1 # \u2028", "1: control character U+2028; remove it"),
        ("\ufeff\ufeff", "1: control character U+FEFF; remove it"),
        ("# \ud800", "1: control character U+D800; remove it"),
        ("a: " * 9 + "1", "1: not YAML: mapping values are not allowed"),
        ("[" * 9 + "]" * 9, "1: nested deeper than 8"),
        ("#" * (MAX_CHARS + 1), "1: expected at most 65536 characters, got 65537 or more"),
        ('data: {root: "\\0"}', "1: data.root: expected a path or null, got '\\x00' (contains a control character)"),
        ('data: {root: "\\Uffffffff"}', "1: not YAML: "),
    ],
)
@pytest.mark.usefixtures("either_loader")
def test_a_problem_is_one_line_with_its_line_number(text: str, line: str) -> None:
    (problem,) = problems(text)
    # The text after `not YAML` comes from the YAML parser.
    assert problem.startswith(f"my.yaml:{line}") if "not YAML" in line else problem == f"my.yaml:{line}"


@pytest.mark.usefixtures("either_loader")
def test_aliases_are_rejected_before_they_expand() -> None:
    levels = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9))
    assert problems(f"a0: &a0 x\n{levels}")[:3] == [
        "my.yaml:1: unsupported anchor (&name); write plain values",
        "my.yaml:2: unsupported anchor (&name); write plain values",
        "my.yaml:2: unsupported alias (*name); write plain values",
    ]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("model.hidden_dim=-2", "expected an integer >= 1, got -2"),
        ("hidden_dim=2", "unknown option (did you mean model.hidden_dim?)"),
        ("model=rnn", "expected an option, got a section; set one of its options, such as model.cell"),
        ("train.patience=", "expected an integer >= 1 or null after the =, got nothing"),
        ("train.patience", "expected key=value, such as model.cell=rnn"),
        ("", "expected key=value, such as model.cell=rnn"),
        ("lr=0.1", "unknown option (did you mean train.learning_rate?)"),
        ("decode.num_beams=3", "unknown option (did you mean decode.beam_width?)"),
        (
            "train.objective=scst",
            "expected cross_entropy, self_critical or distillation, got scst (did you mean self_critical?)",
        ),
        ("=1", "unknown option (captioner config show prints all options)"),
        ("seed=&x 1", "expected an integer >= 0, got &x 1"),
        ('seed="1"', 'expected an integer >= 0, got "1"'),
    ],
)
def test_a_problem_of_an_override_is_one_line(override: str, problem: str) -> None:
    assert problems("", override) == [f"-o {override}: {problem}"]


@pytest.mark.parametrize("name", [name for name, target in SYNONYMS.items() if target in configio.OPTIONS])
def test_a_synonym_is_answered_in_a_section_at_the_top_level_and_in_an_override(name: str) -> None:
    hint = f"unknown option (did you mean {SYNONYMS[name]}?)"
    text = f"decode: {{{name}: 1}}\n{name}: 1"
    lines = [f"my.yaml:1: decode.{name}", f"my.yaml:2: {name}", f"-o {name}=1", f"-o train.{name}=1"]
    assert problems(text, f"{name}=1", f"train.{name}=1") == [f"{line}: {hint}" for line in lines]


def test_an_override_is_shown_in_one_short_line() -> None:
    (problem,) = problems("", "seed=\n\x1b[31m" + "9" * 5000)
    assert problem.startswith("-o seed=\\n\\x1b[31m999")
    assert len(problem) < 200


def test_all_problems_are_reported_at_once_in_order() -> None:
    found = problems("seed: x\nmodel: {cell: transformer}\ntrane: {}\n", "seed=y", "a=b", "data.source=cs231n")
    assert [problem.split(": expected")[0].split(": unknown")[0] for problem in found] == [
        "my.yaml:1: seed",
        "my.yaml:2: model.cell",
        "my.yaml:3: trane",
        "-o seed=y",
        "-o a=b",
        "-o data.source=cs231n: data.root: required by data.source cs231n (the folder with coco2014_captions.h5)",
    ]


def test_the_number_of_reported_problems_is_limited() -> None:
    found = problems("".join(f"a{i}: 1\n" for i in range(5000)))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == "stopped after 50 problems; there may be more"
