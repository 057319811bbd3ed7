"""Caption files are read in COCO's results format and as JSON lines, and written in the former."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import DataError, UsageError
from captioner.evaluation.caption_files import parse, read_caption_file, write_results
from captioner.evaluation.image_ids import match
from captioner.inference.caption import Candidate, Caption, to_record
from captioner.text.strict_json import to_json


def test_results_round_trip(tmp_path: Path) -> None:
    path, images = tmp_path / "results.json", ["a/b.jpg", "COCO_000000000007.jpg"]
    write_results(path, images, ["a «dog»", ""])
    assert json.loads(path.read_text())[1] == {"image_id": 7, "caption": ""}
    assert read_caption_file(path) == {"a/b.jpg": "a «dog»", 7: ""}
    assert match(read_caption_file(path), path, images, {}) == ["a «dog»", ""]
    with pytest.raises(DataError, match="expected unique image ids, got 7 twice"):
        write_results(tmp_path / "new.json", ["7", "000000000007.png"], ["a", "b"])
    with pytest.raises(UsageError, match="folder not found"):
        write_results(tmp_path / "none" / "results.json", images, ["a", "b"])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "expected JSON, got something else"),
        (
            '"a"',
            r"expected a list of {\"image_id\", \"caption\"}, or JSON lines as `captioner sample",
        ),
        ('{"a": 1}', r":1: expected an object with image_id \(or image\) and caption, got {'a': 1}"),
        ('{"image": "a", "caption": "b"}\n\n{"image": 3, "caption": "b"}', ":3: expected an object with image_id"),
        ('{"image": "a", "caption": "b"}\r\nx', ":2: expected JSON, got something else"),
        ('{"image": "a", "caption": "b"}\n{"image": "a", "caption": "c"}', ":2: duplicate image 'a'; expected one"),
        ("[3]", r"\[0\]: expected an object with image_id \(or image\) and caption, got 3"),
        ('[{"image_id": true, "caption": "a"}]', r"\[0\]: expected an object"),
        ('[{"image_id": 1, "caption": null}]', r"\[0\]: expected an object"),
        (r'[{"image_id": 1, "caption": "\ud800"}]', r"\[0\]: caption: expected UTF-8 text, got"),
        ('[{"image_id": 1, "caption": "a"}, {"image_id": 1, "caption": "b"}]', r"\[1\]: duplicate image 1"),
    ],
)
def test_malformed_results_are_rejected(content: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(DataError, match=problem) as caught:
        read_caption_file(path)
    assert str(caught.value).startswith(str(path))


def test_overwrite_replaces_only_results(tmp_path: Path) -> None:
    path, other = tmp_path / "results.json", tmp_path / "last.h5"
    write_results(path, ["a"], ["one"])
    with pytest.raises(UsageError, match="exists already"):
        write_results(path, ["a"], ["two"])
    assert read_caption_file(path) == {"a": "one"}
    write_results(path, ["a"], ["two"], overwrite=True)
    assert read_caption_file(path) == {"a": "two"}
    other.write_bytes(b"\x89HDF")
    for place, message in ((other, "expected caption results to replace"), (tmp_path, "got a folder")):
        with pytest.raises(UsageError, match=message):
            write_results(place, ["a"], ["one"], overwrite=True)
    assert other.read_bytes() == b"\x89HDF"


CAPTION = st.builds(
    lambda text, log_prob, n: Caption("a/b.jpg", text, log_prob, ["x"], None, [Candidate(text, log_prob)] * n),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.floats(-100, 0),
    st.integers(1, 3),
)


@settings(deadline=None)
@given(caption=CAPTION, count=st.integers(1, 3))
def test_the_output_of_sample_is_recognized(
    caption: Caption, count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "captions.json"
    captions = [caption._replace(image=f"{number}.jpg") for number in range(count)]
    path.write_text("".join(to_json(to_record(one)) + "\n" for one in captions))
    assert read_caption_file(path) == {one.image: one.text for one in captions}
    path.write_text("\ufeff" + json.dumps([to_record(one) for one in captions]))
    assert read_caption_file(path) == {one.image: one.text for one in captions}


def test_nested_json_is_an_error() -> None:
    with pytest.raises(DataError, match=r"^x: expected JSON"):
        parse("[" * 100_000, "x")
