"""Reading and writing a Config: every text gives a Config or a ConfigError with one line per problem."""

import os
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.config import yaml_io as configio
from captioner.config.constraints import CONSTRAINTS
from captioner.config.options import Config, Decode
from captioner.config.schema import Option, build, options
from captioner.config.synonyms import SYNONYMS
from captioner.config.values import write
from captioner.config.yaml_io import MAX_CHARS, MAX_PROBLEMS, dump, load, parse
from captioner.errors import ConfigError
from captioner.printable import JOINERS

LOADERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]


@pytest.fixture(params=LOADERS, ids=lambda loader: loader.__name__)
def either_loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configio, "LOADER", request.param)


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "my.yaml", overrides)
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    "text",
    ["", "\n", "# nothing\n", "---\n", "null\n", "{}\n", "train:\n# epochs: 3\nmodel:\n", "\ufeff", "---\n...\n"],
)
@pytest.mark.usefixtures("either_loader")
def test_an_empty_text_gives_the_defaults(text: str) -> None:
    assert parse(text, "my.yaml") == Config()


@pytest.mark.usefixtures("either_loader")
def test_reads_options_of_every_depth_and_kind() -> None:
    text = "seed: 7\r\ndata: {scenes: {train: 40}, root: no, standardize: true}\rtrain:\n  learning_rate: 1e-2\n"
    config = parse(text, "my.yaml", ["model.cell=rnn", "train.patience = 3", "train.patience=null"], Path("/"))
    expected = {
        "seed": 7,
        "data.scenes.train": 40,
        "data.root": Path("/no"),
        "data.standardize": True,
        "train.learning_rate": 1e-2,
        "model.cell": "rnn",
    }
    assert config == build(expected)


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


def test_the_last_override_wins_over_earlier_ones_and_the_text() -> None:
    assert parse("seed: 1", "my.yaml", ["seed=2", "seed=3"]).seed == 3


@pytest.mark.parametrize(
    ("text", "overrides", "place"),
    [
        ("data:\n  source: cs231n", (), "my.yaml:2: data.root"),
        ("data:\n  source: cs231n\n  root:", (), "my.yaml:3: data.root"),
        ("", ("data.source=cs231n",), "-o data.source=cs231n: data.root"),
        ("train: {lr_decay: 0.5}", (), "my.yaml:1: train.lr_decay"),
        ("train: {schedule: exponential, lr_decay: 0.5}", ("train.schedule=cosine",), "my.yaml:1: train.lr_decay"),
        ("train: {weight_decay: 0.1}", (), "my.yaml:1: train.weight_decay"),
        ("decode: {min_length: 9}", ("decode.max_length=8",), "my.yaml:1: decode.min_length"),
        ("", ("decode.max_length=8", "decode.min_length=9"), "-o decode.min_length=9: decode.min_length"),
        ("decode: {method: sampling}", ("decode.beam_width=2",), "-o decode.beam_width=2: decode.beam_width"),
        ("decode: {length_penalty: 0.7}", (), "my.yaml:1: decode.length_penalty"),
        ("decode: {beam_width: 1, length_penalty: 0.7}", (), "my.yaml:1: decode.length_penalty"),
        ("decode: {beam_width: 1, consensus: 4}", (), "my.yaml:1: decode.consensus"),
        ("decode: {temperature: 0.7}", (), "my.yaml:1: decode.temperature"),
        ("decode: {method: sampling}", ("decode.method=beam", "decode.top_k=5"), "-o decode.top_k=5: decode.top_k"),
        ("", ("decode.top_p=0.9",), "-o decode.top_p=0.9: decode.top_p"),
        ("", ("decode.seed=1",), "-o decode.seed=1: decode.seed"),
    ],
)
def test_a_violated_constraint_is_reported_with_its_place(text: str, overrides: tuple[str, ...], place: str) -> None:
    constraint = next(constraint for constraint in CONSTRAINTS if place.endswith(constraint.option))
    assert problems(text, *overrides) == [f"{place}: {constraint.problem}"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.source=cs231n", "data.root=x"],
        ["train.schedule=exponential", "train.lr_decay=0.5"],
        ["train.update_rule=adamw", "train.weight_decay=0.1"],
        ["decode.min_length=8", "decode.max_length=8"],
        ["decode.beam_width=2", "decode.length_penalty=0.7"],
        [f"decode.{name}" for name in ("method=sampling", "temperature=0.7", "top_k=5", "top_p=0.9", "seed=1")],
    ],
)
def test_a_satisfied_constraint_reports_nothing(overrides: list[str]) -> None:
    parse("", "", overrides)


def test_a_constraint_on_an_invalid_option_reports_nothing() -> None:
    (problem,) = problems("train: {schedule: exponentail, lr_decay: 0.5}")
    assert "did you mean exponential?" in problem


# Every option of the table, including new ones.


@pytest.mark.parametrize("option", options(), ids=lambda option: option.path)
def test_every_option_is_read_from_a_file_and_an_override(option: Option) -> None:
    value = attrgetter(option.path)(parse("", "", [f"{option.path}={write(option, option.default)}"]))
    assert value == option.default
    assert problems(f"{option.path.replace('.', ': {')}: [1]" + "}" * option.path.count(".")) == [
        f"my.yaml:1: {option.path}: expected {option.expected()}, got a list"
    ]


