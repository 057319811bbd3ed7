"""captioner prepare: warnings, errors and resuming, and the way from photographs to captions."""

import dataclasses
import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from captioned_rows import best_captions
from PIL import Image
from scene_photos import SCENES

from captioner.captioning.load import open_run
from captioner.data.prepared import prepared, write_prepared
from captioner.data.scenes import FEATURES, encode_regions, example, first_objects
from captioner.data.summary import summarize
from captioner.photos.cli.prepare import print_summary, summary_lines
from captioner.photos.recipes import open_encoder
from captioner.preparation.image_folders import default_output

pytestmark = pytest.mark.usefixtures("photos_here")


@pytest.mark.slow
def test_the_defaults_are_for_the_model_that_comes_with_captioner(cli: Callable[..., Any]) -> None:
    done = cli("prepare", "photos/captions.csv")
    assert done.err == (
        "the config photos starts from the model that comes with captioner\n"
        "next: captioner train -c photos --data photos.h5\n"
    )
    assert sorted(os.listdir()) == ["photos", "photos.h5"]
    corpus = prepared("photos.h5")
    assert corpus.encoder == open_encoder("everyday").identity
    assert corpus.about["counts"]["min_count"] == 1
    cli("prepare", "photos/captions.csv").failed(2, "photos.h5: exists already; ")
    cli("prepare", "photos/captions.csv", "val=more.csv").failed(2, "--output: expected the name of the data set of ")
    with_regions = cli("prepare", "photos/captions.csv", "--regions", "--output", "regions.h5")
    assert prepared("regions.h5", regions=True).grid == (8, 8)
    assert with_regions.err == "next: captioner train -c photos-attention --data regions.h5\n"


def test_the_default_minimum_count_depends_on_the_number_of_images(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captioner.photos.prepare.FEW_IMAGES", 8)
    assert ", minimum count 5\n" in cli("prepare", "--encoder", "scenes", "photos/captions.csv").out


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("photos/captions.csv", "photos.h5"), ("./a/b.c/captions.csv", "a/b.c.h5"), ("/x/t.jsonl", "/x.h5"),
        ("train=photos/t.csv", "photos.h5"), ("captions.csv", "captions.h5"), ("../captions.csv", "captions.h5"),
    ],
)  # fmt: skip
def test_the_default_output_is_beside_the_folder_of_the_source(source: str, output: str) -> None:
    assert default_output(source) == Path(output)


def test_the_summary_as_json_is_that_of_the_file(cli: Callable[..., Any]) -> None:
    done = cli("prepare", "photos/captions.csv", "--output", "birds.h5", *SCENES, "--json")
    assert (done.code, done.err) == (0, "")
    summary = json.loads(done.out)
    assert summary.pop("problems") == []
    assert summary == summarize(prepared("birds.h5"))
    assert summary["splits"]["train"]["images"] == 6


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


def test_missing_photographs_are_reported_by_name(cli: Callable[..., Any]) -> None:
    with open("photos/captions.csv", "a") as table:
        table.writelines(f"lost-{number:02}.png,a dog\n" for number in range(30))
    done = cli("prepare", "photos/captions.csv", "--output", "birds.h5", *SCENES, "--json")
    assert done.code == 1
    remedy = "add it, or correct its name in the caption file"
    lost = [f"photos/lost-{number:02}.png: photograph not found; {remedy}" for number in range(30)]
    more = "captioner: and 10 more (--json lists all)"
    reported = json.loads(done.out)["problems"]
    assert sorted(reported) == lost
    assert done.err.splitlines()[:21] == [*(f"captioner: {line}" for line in reported[:20]), more]


def test_regions_suggest_training_with_attention(cli: Callable[..., Any], small_model: tuple[str, ...]) -> None:
    done = cli("prepare", "photos/captions.csv", "--output", "birds.h5", *SCENES, "--regions")
    assert done.code == 0
    assert "\n  regions: 3 x 3 per image, 77-d\n" in done.out
    command = done.err.splitlines()[-1].removeprefix("next: captioner ").split()
    assert command == ["train", "-c", "photos-attention", "--data", "birds.h5"]
    assert cli(*command, *small_model, "-o", "train.max_steps=1").code == 0


