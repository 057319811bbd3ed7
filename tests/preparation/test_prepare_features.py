"""Precomputed features: the row of each image, and their declared encoder."""

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preparing import COUNT, EXPECTED, SCENES, Counted, events_of, feature_file, features_by_name, made, refusal

from captioner.config.options import Prepare
from captioner.data.prepared import prepared
from captioner.data.scenes import ENCODER, FEATURES
from captioner.errors import DataError
from captioner.photos.prepare import check_sources, prepare
from captioner.preparation.image_records import read_records


def test_rows_follow_the_order_of_the_table(photos: Path, encoded: Counted) -> None:
    values = np.arange(COUNT * 3, dtype=np.float32).reshape(COUNT, 3)
    file = feature_file(photos.parent, values)
    corpus, events = made(photos, features=file, encoder=None)
    for name, row in features_by_name(corpus).items():
        np.testing.assert_array_equal(row, values[int(name[:3])])
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert corpus.encoder == f"features:features.h5,sha256={digest}"
    assert (len(events), encoded()) == (1, 0)


NAMES = [f"{letter}.jpg" for letter in "abcdef"]
CAPTIONS = ("a dog", "", " ", "...", "x" * 2001)
"""A caption, and captions that are skipped."""
Records = list[tuple[str, str]]


def table(records: Records) -> str:
    text = io.StringIO()
    csv.writer(text).writerows((("image", "caption"), *records))
    return text.getvalue()


def karpathy(records: Records, has_imgids: bool) -> str:
    sentences = {image: [{"raw": text} for name, text in records if name == image and text] for image, _ in records}
    numbers = {image: {"imgid": NAMES.index(image)} if has_imgids else {} for image in sentences}
    return json.dumps({"images": [{"filename": i, "sentences": each} | numbers[i] for i, each in sentences.items()]})


def coco(records: Records) -> str:
    """The annotations are not in the order of the images, and some images have none."""
    rows = {image: row for row, image in enumerate(IN_ORDER([image for image, _ in records]))}
    annotations = [{"image_id": rows[image], "caption": text} for image, text in records if text]
    images = [{"id": row, "file_name": image} for image, row in rows.items()]
    return json.dumps({"images": images, "annotations": annotations[::-1]})


