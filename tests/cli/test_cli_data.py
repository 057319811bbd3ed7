"""captioner data check, of caption files and of data sets."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from captioner.data.prepared import prepared, write_prepared
from captioner.data.summary import summarize
from captioner.photos.cli.data import print_summary, summary_lines
from captioner.preparation.image_folders import REMEDY


@pytest.fixture(autouse=True)
def _here(photo_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_coco: Callable[..., Path]) -> None:
    """The current folder has photographs, captions, a data set of them, and one in the assignment's layout."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photo_run.parent / "photos", "photos")
    shutil.copy(photo_run.parent / "data.h5", "birds.h5")
    write_coco(Path("coco"))


def masked(text: str) -> str:
    return re.sub(r"scenes-\d+", "scenes-#", text)


# --- check


@pytest.mark.smoke
def test_check_of_captions(cli: Callable[..., Any], golden: Callable[..., None]) -> None:
    done = cli("data", "check", "photos/captions.csv", "--min-count", 1).succeeded()
    Path("photos/003.png").unlink()
    with open("photos/captions.csv", "a") as table:
        table.write('003.png,\n"0\n01.png",a dog\n')
    invalid = cli("data", "check", "photos/captions.csv", "--min-count", 1)
    assert invalid.code == 1
    golden("data_check.txt", done.out + invalid.err + invalid.out)


def test_check_as_json(cli: Callable[..., Any]) -> None:
    Path("photos/003.png").unlink()
    done = cli("data", "check", "photos/captions.csv", "--json")
    assert (done.code, done.err) == (1, f"captioner: photos/003.png: photograph not found; {REMEDY}\n")
    contents = json.loads(done.out)
    assert contents["counts"]["missing"] == 1
    assert sum(split["images"] for split in contents["splits"].values()) == 7
    absent = cli("data", "check", "photos/captions.csv", "--images", "nofolder", "--min-count", 1)
    assert (absent.code, absent.err) == (
        1, "captioner: nofolder: folder not found; set the folder of the photographs with --images\n"
    )  # fmt: skip
    assert "missing photographs: 8" in absent.out


def test_check_of_captions_with_features_needs_no_photographs(cli: Callable[..., Any]) -> None:
    Path("photos/003.png").unlink()
    with h5py.File("features.h5", "w") as file:
        file["features"] = np.ones((8, 3), np.float32)
    done = cli("data", "check", "photos/captions.csv", "--features", "features.h5", "--min-count", 1, "--json")
    assert json.loads(done.succeeded().out)["counts"]["missing"] == 0


def test_other_options_and_encoders_are_refused(cli: Callable[..., Any]) -> None:
    for option in ("--min-count 3", "--image-column x", "--list val=val.txt"):
        name = option.split()[0]
        cli("data", "check", "birds.h5", *option.split()).failed(
            2, f"birds.h5: {name} does not apply to a prepared data set; remove the option"
        )
    write_prepared(Path("old.h5"), dataclasses.replace(prepared("birds.h5"), encoder="scenes-1:mirror"), {})
    cli("data", "check", "old.h5").failed(1, "old.h5: unknown encoder scenes-1:mirror; prepare the data set again")


# --- summary


@pytest.mark.smoke
def test_summary_of_a_prepared_file(cli: Callable[..., Any], golden: Callable[..., None]) -> None:
    done = cli("data", "check", "birds.h5").succeeded()
    golden("data_summary.txt", masked(done.out))
    counts = json.loads(cli("data", "check", "birds.h5", "--json").out)
    assert counts["counts"]["min_count"] == 1
    assert counts == summarize(prepared("birds.h5"))


def test_summary_of_a_folder_of_cs231n(cli: Callable[..., Any]) -> None:
    coco = cli("data", "check", "coco", "--json").succeeded()
    assert {name: split["images"] for name, split in json.loads(coco.out)["splits"].items()} == {"train": 4, "val": 2}


def test_a_summary_reports_possible_problems(capsys: pytest.CaptureFixture[str]) -> None:
    split = {"images": 1, "captions": 30, "words": 30, "shortest": 1, "mean": 2.25, "longest": 9, "unk": 0.0501}
    contents: dict[str, Any] = {
        "splits": {
            "train": {**split, "sources": {"a": 1, "b\n": 1_000}},
            "a very long name": {**split, "unk": 0.0, "sources": {"b\n": 7}},
        },
        "vocabulary": 12_345,
        "counts": {"distinct_words": 99_999, "min_count": 5, "truncated": 3, "missing": 0, "omitted": 1_000},
        "duplicates": {"images": 30, "examples": [["train: a\n", "val: b"], ["c", "d"]]},
    }
    print_summary(contents, "name", as_json=False)
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split() for line in lines[-8:-6]] == [
        ["images", "of", "a", "1", "0"],
        ["images", "of", r"b\n", "1,000", "7"],
    ]
    assert printed.err.splitlines() == [
        r"captioner: warning: near-duplicate across splits: train: a\n = val: b",
        "captioner: warning: near-duplicate across splits: c = d",
    ]
    assert lines[1].split() == ["train", "a", "very", "long"]
    assert lines[-6:] == [
        "  vocabulary: 12,345 words of 99,999 in train, minimum count 5",
        "  images omitted: in no list, or in an empty split: 1,000",
        "  truncated captions: 3",
        "  split 'a very long name' is not used unless selected by name",
        "  near-duplicates across splits: 30",
        "  many words are <UNK>; try a smaller --min-count or more captions",
    ]
    contents["counts"]["min_count"] = 1
    assert list(summary_lines(contents, "name"))[-1] == "  many words are <UNK>; try more captions"
    contents["splits"]["train"]["captions"] = 29
    assert "<UNK>;" not in "".join(summary_lines(contents, "name"))
