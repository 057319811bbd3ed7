"""Names and captions are printed as plain lines of limited length."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.cli import output
from captioner.data.corpus import Corpus, Split
from captioner.data.prepared import write_prepared
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.errors import LIMIT

HOSTILE = {
    "control characters": "\x1b[31mred\x07\x9b2J\x85\b\x7fa\r\nok\n\ttrue\x0b\u2028\u202egpj.exe\u2066caf\udce9",
    "long": "\x1b[2J" * 250_000,
}
"""Names with control sequences or excessive length; `tests/test_errors.py` has any text."""


def check(done: Any, *, json_lines: bool = False) -> None:
    """Assert that there is output, without control characters, fake lines or very long lines."""
    assert done.out or done.err
    for stream in (done.out, done.err):
        for line in stream.split("\n"):
            assert line.replace("\t", "").isprintable(), ascii(line[:300])
            if not (json_lines and stream is done.out):
                assert len(line) <= 3 * LIMIT
    if json_lines:
        for line in done.out.splitlines():
            assert line.isascii()
            json.loads(line)


@pytest.fixture(autouse=True)
def _here(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_run.parent)


MISSING = ("{}", "sample {}", "sample run -n {}", "sample run --split {}", "train -o {}")


@pytest.mark.parametrize("key", HOSTILE)
@pytest.mark.parametrize("command", MISSING)
def test_a_hostile_argument_is_printed_as_one_short_line(command: str, key: str, cli: Callable[..., Any]) -> None:
    done = cli(*(word.replace("{}", HOSTILE[key]) for word in command.split()))
    assert done.code in (1, 2)
    check(done)


def hostile_set(path: Path, name: str) -> None:
    """Write a data set with hostile names of images, captions and encoder."""
    vocab = Vocab([*SPECIAL, "a", "dog"])
    name = name.encode(errors="surrogateescape").decode(errors="replace")[:5000]

    def split(part: str) -> Split:
        captions = vocab.encode([["a", "dog"]] * 4)
        features = np.random.default_rng(len(part)).standard_normal((4, 6)).astype(np.float32)
        images = [f"{part}{name}{i}" for i in range(4)]
        return Split(captions, np.arange(4, dtype=np.int32), features, images, texts=[f"a dog {name}"] * 4)

    about = {"images": name, "counts": {"truncated": "x"}}
    write_prepared(path, Corpus(vocab, {"train": split("t"), "val": split("v")}, f"features:{name}"), about)


TINY = "-o model.hidden_dim=4 -o model.wordvec_dim=4 -o train.max_steps=2 -o seed=1"
PRINTING = (
    "config init {}/my.yaml",
    f"train --data {{}}/set.h5 --run {{}}/new {TINY}",
    "sample {}/new --n-best 2",
    "caption {}/no.jpg --model {}/new --encoder scenes",
    "evaluate {}/new",
    "evaluate {}/new --json",
    "inspect gradients {}/new --word 2",
)
"""Commands that print the content or the path of a data set or run in a folder."""


def test_hostile_content_and_names_of_files_are_escaped(cli: Callable[..., Any], tmp_path: Path) -> None:
    name = HOSTILE["control characters"]
    Path(name).mkdir()
    hostile_set(tmp_path / "set.h5", name)
    for command in PRINTING:
        done = cli(*(word.replace("{}", str(tmp_path)) for word in command.split()))
        check(done, json_lines="--json" in command)
        assert done.code == ("no.jpg" in command), done.err
    os.rename("new", Path(name, "moved"))
    for command in ("sample {}", "evaluate {}", "inspect gradients {}", "train --resume {}"):
        check(cli(*(word.replace("{}", f"{name}/moved") for word in command.split())))


def test_warnings_of_libraries_are_printed_unless_they_are_of_numbers(capsys: Any) -> None:
    output.warn("deprecated", DeprecationWarning, "/lib/h5py/__init__.py", 3)
    output.warn("overflow", RuntimeWarning, "/lib/numpy/core.py", 3)
    assert capsys.readouterr().err == "captioner: warning: deprecated\n"
