"""captioner sample, as text and as JSON lines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from captioner.run.sample import Caption, caption_split, open_corpus, open_run

SHORT = ("-o", "decode.max_length=3")


def test_text(cli: Callable[..., Any], coco_run: Path, golden: Callable[..., None]) -> None:
    done = cli("sample", coco_run, *SHORT)
    assert (done.code, done.err) == (0, "")
    golden("sample.txt", done.out)


def test_json_lines(cli: Callable[..., Any], coco_run: Path) -> None:
    done = cli("sample", coco_run, "--json", "--split", "train", "-n", "2", *SHORT)
    assert (done.code, done.err) == (0, "")
    restored = open_run(coco_run, ["decode.max_length=3"])
    captions = caption_split(restored, open_corpus(restored).split("train"), 2)
    assert [json.loads(line) for line in done.out.splitlines()] == [caption._asdict() for caption in captions]
    assert list(json.loads(done.out.splitlines()[0])) == ["image", "caption", "log_prob", "references", "true"]


def test_text_tells_what_is_true(cli: Callable[..., Any], tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [Caption("x", "a b", -1.234, ["c", "d"], true) for true in (True, False, None)]
    monkeypatch.setattr("captioner.run.sample.caption_split", lambda *_: iter(told))
    lines = cli("sample", tiny_run).out.splitlines()
    assert lines[::3] == ["x\ta b\t-1.23\ttrue", "x\ta b\t-1.23\tnot true", "x\ta b\t-1.23"]
    assert lines[1:3] == ["\t  c", "\t  d"]


def test_the_number_of_images(cli: Callable[..., Any], tiny_run: Path) -> None:
    for number, count in ((["-n", "3"], 3), (["--number", "1000"], 10), ([], 10)):
        assert len(cli("sample", tiny_run, "--json", *number).out.splitlines()) == count


def test_a_checkpoint_file_is_taken_as_it_is(cli: Callable[..., Any], own_run: Path) -> None:
    from_file = cli("sample", own_run / "best.h5", "--json").out
    assert cli("sample", own_run, "--json").out == from_file != ""
    (own_run / "best.h5").unlink()
    assert cli("sample", own_run, "--json").code == 0


def test_a_checkpoint_needs_nothing_else(cli: Callable[..., Any], own_run: Path, tmp_path: Path) -> None:
    expected = cli("sample", own_run, "--json").out
    alone = (own_run / "best.h5").rename(tmp_path / "model.h5")
    for left in own_run.iterdir():
        left.unlink()
    assert cli("sample", alone, "--json").out == expected


def test_features_from_a_file(cli: Callable[..., Any], coco_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.h5"
    with h5py.File(path, "w") as file:
        file["features"] = np.zeros((3, 8), np.float32)
    assert cli("sample", coco_run, "--features", path, *SHORT) == (
        0, "".join(f"{row}\ta a a\t-3.50\n" for row in range(3)), ""
    )  # fmt: skip
    line = cli("sample", coco_run, "--features", path, "--json", "-n", "1", *SHORT).out
    assert json.loads(line) == {
        "image": "0", "caption": "a a a", "log_prob": pytest.approx(-3.4963, abs=1e-4), "references": [], "true": None
    }  # fmt: skip


def test_a_split_and_a_file_do_not_go_together(cli: Callable[..., Any], coco_run: Path, tmp_path: Path) -> None:
    done = cli("sample", coco_run, "--features", tmp_path / "new.h5", "--split", "train")
    assert done.code == 2
    assert "--split" in done.err
    assert "--features" in done.err