def test_random_splits_contain_only_readable_photographs(cli: Callable[..., Any]) -> None:
    command = ("prepare", "photos/captions.csv", "--output", "birds.h5", *SCENES, "--overwrite")
    assert cli(*command).code == 0
    whole = prepared("birds.h5")
    missing, kept = whole.split("val").image_ids
    Path("photos", missing).unlink()
    assert cli(*command).code == 1
    val = prepared("birds.h5").split("val").image_ids
    assert len(val) == 2
    assert {kept} < {*val} < {kept, *whole.split("train").image_ids}, "another one replaces it, and no more move"
    for name in val:
        Path("photos", name).write_bytes(b"no photograph")
    assert cli(*command).code == 1
    assert {name: len(split.image_ids) for name, split in prepared("birds.h5").splits.items()} == {"train": 4, "val": 1}
    Path("two.csv").write_text(f"image,caption\n{missing},a dog\n{whole.split('train').image_ids[0]},a dog\n")
    done = cli("prepare", "two.csv", "--images", "photos", "--output", "two.h5", *SCENES)
    assert done.code == 1
    assert "\ncaptioner: expected images for train in addition to 1 for val, got 1 in total; add images" in done.err


@pytest.mark.parametrize("output", ["birds.h5", "my birds.h5"])
def test_without_val_the_suggested_command_validates_on_train(
    output: str, cli: Callable[..., Any], small_model: tuple[str, ...]
) -> None:
    done = cli("prepare", "photos/captions.csv", "--output", output, *SCENES, "--val", "0")
    assert done.code == 0
    *_, missing, following = done.err.splitlines()
    assert missing == (
        "captioner: warning: the split val is empty, so training has no validation images; add some with --val, --list "
        "or a split column"
    )
    words = shlex.split(following)
    assert words == [
        "next:",
        "captioner",
        "train",
        "-c",
        "photos-thousands",
        "--data",
        output,
        "-o",
        "validate.split=train",
    ]
    cli("train", "--data", output, *small_model).failed(
        1, "validate.split: expected a split of this data set (train), got val; try -o validate.split=train, "
    )
    assert cli(*words[2:], *small_model, "-o", "train.epochs=1").code == 0