@pytest.mark.parametrize(
    ("option", "bound"),
    [(option, bound) for option in options() for bound in option.bounds],
    ids=lambda x: getattr(x, "path", str(x)),
)
def test_every_bound_is_checked(option: Option, bound: Any) -> None:
    outside = int(bound.limit) + (-1 if bound.sign.startswith(">") else 1)
    got = f"expected {option.expected()}, got {outside}"
    assert problems("", f"{option.path}={outside}") == [f"-o {option.path}={outside}: {got}"]


BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def names() -> st.SearchStrategy[str]:
    writable = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cn"), exclude_characters=f"\ufeff{BIDI}")
    return st.text(writable, min_size=1)


def values(option: Option) -> st.SearchStrategy[Any]:
    low, high = (max((b.limit for b in option.bounds if b.sign[0] == sign), default=None) for sign in "><")
    signs = {bound.sign for bound in option.bounds}
    of_kind: dict[type, Any] = {
        bool: st.booleans,
        int: lambda: st.integers(int(low or 0), 2**63 - 1 if high is None else int(high)),
        float: lambda: st.floats(
            low, high, exclude_min=">" in signs, exclude_max="<" in signs, allow_nan=False, allow_infinity=False
        ),
        str: names,
        Path: lambda: names().map(lambda name: Path("/", name)),
    }
    one = st.sampled_from(option.choices) if option.choices else of_kind[option.kind]()
    return st.none() | one if option.nullable else one


@st.composite
def configs(draw: st.DrawFn) -> Config:
    some = draw(st.lists(st.sampled_from(options()), unique=True))
    config: Config = build({option.path: draw(values(option)) for option in some})
    fixes = {option.path: option.default for option in options()} | {"data.root": Path("/x")}
    for constraint in CONSTRAINTS:
        if not constraint.holds(config):
            current = {option.path: attrgetter(option.path)(config) for option in options()}
            config = build(current | {constraint.option: fixes[constraint.option]})
    return config


def named(split: str) -> Config:
    config: Config = build({"validate.split": split})
    return config


@given(configs(), st.booleans())
def test_a_dumped_config_is_parsed_to_an_equal_one(config: Config, comments: bool) -> None:
    assert parse(dump(config, comments=comments), "my.yaml") == config


@given(configs() | st.sampled_from(["null", "True", "no", "on", "1e3", "017", "~", "", " "]).map(named))
def test_a_yaml_1_1_reader_reads_the_same_values(config: Config) -> None:
    tree = yaml.safe_load(dump(config))
    for option in options():
        value = tree
        for name in option.path.split("."):
            value = value[name]
        expected = attrgetter(option.path)(config)
        assert value == (str(expected) if isinstance(expected, Path) else expected)
        assert not isinstance(expected, int | float) or type(value) is type(expected)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["decode.method=sampling"], Decode(method="sampling", no_repeat_ngram=2)),
        (["decode.beam_width=1"], Decode(no_repeat_ngram=2)),
        (["decode.beam_width=3"], Decode(beam_width=3, length_penalty=0.5, consensus=4.0, no_repeat_ngram=2)),
    ],
)
def test_an_override_resets_decoding_options_without_effect(overrides: list[str], expected: Decode) -> None:
    text = "decode: {beam_width: 5, length_penalty: 0.5, consensus: 4, no_repeat_ngram: 2}"
    assert parse(text, "my.yaml", overrides).decode == expected


def test_only_decoding_options_of_the_file_are_reset() -> None:
    with pytest.raises(ConfigError, match=r"decode\.beam_width: has no effect without decode.method beam"):
        parse("decode: {beam_width: 5}", "my.yaml", ["decode.method=sampling", "decode.beam_width=4"])
    with pytest.raises(ConfigError, match=r"train\.weight_decay: has no effect"):
        parse("train: {update_rule: adamw, weight_decay: 0.1}", "my.yaml", ["train.update_rule=adam"])


def test_a_comment_documents_every_option_in_one_line() -> None:
    text = dump(Config(), comments=True)
    assert all(len(line) <= 120 for line in text.splitlines())
    for option in options():
        assert f"# {option.doc}; {option.expected()}\n" in text


# Every text gives a Config or a ConfigError.

VALID = dump(build({"data.root": Path("/a b"), "train.patience": 3}))
SYNTAX = [
    "\n",
    "  ",
    ": ",
    "- ",
    "[",
    "{",
    "}",
    "]",
    "&a ",
    "*a",
    "!!int ",
    "<<: ",
    "'",
    '"',
    "|",
    ">",
    "#",
    "---\n",
    "%TAG",
]
VALUES = [
    "1e400",
    ".nan",
    "0x1",
    "017",
    "1:30",
    "yes",
    "~",
    "9" * 5000,
    "\\Uffffffff",
    "\0",
    "\t",
    "\ufeff",
    "\u2028",
    "model",
]
PIECES = st.sampled_from(SYNTAX + VALUES) | st.text(max_size=4)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = VALID
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(start + 30, len(text))))
        text = text[:start] + draw(PIECES) + text[end:]
    return text


