"""captioner prepare: its summary, warnings and output file."""

import gc
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scene_photos import SCENES

from captioner.data.prepared import SEAL, prepared

pytestmark = pytest.mark.usefixtures("photos_here")

WARNING = (
    "captioner: warning: encoder scenes is for generated scenes; for photographs, try --encoder efficientnet-lite0\n"
)


def masked(text: str) -> str:
    """Mask the version of the encoder and the formats that Pillow supports."""
    return re.sub(r"\(JPEG[\w, ]*\)", "(JPEG, #)", re.sub(r"scenes-\d+", "scenes-#", text))


@pytest.mark.smoke
def test_the_summary(cli: Callable[..., Any], golden: Callable[..., None]) -> None:
    done = cli("prepare", "photos/captions.csv", "--output", "birds.h5", *SCENES)
    assert (done.code, done.err) == (0, f"{WARNING}next: captioner train -c photos --data birds.h5\n")
    golden("prepare.txt", masked(done.out))
    assert sorted(os.listdir()) == ["birds.h5", "photos"]


def test_the_summary_as_json_is_that_of_the_file(cli: Callable[..., Any]) -> None:
    done = cli("prepare", "photos/captions.csv", "--output", "birds.h5", *SCENES, "--json")
    assert (done.code, done.err) == (0, WARNING)
    summary = json.loads(done.out)
    assert summary.pop("problems") == []
    assert summary == json.loads(cli("data", "summary", "birds.h5", "--json").out)
    assert summary["splits"]["train"]["images"] == 6


@pytest.mark.smoke
def test_skipped_lines_and_photographs_are_reported(cli: Callable[..., Any], golden: Callable[..., None]) -> None:
    Path("photos/001.png").unlink()
    Path("photos/002.png").write_bytes(b"no photograph")
    shutil.copy("photos/000.png", "photos/003.png")
    Path("val.txt").write_text("003.png\n")
    with open("photos/captions.csv", "a") as table:
        table.write('004.png,\n005.png,a dog,more\n"006\n\x1b[2J.png",a dog\n')
    done = cli(
        "prepare", "photos/captions.csv", "--output", "birds.h5", *SCENES, "--list", "val=val.txt", "--max-length", 5
    )
    assert done.code == 1
    golden("prepare_issues.txt", masked(done.err + done.out))
    assert prepared("birds.h5").split("val").image_ids == ["003.png"]


def test_the_number_of_printed_issues_is_limited(cli: Callable[..., Any]) -> None:
    with open("photos/captions.csv", "a") as table:
        table.write("000.png,\n" * 30)
    done = cli("prepare", "photos/captions.csv", "--output", "birds.h5", *SCENES)
    assert done.code == 0
    lines = done.err.splitlines()
    assert len(lines) == 20 + 3
    assert lines[-3:] == ["captioner: and 10 more", WARNING.rstrip(), "next: captioner train -c photos --data birds.h5"]


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
    assert done.err.splitlines()[-22:-1] == [*(f"captioner: {line}" for line in reported[:20]), more]


def test_regions_suggest_training_with_attention(cli: Callable[..., Any], small_options: tuple[str, ...]) -> None:
    done = cli("prepare", "photos/captions.csv", "--output", "birds.h5", *SCENES, "--regions")
    assert done.code == 0
    assert "\n  regions: 3 x 3 per image, 77-d\n" in done.out
    command = done.err.splitlines()[-1].removeprefix("next: captioner ").split()
    assert command == ["train", "-c", "photos-attention", "--data", "birds.h5"]
    assert cli(*command, *small_options, "-o", "train.max_steps=1").code == 0
    assert json.loads(cli("data", "summary", "birds.h5", "--json").out)["regions"] == [3, 3, 77]


@pytest.mark.parametrize("output", ["birds.h5", "my birds.h5"])
def test_without_val_the_suggested_command_validates_on_train(
    output: str, cli: Callable[..., Any], small_options: tuple[str, ...]
) -> None:
    done = cli("prepare", "photos/captions.csv", "--output", output, *SCENES, "--val", "0")
    assert done.code == 0
    *_, missing, following = done.err.splitlines()
    assert missing == (
        "captioner: warning: the split val is empty, so training has no validation images; add some with --val, --list "
        "or a split column"
    )
    words = shlex.split(following)
    assert words == ["next:", "captioner", "train", "-c", "photos", "--data", output, "-o", "validate.split=train"]
    failed = cli("train", "--data", output, *small_options)
    assert (failed.code, failed.out) == (1, "")
    assert failed.err == (
        "captioner: validate.split: expected a split of this data set (train), got val; try -o validate.split=train, "
        "or prepare the data set with --val 0.1\n"
    )
    assert cli(*words[2:], *small_options, "-o", "train.epochs=1").code == 0


def test_discarding_features_of_another_encoder_is_reported(cli: Callable[..., Any]) -> None:
    command = ("prepare", "photos/captions.csv", "--output", "out.h5", *SCENES)
    assert cli(*command, "--min-count", 1000, "--dtype", "float32").code == 1  # ends after encoding
    gc.collect()  # the exception of the failed command references the features
    message = (
        "out.h5.part: features of an earlier run have another encoder, dtype or --regions; encoding all photographs "
        "again"
    )
    assert cli(*command).err.splitlines()[0] == f"captioner: {message}"


def test_overwrite_replaces_the_output(cli: Callable[..., Any]) -> None:
    old = SEAL.magic + b" of old"
    Path("out.h5").write_bytes(old)
    assert cli("prepare", "photos/captions.csv", "--output", "out.h5", *SCENES).code == 2
    assert Path("out.h5").read_bytes() == old
    assert cli("prepare", "photos/captions.csv", "--output", "out.h5", *SCENES, "--overwrite").code == 0
    assert len(prepared("out.h5").split("train").image_ids) == 6