Rows = Callable[[list[str]], list[str]]
IN_ORDER: Rows = lambda images: list(dict.fromkeys(images))  # noqa: E731
FORMATS: dict[str, tuple[Callable[[Records], str], Rows]] = {
    "c.csv": (table, IN_ORDER),
    "c.jsonl": (lambda records: "\n".join(json.dumps({"image": i, "caption": c}) for i, c in records), IN_ORDER),
    "c.token.txt": (lambda records: "".join(f"{i}#{n}\t{c}\n" for n, (i, c) in enumerate(records)), IN_ORDER),
    "imgids.json": (lambda records: karpathy(records, has_imgids=True), lambda _: NAMES),
    "positions.json": (lambda records: karpathy(records, has_imgids=False), IN_ORDER),
    "coco.json": (coco, IN_ORDER),
}
"""A file of records, and the images of its feature rows."""


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=15, derandomize=True)
@given(
    records=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(CAPTIONS)), max_size=9),
    place=st.integers(0, 9),
    extra=st.sampled_from((0, 0, -1, 1)),
)
def test_a_feature_row_is_that_of_its_image(
    name: str, records: Records, place: int, extra: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whichever records are dropped, reordered, doubled or skipped."""
    records.insert(place, ("c.jpg", "a dog"))
    records.insert(place // 2, ("b.jpg", ""))
    folder, (write, rows_of) = tmp_path_factory.mktemp("rows"), FORMATS[name]
    (folder / name).write_bytes(write(records).encode())
    images = rows_of([image for image, _ in records])
    count = len(images) + (abs(extra) if name == "imgids.json" else extra)
    values = np.array([NAMES.index(image) for image in [*images, NAMES[0]]], np.float32)[:count, None]
    events = events_of(folder / name, folder / "o.h5", features=feature_file(folder, values), encoder=None, val=0.0)
    if extra and name != "imgids.json":
        with pytest.raises(DataError, match=f"features.h5: expected {len(images)} rows, .*, got {count}; the "):
            list(events)
        return
    list(events)
    stored = {image: NAMES[int(row[0])] for image, row in features_by_name(prepared(folder / "o.h5")).items()}
    assert stored == {image: image for image, caption in records if caption == CAPTIONS[0]}


@pytest.mark.parametrize(
    ("imgids", "rows", "problem"),
    [
        ([0, 9], 6, "expected 10 rows, up to the last imgid, got 6; the first without a row is '1.png'"),
        ([3, 3], 6, "imgid 3: expected one image, got '0.png' and '1.png'"),
        ([None, 1], 2, "expected one caption file, with all imgids or none; prepare each separately"),
        (
            [None, None],
            1,
            "expected 2 rows, one per image, including images whose captions are skipped, got 1; the "
            "first without a row is '1.png'",
        ),
    ],
)
def test_rows_that_are_not_those_of_the_images_are_an_error(
    imgids: list[int | None], rows: int, problem: str, photos: Path
) -> None:
    images = [
        {"filename": f"{row}.png", "split": "train", "imgid": imgid, "sentences": [{"raw": "a dog"}]}
        for row, imgid in enumerate(imgids)
    ]
    (photos / "dataset.json").write_text(json.dumps({"images": images}))
    file = feature_file(photos, np.ones((rows, 3), np.float32))
    source, options = str(photos / "dataset.json"), Prepare(features=(file,))
    with pytest.raises(DataError) as caught:
        list(prepare([source], photos / "o.h5", options))
    assert str(caught.value) == f"{file}: {problem}"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("c.csv", "image,caption\nb,a dog, a\na,a dog\nb,a dog\n", "2: expected 2 columns, got 3; quote captions"),
        ("c.jsonl", '\n'.join(('{"image": "b"', *(f'{{"image": "{i}", "caption": "a"}}' for i in "ab"))), "1: invalid"),
        ("c.txt", "a#0\ta dog\nc#0\nb#0\ta dog\nc#1\ta\n", "2: expected IMAGE#NUMBER, a tab and a caption"),
    ],
)  # fmt: skip
def test_rows_are_unknown_after_a_record_without_a_readable_name(
    name: str, content: str, problem: str, photos: Path
) -> None:
    (photos / name).write_text(content)
    file = feature_file(photos, np.ones((2 + (name == "c.txt"), 3), np.float32))
    message = refusal(photos / name, features=file, encoder=None, output=photos / "o.h5")
    assert message.startswith(f"{file}: expected a readable image name in every record, ")
    assert f"; got {name}:{problem}" in message


TWICE = [
    {"filename": name, "imgid": row, "split": "train", "sentences": [{"raw": "a dog"}]}
    for row, name in enumerate(("a.png", "./a.png", "b.png"))
]


@pytest.mark.parametrize("files", [[TWICE], [[image] for image in TWICE]], ids=["one file", "files"])
def test_an_image_with_two_rows_is_an_error(files: list[list[dict[str, Any]]], photos: Path) -> None:
    """The captions of one would get the features of the other; with photographs, those of one file are issues."""
    sources = [str(photos / f"{number}.json") for number in range(len(files))]
    for source, images in zip(sources, files, strict=True):
        Path(source).write_text(json.dumps({"images": images}))
    options = Prepare(features=(feature_file(photos, np.ones((3, 3), np.float32)),), min_count=1)
    for read in (lambda: list(prepare(sources, photos / "o.h5", options)), lambda: check_sources(sources, [], options)):
        with pytest.raises(DataError, match=r": expected one row per image, got rows 0 and 1: '(\./)?a\.png'; rename"):
            read()
    issues = read_records(sources, [], Prepare()).issues
    assert len(issues) == (len(sources) == 1)
    assert all(issue.problem == "a.png: expected one image of this name, got 0 and 1; skipped" for issue in issues)


def test_rows_of_several_files(photos: Path) -> None:
    """Tables are numbered together; every COCO file numbers its images from 0."""
    file = feature_file(photos, np.arange(3, dtype=np.float32)[:, None])
    options = Prepare(features=(file,), min_count=1)
    for split, images in (("train", "ab"), ("val", "c")):
        rows = [(image, "a dog") for image in images]
        (photos / f"{split}.csv").write_text(table(rows))
        (photos / f"{split}.json").write_text(coco(rows))
    list(prepare([f"{split}={photos / split}.csv" for split in ("train", "val")], photos / "o.h5", options))
    rows_by_name = {name: row.tolist() for name, row in features_by_name(prepared(photos / "o.h5")).items()}
    assert rows_by_name == {"a": [0], "b": [1], "c": [2]}
    with pytest.raises(DataError, match="expected one caption file, with all imgids or none; prepare each separately"):
        list(prepare([f"{photos / split}.json" for split in ("train", "val")], photos / "x.h5", options))


def test_features_of_another_encoder_are_rejected(photos: Path) -> None:
    file = feature_file(photos.parent, EXPECTED[:, :-1])
    assert refusal(photos, features=file) == (
        f"{file}: expected {FEATURES} features per image for {ENCODER}, got {FEATURES - 1}"
    )


@pytest.mark.parametrize(("mean", "deviation"), [(4096, 0.1), (100, 0.03), (7e4, 1), (0, 1), (100, 1)])
def test_features_for_which_float16_is_too_coarse_are_stored_in_float32(
    photos: Path, mean: float, deviation: float
) -> None:
    """One column of a hundred is enough; a constant one says nothing about an image."""
    features = np.random.default_rng(0).standard_normal((COUNT, 100)).astype(np.float32)
    features[:, 1] = mean + deviation * features[:, 1]
    features[:, 2] = 4096.3
    fits = deviation == 1 and mean < 7e4
    options = Prepare(**{**SCENES, "features": (feature_file(photos.parent, features),), "encoder": None})
    output = photos.parent / "half.h5"
    context = contextlib.nullcontext() if fits else pytest.warns(UserWarning, match="features are stored in float32")
    with context:
        list(prepare([str(photos / "captions.csv")], output, dataclasses.replace(options, dtype="float16")))
    stored = np.concatenate([split.features[:] for split in prepared(output).splits.values()])
    assert stored.dtype == (np.float16 if fits else np.float32)
    own = np.sort(stored[:, 1]), np.sort(features[:, 1])
    np.testing.assert_allclose(*own, atol=0.1 * deviation)


def test_features_of_which_float32_loses_the_differences_are_refused(photos: Path) -> None:
    features = 1e6 + 1e-4 * np.random.default_rng(0).standard_normal((COUNT, 3))
    refused = refusal(photos, features=feature_file(photos.parent, features), encoder=None)
    assert "expected features that differ in float32, got a column whose standard deviation is too small" in refused


def test_unusable_features_are_rejected(photos: Path) -> None:
    file = feature_file(photos.parent, np.full((COUNT, 3), np.nan, np.float32))
    assert refusal(photos, features=file, encoder=None) == (
        "000.png: features: expected numbers in the range of float32, got nan"
    )
    file.write_bytes(b"text")
    assert refusal(photos, features=file, encoder=None) == (f"{file}: expected an HDF5 file, got a text file")
