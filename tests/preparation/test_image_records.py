"""Captions of files become images by split, and every issue is reported."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.config.options import Prepare
from captioner.errors import DataError, UsageError
from captioner.preparation.image_folders import parse_source
from captioner.preparation.image_records import MAX_TEXT, caption_words, read_records

DEFAULTS = Prepare(val=0.0)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, *rows, header="image,caption,split"):
    Path(name).write_text("\n".join([header, *rows]) + "\n")
    return name


def splits_of(records):
    return {name: [record.image for record in images] for name, images in records.splits.items()}


def refusal(error, *args, **more):
    with pytest.raises(error) as caught:
        read_records(*args, **more)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_splits_of_the_file():
    write("c.csv", "a,one,val", "b,two,train", "a,three,val", "c,four,restval", "d,five,", "e,six,dev2")
    records = read_records(["c.csv"], [], DEFAULTS)
    assert splits_of(records) == {"train": ["b", "c"], "val": ["a"], "dev2": ["e"]}
    assert [caption.text for caption in records.splits["val"][0].captions] == ["one", "three"]
    assert (records.issues, records.omitted) == ([], 1)


def test_splits_of_several_files():
    write("a.csv", "a,one,", "b,two,val")
    write("b.csv", "c,three,", "a,four,")
    records = read_records(["train=a.csv", "val=b.csv"], [], DEFAULTS)
    assert splits_of(records) == {"train": ["a", "b"], "val": ["c"]}
    assert list(map(str, records.issues)) == ["b.csv:3: a: expected split train as before, got val; skipped"]


@pytest.mark.parametrize("again", ["c.csv", "./c.csv", "val=c.csv", "link.csv"])
def test_a_file_given_twice_does_not_double_its_captions(again):
    write("c.csv", "a,one,")
    Path("link.csv").symlink_to("c.csv")
    message = f"{again}: expected each caption file once, got it twice"
    assert refusal(UsageError, ["c.csv", again], [], DEFAULTS) == message


def test_random_splits():
    names = [f"{row}.jpg" for row in range(20)]
    write("c.csv", *(f"{name},a dog" for name in names for _ in range(2)), header="image,caption")
    first, other = (splits_of(read_records(["c.csv"], [], Prepare(val=0.2, test=0.1, seed=seed))) for seed in (3, 4))
    assert {split: len(images) for split, images in first.items()} == {"train": 14, "val": 4, "test": 2}
    assert other != first


def test_splits_by_lists():
    write("c.csv", "x/a,one,test", "x/b,two,", "c,three,", "d,four,")
    Path("1.txt").write_text("a\n")
    Path("2.txt").write_text("c\nnone\n")
    records = read_records(["c.csv"], ["val=1.txt", "val=2.txt"], DEFAULTS)
    assert splits_of(records) == {"train": ["x/b", "d"], "val": ["x/a", "c"]}
    assert list(map(str, records.issues)) == ["list of val, image 3: none: no image of this name in the caption files"]
    assert splits_of(read_records(["c.csv"], ["Dev=1.txt"], DEFAULTS)) == {"train": ["x/b", "c", "d"], "val": ["x/a"]}
    Path("2.txt").write_text("b\n")
    val = read_records(["c.csv"], ["val=2.txt"], DEFAULTS)
    assert splits_of(val) == {"train": ["c", "d"], "val": ["x/b"], "test": ["x/a"]}, "test stays out of train"
    records = read_records(["c.csv"], ["train=2.txt"], DEFAULTS)
    assert splits_of(records) == {"train": ["x/b"], "test": ["x/a"]}
    assert records.omitted == 2


LONG = "a" * (MAX_TEXT + 1)


def test_issues_are_reported_and_valid_captions_kept():
    write("c.csv", "a,!?,train", f"b,{LONG},train", "c,a dog", "d,a dog,train", "d,a cat,val", f"e,{LONG[1:]},train")
    issues = [
        "c.csv:2: caption: expected words, got '!?'",
        "c.csv:3: caption: expected at most 2,000 characters, got 2,001",
        "c.csv:4: expected 3 columns, got 2; quote captions that contain ','",
        "c.csv:6: d: expected split train as before, got val; skipped",
    ]
    records = read_records(["c.csv"], [], DEFAULTS)
    assert list(map(str, records.issues)) == issues
    assert splits_of(records) == {"train": ["d", "e"]}


def karpathy(*sentences):
    images = [{"filename": "a", "split": "train", "sentences": list(sentences)}]
    Path("d.json").write_text(json.dumps({"images": images}))
    return "d.json"


def test_tokens_of_a_file_are_used():
    records = read_records([karpathy({"tokens": ["A", "dog's"], "raw": "A dog's."}, {"raw": "A dog's."})], [], DEFAULTS)
    (image,) = records.splits["train"]
    assert [caption_words(caption) for caption in image.captions] == [["A", "dog's"], ["a", "dog", "'s"]]
    assert [caption.text for caption in image.captions] == ["A dog's.", "A dog's."]


def test_special_and_overlong_tokens_are_issues():
    records = read_records(
        [
            karpathy(
                {"tokens": ["a", "<UNK>", "<END>"]}, {"tokens": ["x" * 1001] * 2, "raw": "x"}, {"tokens": ["<end>"]}
            )
        ],
        [],
        DEFAULTS,
    )
    assert list(map(str, records.issues)) == [
        "d.json: images[0].sentences[0]: caption: <END> is a special token, not a word",
        "d.json: images[0].sentences[1]: caption: expected at most 2,000 characters, got 2,003",
    ]
    assert [caption_words(caption) for caption in records.splits["train"][0].captions] == [["<end>"]]


def test_no_valid_image_is_an_error():
    write("c.csv", "a,?,train", ",,x")
    assert refusal(DataError, ["c.csv"], [], DEFAULTS) == (
        "c.csv: expected captions, got no valid one; also found 2 issues, the first: c.csv:2: caption: "
        "expected words, got '?'"
    )
    write("c.csv", "a,b,val", "c,d,TrainSet")
    assert refusal(DataError, ["c.csv"], [], DEFAULTS) == (
        "c.csv: expected images in the split train, got val, TrainSet"
    )
    write("c.csv", "a,b,")
    Path("none.txt").write_text("z\n")
    assert refusal(DataError, ["c.csv"], ["train=none.txt"], DEFAULTS) == (
        "c.csv: expected images in the split train, got none; also found 1 issue: list of train, "
        "image 1: z: no image of this name in the caption files"
    )


@pytest.mark.parametrize("text", ["val.txt", "=val.txt", "a b=val.txt", "../x=val.txt", ""])
def test_a_list_option_has_split_and_file(text):
    write("c.csv", "a,b,")
    assert refusal(UsageError, ["c.csv"], [text], DEFAULTS) == (
        f"--list {text}: expected SPLIT=FILE, such as val=val.txt"
    )


def test_a_source_may_have_a_split_prefix():
    assert parse_source("val=c.csv") == ("val", Path("c.csv"))
    assert parse_source("val=a=b.csv") == ("val", Path("a=b.csv"))
    assert parse_source("Validation=c.csv") == ("val", Path("c.csv"))
    assert parse_source("c.csv") == (None, Path("c.csv"))
    assert parse_source("a/b=c.csv") == (None, Path("a/b=c.csv"))
    Path("val=c.csv").touch()
    assert parse_source("val=c.csv") == (None, Path("val=c.csv"))


def test_column_names_can_be_given():
    write("c.csv", "a;val;one", "b;train;two", header="file;set;text")
    columns = Prepare(image_column="file", caption_column="text", split_column="set")
    assert splits_of(read_records(["c.csv"], [], columns)) == {"train": ["b"], "val": ["a"]}
    assert refusal(DataError, ["c.csv"], [], DEFAULTS).startswith("c.csv:1: expected a header with the columns image ")
    assert "every source defines its split" in refusal(UsageError, ["train=c.csv"], [], columns)
    message = refusal(UsageError, [karpathy({"raw": "x"})], [], Prepare(split_column="set"))
    assert message.startswith("d.json: --image-column, --caption-column and --split-column have no effect on this form")


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"), st.sampled_from(["x", "?", "", "x,y"]), st.sampled_from(["train", "val", ""])
        ),
        max_size=10,
    )
)
def test_every_line_is_a_caption_or_an_issue(rows):
    write("c.csv", "z,z,train", *map(",".join, rows))
    records = read_records(["c.csv"], [], DEFAULTS)
    images = [image for images in records.splits.values() for image in images]
    assert len({image.image for image in images}) == len(images)
    kept = [caption.line for image in images for caption in image.captions] + [issue.line for issue in records.issues]
    assert len(set(kept)) == len(kept)
    assert all(caption.split == image.split for image in images for caption in image.captions)
    lost = {f"c.csv:{number}" for number in range(2, len(rows) + 3)} - set(kept)
    without = {f"c.csv:{number}" for number, (_, _, split) in enumerate(rows, 3) if not split}
    assert lost <= without
    assert bool(lost) <= bool(records.omitted)
