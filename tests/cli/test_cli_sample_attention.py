"""captioner sample: attention maps of the images of a split, as JSON lines."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SHORT = ("-o", "decode.min_length=2", "-o", "decode.max_length=3")


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def records(file: str = "maps.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


@pytest.mark.smoke
def test_the_records_have_the_maps_of_the_first_candidates(cli: Callable[..., Any], attention_run: Path) -> None:
    command = ("sample", attention_run, "-n", 3, "--n-best", 2, "--json", *SHORT)
    plain = cli(*command).succeeded().out
    done = cli(*command, "--attention", "--write", "maps.jsonl")
    assert done.out == Path("maps.jsonl").read_text()
    for line, record in zip(plain.splitlines(), records(), strict=True):
        maps = record.pop("attention")
        assert record == json.loads(line)
        assert (maps["grid"], maps["words"]) == ([3, 3], record["candidates"][0]["caption"].split())
        weights = np.array(maps["weights"])
        assert weights.shape == (len(maps["words"]), 3, 3)
        np.testing.assert_allclose(weights.sum(axis=(1, 2)) + maps["sentinel"], 1, atol=1e-5)


def test_a_failed_write_is_an_error_after_the_captions(
    cli: Callable[..., Any], attention_run: Path, files_of_at_most: Callable[[int], Any]
) -> None:
    plain = cli("sample", attention_run, *SHORT)
    with files_of_at_most(100):
        done = cli("sample", attention_run, "--write", "a.jsonl", *SHORT)
    assert done == (1, plain.out, "captioner: a.jsonl: cannot write: File too large\n")


@pytest.mark.slow
def test_all_maps_are_written_after_the_reader_of_stdout_left(shell: Callable[..., Any], attention_run: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = shell("sample", attention_run, "--write", "maps.jsonl", *SHORT, stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "maps.jsonl: 10 captions written\n")
    assert len(records()) == 10
