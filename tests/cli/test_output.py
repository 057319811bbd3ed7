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
    "control sequences": "\x1b[31mred\x1b[0m\x1b[2J\x1b[H\x1b]0;owned\x07\x9b2J\x85rm\b\bls\x7f",
    "line ends": "a\r\nok\n\ttrue\x0b\x0c\u2028\u2029",
    "bidirectional controls and surrogates": "\u202egpj.exe\u2066\u2069\u200fcaf\udce9\udcff",
    "very long": "x" * 1_000_000,
    "long and hostile": "\x1b[2J" * 250_000,
}
"""Names with control sequences or excessive length."""
ON_DISK = {key: name.replace("/", "_")[:200] for key, name in HOSTILE.items()}
"""The same, as valid file names."""


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


SCENES = " ".join(f"-o data.scenes.{split}=4" for split in ("train", "val", "test", "heldout"))
MISSING = (
    "sample {}", "sample run {}", "sample run --split {}", "sample run --features {}", "sample run --encoder {} a.jpg",
    "sample run --write {} a.jpg", "sample run -o {}", "sample run -n {}", "evaluate {}", "evaluate run --split {}",
    "evaluate --captions {} --references {}", "inspect gradients {}", "inspect gradients run --split {}",
    "train -c {}", "train --resume {}", "train --data {} --run new", "train -o {}",
    "sample run -o decode.suppress_words={}",
    "prepare {} --output new.h5", "prepare a.csv --output {}/x.h5", "prepare a.csv --output new.h5 --list {}",
    "prepare a.csv --output new.h5 --val {}",
    "prepare a.csv --output new.h5 --encoder {}", "prepare {}=a.csv --output new.h5",
    "data check {}", "data check a.csv --list train={}", "data show {}",
    f"data show scenes --split {{}} {SCENES}",
    "data show -o data.source={}", "config check {}", "config show -c {}", "config init {}/x", "gradcheck -c {}",
    "--debug sample {}", "{}", "config {}", "train {}",
)  # fmt: skip


@pytest.mark.parametrize("key", ["line ends", "bidirectional controls and surrogates", "long and hostile"])
@pytest.mark.parametrize("command", MISSING)
def test_a_hostile_argument_is_printed_as_one_short_line(command: str, key: str, cli: Callable[..., Any]) -> None:
    Path("a.csv").write_text("image,caption\na.jpg,a dog\n")
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
    "data check {}/set.h5",
    "data check {}/set.h5 --json",
    "data show {}/set.h5",
    "config init {}/my.yaml",
    "config check {}/my.yaml",
    f"train --data {{}}/set.h5 --run {{}}/run {TINY}",
    "train --resume {}/run -o train.max_steps=3",
    "sample {}/run --n-best 2",
    "sample {}/run --json",
    "sample {}/run {}/no.jpg --encoder scenes",
    "evaluate {}/run --worst 2 --baseline nn",
    "evaluate {}/run --worst 2 --json",
    "inspect gradients {}/run --word 2",
    "inspect gradients {}/run --word 2 --json",
)
"""Every command that prints the content or the path of a data set or run in a folder."""


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_content_and_names_of_files_are_escaped(key: str, cli: Callable[..., Any], tmp_path: Path) -> None:
    folder = ON_DISK[key].encode(errors="surrogateescape")[:200].decode(errors="surrogateescape")
    Path(folder).mkdir()
    # a config rejects paths with control characters, so only the long name is used for the run
    place = folder if key == "very long" else os.fspath(tmp_path / "plain")
    os.makedirs(place, exist_ok=True)
    hostile_set(Path(place, "set.h5"), HOSTILE[key])
    succeeded = 0
    for command in PRINTING:
        done = cli(*(word.replace("{}", place) for word in command.split()))
        check(done, json_lines="--json" in command)
        succeeded += done.code == 0
        if command.startswith("config"):
            check(cli(*(word.replace("{}", folder) for word in command.split())))
    assert succeeded >= 13
    os.rename(Path(place, "run"), Path(folder, "moved"))
    for command in ("sample {}", "evaluate {}", "inspect gradients {}", "train --resume {}"):
        check(cli(*(word.replace("{}", f"{folder}/moved") for word in command.split())))


def test_json_keeps_control_characters_escaped(cli: Callable[..., Any], tmp_path: Path) -> None:
    hostile_set(tmp_path / "set.h5", "\x7f\x1b\x9b\u202e\n")
    done = cli("data", "check", tmp_path / "set.h5", "--json")
    check(done, json_lines=True)
    assert json.loads(done.out)["encoder"] == "features:\x7f\x1b\x9b\u202e\n"


def test_warnings_of_libraries_are_printed_unless_they_are_of_numbers_or_photographs(capsys: Any) -> None:
    output.warn("deprecated", DeprecationWarning, "/lib/h5py/__init__.py", 3)
    output.warn("overflow", RuntimeWarning, "/lib/numpy/core.py", 3)
    output.warn("Truncated File Read", UserWarning, "/lib/PIL/TiffImagePlugin.py", 3)
    assert capsys.readouterr().err == "captioner: warning: deprecated\n"