FAILURES: dict[str, tuple[int, str]] = {
    "photos/none.csv --output x.h5": (1, "photos/none.csv: not found; expected a caption file; "),
    "photos --output x.h5": (1, "photos: expected a caption file, got a folder; did you mean photos/captions.csv?"),
    "photos/captions.csv --output file": (2, "file: exists already; use another file, or replace it with --overwrite"),
    "photos/captions.csv --output no/out.h5": (2, "no/out.h5: folder not found: no"),
    "photos/captions.csv --output x.h5 --images .": (
        1, ".: expected photographs, found none of 8, such as 000.png; set their folder with --images, or include "
        "subfolders in the names: found photos/000.png"
    ),
    "photos/captions.csv --output x.h5 --images nofolder": (
        1, "nofolder: folder not found; set the folder of the photographs with --images"
    ),
    "photos/captions.csv --output x.h5 --min-count 1000 --encoder scenes": (
        1, "vocabulary: expected words that occur at least 1,000 times in train, got none; try a smaller --min-count"
    ),
    "photos/captions.csv --output x.h5 --val 0.99 --encoder nonsense": (
        2, "encoder nonsense: expected everyday, onnx:FILE, scenes, got nonsense"
    ),
    "photos/captions.csv --output x.h5 --val 0.9 --test 0.9": (1, "expected images for train in addition to "),
    "photos/captions.csv --output x.h5 --min-count 0": (
        2, "Invalid value for '--min-count': expected an integer >= 1 or null, got 0; see captioner prepare --help"
    ),
    "photos/captions.csv --output x.h5 --list val": (2, "--list val: expected SPLIT=FILE, such as val=val.txt"),
    "photos/captions.csv --output x.h5 --features file": (1, "file: expected an HDF5 file, got "),
    "photos/captions.csv --output x.h5 --image-column name": (
        1, "captions.csv:1: expected a header with the columns name"
    ),
    "--output out.h5": (2, "Missing argument 'SOURCE...'"),
    "one.csv --images photos": (
        1, "expected images for train in addition to 1 for val, got 1 in total; add images, or lower --val and --test"
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", FAILURES)
def test_an_error_is_one_line(command: str, cli: Callable[..., Any]) -> None:
    Path("file").write_text("content")
    Path("one.csv").write_text("image,caption\n000.png,a dog\n")
    code, problem = FAILURES[command]
    encoder = () if "--encoder " in command else ("--encoder", "scenes")
    if "--features" in command:
        encoder = ()
    done = cli("prepare", *command.split(), *encoder)
    assert done.err.startswith(f"captioner: {problem}")
    assert done.err.count("\n") == 1
    assert (done.code, done.out) == (code, "")
    assert {*os.listdir()} == {"file", "one.csv", "photos"}
    assert Path("file").read_text() == "content"


def test_from_photographs_to_captions(
    cli: Callable[..., Any], album: Callable[..., Path], small_model: tuple[str, ...]
) -> None:
    assert cli("prepare", "photos/captions.csv", "--output", "birds.h5", *SCENES, "--threads", "2").code == 0
    trained = cli("train", "--data", "birds.h5", *small_model, "-o", "train.epochs=3", "-o", "data.standardize=true")
    assert (trained.code, trained.out) == (0, "")
    assert cli("evaluate", "runs/birds", "--split", "val").code == 0
    new = album(Path("new"), 3, first=90).parent
    done = cli("caption", "new", "--model", "runs/birds", "--json").succeeded()
    records = [json.loads(line) for line in done.out.splitlines()]
    paths = sorted(new.glob("*.png"))
    assert [record["image"] for record in records] == [str(path) for path in paths]
    features = first_objects(encode_regions(np.stack([np.asarray(Image.open(path)) for path in paths])))
    expected = best_captions(open_run("runs/birds"), features)
    assert [record["caption"] for record in records] == [caption for caption, _ in expected]
    np.testing.assert_allclose(
        [record["log_prob"] for record in records], [log_prob for _, log_prob in expected], rtol=1e-4
    )
    of_split = cli("sample", "runs/birds", "--split", "val", "--json").out.splitlines()
    assert all(json.loads(line)["references"] for line in of_split)


def test_a_data_set_of_a_former_encoder_is_refused(cli: Callable[..., Any]) -> None:
    cli("prepare", "photos/captions.csv", "--output", "birds.h5", *SCENES)
    write_prepared(Path("old.h5"), dataclasses.replace(prepared("birds.h5"), encoder="scenes-1:mirror"), {})
    cli("train", "--data", "old.h5").failed(1, "old.h5: unknown encoder scenes-1:mirror; prepare the data set again")


@pytest.mark.parametrize("name", ["null", "~", "x "])
def test_a_data_set_may_have_a_name_with_a_meaning_in_a_config(
    name: str, cli: Callable[..., Any], small_model: tuple[str, ...]
) -> None:
    assert cli("prepare", "photos/captions.csv", "--output", name, *SCENES).code == 0
    assert cli("train", "--data", name, *small_model, "-o", "train.max_steps=1").code == 0


NAMES = [f"{number:03}.png" for number in range(8)]


def test_features_of_a_file_need_an_encoder_name(cli: Callable[..., Any], small_model: tuple[str, ...]) -> None:
    with h5py.File("given.h5", "w") as file:
        file["features"] = first_objects(
            encode_regions(np.stack([example(0, "train", index).picture for index in range(8)]))
        )
        file["images"] = np.char.encode(NAMES)
    nameless = ("--features", "given.h5", "--min-count", "1", "--val", "0.25")
    assert cli("prepare", "photos/captions.csv", "--output", "nameless.h5", *nameless).code == 0
    assert cli("train", "--data", "nameless.h5", *small_model, "-o", "train.epochs=1").code == 0
    done = cli("caption", "photos/000.png", "--model", "runs/nameless")
    assert (done.code, done.out) == (2, "")
    assert re.search(r"features:given\.h5,sha256=\w+, which is not a known encoder; try --encoder\n$", done.err)
    named = cli("caption", "photos/000.png", "--model", "runs/nameless", "--encoder", "scenes").succeeded()
    assert cli("prepare", "photos/captions.csv", "--output", "named.h5", *nameless, "--encoder", "scenes").code == 0
    assert cli("train", "--data", "named.h5", *small_model, "-o", "train.epochs=1").code == 0
    assert cli("caption", "photos/000.png", "--model", "runs/named").out == named.out


RANDOM = np.random.default_rng(0).random((8, FEATURES), np.float32)


@pytest.mark.parametrize(
    ("features", "order", "options"),
    [(RANDOM, range(8), ()), (None, (0, 1, 2, 3, 4, 5, 7, 6), ()), (None, range(8), ("--regions",))],
    ids=["features of another encoder", "rows in another order", "regions in another order"],
)
def test_features_of_a_file_are_compared_with_the_photographs(
    features: np.ndarray | None, order: Any, options: tuple[str, ...], cli: Callable[..., Any]
) -> None:
    codes = encode_regions(np.stack([example(0, "train", index).picture for index in range(8)]))
    with h5py.File("given.h5", "w") as file:
        file["features"] = (first_objects(codes) if features is None else features)[[*order]]
        file["regions"] = codes.reshape(8, 3, 3, 77)[::-1]
        file["images"] = np.char.encode(NAMES)
    command = ("prepare", "photos/captions.csv", "--features", "given.h5", *SCENES, *options, "--output", "birds.h5")
    what = "regions" if options else "features"
    cli(*command).failed(1, f"given.h5: expected the {what} of scenes-")
    assert not Path("birds.h5").exists()
    Path("empty").mkdir()
    assert cli(*command, "--images", "empty").code == 0