def outcome(text: str, overrides: list[str]) -> Config | None:
    found: tuple[str, ...] = ()
    try:
        config = parse(text, "my\n.yaml", overrides)
    except ConfigError as error:
        config, found = None, error.problems
    assert (config is None) == bool(found)
    without_joiners = dict.fromkeys(map(ord, JOINERS))
    assert all(problem.translate(without_joiners).isprintable() and len(problem) < 400 for problem in found)
    assert config is None or parse(dump(config), "") == config
    return config


@settings(deadline=None)
@given(mutated() | st.text() | st.lists(PIECES).map("".join), st.lists(st.text(), max_size=2))
def test_any_text_gives_the_same_config_or_error_with_both_parsers(text: str, overrides: list[str]) -> None:
    results = []
    for loader in LOADERS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(configio, "LOADER", loader)
            results.append(outcome(text, overrides))
    assert all(result == results[0] for result in results)


@given(st.sampled_from(options()), st.sampled_from(["=", " = ", "", "=="]), PIECES | st.text())
def test_any_override_gives_a_config_or_a_config_error(option: Option, equals: str, value: str) -> None:
    outcome("", [option.path + equals + value])


@pytest.mark.parametrize(
    "text",
    [
        "[" * MAX_CHARS,
        "{a: " * 16_000,
        "- " * 32_000,
        "? " * 32_000,
        "".join(" " * i + "a:\n" for i in range(300)),
        "seed: " + "1:" * 32_000 + "1",
        "seed: " + "9" * 65_000,
        "train: {learning_rate: " + "9" * 65_000 + "}",
        "train: {learning_rate: 1e" + "9" * 65_000 + "}",
        "train: {learning_rate: 1e-" + "9" * 65_000 + "}",
        "? " + "a" * 65_000 + "\n: 1",
        "model: {cell: " + "l" * 65_000 + "}",
        "a: {}\n" * 10_000,
        "!" * 65_000,
        "'" * 65_001,
    ],
    ids=lambda text: text[:12],
)
def test_a_hostile_text_is_reported_in_a_few_short_lines(text: str) -> None:
    found = problems(text)
    assert len(found) <= MAX_PROBLEMS + 1
    assert all(len(problem) < 300 for problem in found)


# Files


def file_problem(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.isprintable()
    return problem


def test_without_a_file_the_defaults_are_used() -> None:
    assert load(None) == Config()
    assert load(None, ["seed=3"]).seed == 3


def test_relative_paths_start_at_the_file_or_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/my.yaml").write_text("data: {root: ../coco}")
    monkeypatch.chdir(tmp_path)
    assert load(Path("configs/my.yaml")).data.root == tmp_path.resolve() / "coco"
    assert (
        load(Path("configs/my.yaml"), ["data.source=cs231n", "data.root=here"]).data.root == tmp_path.resolve() / "here"
    )


@pytest.mark.parametrize("data", [b"\xef\xbb\xbfseed: 3\n", b"seed: 3\r\n", b"seed: 3"])
def test_byte_order_marks_and_windows_line_ends_are_read(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "my.yaml").write_bytes(data)
    assert load(tmp_path / "my.yaml").seed == 3


def test_a_problem_in_a_file_has_its_name_and_line_number(tmp_path: Path) -> None:
    path = tmp_path / "a long file name that is printed in full, so that an editor can open the file.yaml"
    path.write_text("seed: 1\nmodel:\n  hiden_dim: 3\n")
    assert file_problem(path) == f"{path}:3: model.hiden_dim: unknown option (did you mean model.hidden_dim?)"


def test_invalid_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("latin.yaml").write_bytes(b"seed: 1\n# caf\xe9\n")
    Path("utf16.yaml").write_bytes("seed: 1".encode("utf-16"))
    Path("nul.yaml").write_bytes(b"seed: 1\n\0")
    Path("large.yaml").write_bytes(b"#" * 10 * MAX_CHARS)
    Path("folder").mkdir()
    os.mkfifo("fifo")
    for name, problem in (
        ("latin.yaml", "latin.yaml:2: expected UTF-8 text, got the byte 0xe9"),
        ("utf16.yaml", "utf16.yaml:1: expected UTF-8 text, got the byte 0xff"),
        ("nul.yaml", "nul.yaml:2: control character U+0000; remove it"),
        ("large.yaml", "large.yaml: expected a file of at most 262144 bytes, got 655360"),
        ("folder", "folder: expected a regular file, got a folder"),
        ("fifo", "fifo: expected a regular file, got a named pipe"),
        ("/dev/zero", "/dev/zero: expected a regular file, got a device"),
        ("absent.yaml", "absent.yaml: not found (captioner config init FILE writes a new one)"),
        ("a\0b", "a\\x00b: cannot be opened: embedded null byte"),
        ("a\nb", "a\\nb: not found (captioner config list prints the shipped configs)"),
    ):
        assert file_problem(Path(name)) == problem
