"""Every problem of a config is one line with its place and what to try."""

from pathlib import Path

import pytest
from config_texts import problems

from captioner.config.option_table import replaced
from captioner.config.options import Config
from captioner.config.overrides import override, read_overrides
from captioner.config.yaml_io import MAX_CHARS, MAX_PROBLEMS, load, parse
from captioner.errors import ConfigError

DEFAULTS = override(Config())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model:\n  hiden_dim: 3", "2: model.hiden_dim: unknown option (did you mean model.hidden_dim?)"),
        ("\nhidden_dim: 3", "2: hidden_dim: unknown option (did you mean model.hidden_dim?)"),
        ("zzz: 3", "1: zzz: unknown option (captioner config show prints all options)"),
        ("modle:\n  decoder: rnn", "1: modle: unknown section (did you mean model?)"),
        ("scenes: {seed: 1}", "1: scenes: unknown section (did you mean data.scenes?)"),
        ("model.decoder: rnn", "1: model.decoder: expected a name without a dot; write decoder below model:"),
        ("train:\n\n  learning_rate: -1", "3: train.learning_rate: expected a number > 0, got -1"),
        ("seed:\n  3.0", "1: seed: expected an integer >= 0, got 3.0"),
        ("seed: [1]", "1: seed: expected an integer >= 0, got a list"),
        ("seed: |\n  1", "1: seed: expected an integer >= 0, got '1'"),
        ("model: lstm", "1: model: expected options as `name: value` lines, got lstm"),
        ("- seed: 1", "1: expected options as `name: value` lines, got a list"),
        ("seed:1", "1: expected options as `name: value` lines, got seed:1"),
        ("model:\n  ? [a]\n  : 1", "2: model.a list: unknown option (captioner config show prints all options)"),
        ("seed: 1\nseed: 2", "2: seed: given twice, first in line 1; keep one"),
        ("model: {}\nmodel: {}", "2: model: given twice, first in line 1; keep one"),
        ("a: " * 9 + "1", "1: not YAML: mapping values are not allowed"),
        ("#" * (MAX_CHARS + 1), "1: expected at most 65536 characters, got 65537 or more"),
        ('data: {root: "\\Uffffffff"}', "1: not YAML: "),
    ],
)
def test_a_problem_is_one_line_with_its_line_number(text: str, line: str) -> None:
    (problem,), expected = problems(text), f"my.yaml:{line}"
    # The text after `not YAML` comes from the YAML parser.
    assert problem[: len(expected) if "not YAML" in line else None] == expected


def test_aliases_do_not_expand() -> None:
    levels = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9))
    assert len(problems(f"a0: &a0 x\n{levels}")) == 9
    assert problems("data: &a {scenes: *a}") == [
        "my.yaml:1: data.scenes.scenes: unknown section (did you mean data.scenes?)"
    ]


def test_all_problems_of_a_file_are_reported_at_once_in_order() -> None:
    lines = problems("seed: x\nmodel: {decoder: mamba}\ntrane: {}\n")
    assert [problem.split(": expected")[0].split(": unknown")[0] for problem in lines] == [
        "my.yaml:1: seed",
        "my.yaml:2: model.decoder",
        "my.yaml:3: trane",
    ]


def test_the_number_and_the_length_of_reported_problems_are_limited() -> None:
    lines = problems("".join(f"a{i}: 1\n" for i in range(5000)))
    assert len(lines) == MAX_PROBLEMS + 1
    assert lines[-1] == "stopped after 50 problems; there may be more"
    (problem,) = problems("", "seed=\n\x1b[31m" + "9" * 5000)
    assert problem.startswith("-o seed=\\n\\x1b[31m999")
    assert len(problem) < 200


def test_the_last_override_wins_over_earlier_ones_the_file_and_the_defaults() -> None:
    assert load(None) == DEFAULTS
    assert load(None, {"seed": 3}).seed == 3
    assert parse("seed: 1", "my.yaml", {"seed": 3}).seed == 3


def test_relative_paths_start_at_the_file_or_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/my.yaml").write_text("data: {source: cs231n, root: ../coco}")
    monkeypatch.chdir(tmp_path)
    assert load(Path("configs/my.yaml")).data.root == tmp_path.resolve() / "coco"
    moved = load(Path("configs/my.yaml"), read_overrides(["data.root=here"]))
    assert moved.data.root == tmp_path.resolve() / "here"


@pytest.mark.parametrize("data", [b"\xef\xbb\xbfseed: 3\n", b"seed: 3\r\n", b"seed: 3"])
def test_byte_order_marks_and_windows_line_ends_are_read(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "my.yaml").write_bytes(data)
    assert load(tmp_path / "my.yaml").seed == 3


def test_invalid_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("latin.yaml").write_bytes(b"seed: 1\n# caf\xe9\n")
    Path("large.yaml").write_bytes(b"#" * 10 * MAX_CHARS)
    long = Path("a long file name that is printed in full, so that an editor can open the file.yaml").resolve()
    long.write_text("seed: 1\nmodel:\n  hiden_dim: 3\n")
    for name, problem in (
        (long, f"{long}:3: model.hiden_dim: unknown option"),
        ("latin.yaml", "latin.yaml:2: expected UTF-8 text, got the byte 0xe9"),
        ("large.yaml", "large.yaml: expected a file of at most 262144 bytes, got 655360"),
        ("/dev/zero", "/dev/zero: expected a regular file, got a device"),
        ("a\nb", "a\\nb: not found (captioner config list prints the shipped configs)"),
        ("a\0b", "a\\x00b: cannot be opened: "),
    ):
        with pytest.raises(ConfigError) as caught:
            load(Path(name))
        (found,) = caught.value.problems
        assert found.startswith(problem)
        assert found.isprintable()


@pytest.mark.parametrize(
    "text",
    ["", "\n", "# nothing\n", "---\n", "null\n", "{}\n", "train:\n# epochs: 3\nmodel:\n", "\ufeff", "---\n...\n"],
)
def test_an_empty_text_gives_the_defaults(text: str) -> None:
    assert parse(text, "my.yaml") == DEFAULTS


def test_reads_options_of_every_depth_and_kind() -> None:
    data = "data: {source: cs231n, root: no, standardize: true, cs231n: {pca: false}}"
    text = f"seed: 7\r\n{data}\rtrain:\n  learning_rate: 1e-2\n"
    config = parse(text, "my.yaml", read_overrides(["model.decoder=rnn", "train.patience=null"]), Path("/"))
    expected = {
        "seed": 7,
        "data.source": "cs231n",
        "data.root": Path("/no"),
        "data.standardize": True,
        "data.cs231n.pca": False,
        "train.learning_rate": 1e-2,
        "model.decoder": "rnn",
    }
    assert config == replaced(DEFAULTS, expected)
