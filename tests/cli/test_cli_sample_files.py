"""captioner sample --coco and --write-sidecar: results in files."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scene_photos import by_image

from captioner.inference.caption import Caption


def test_coco_results(cli: Callable[..., Any], photo_run: Path, new_captions: dict[str, str]) -> None:
    shutil.move("new/071.png", "new/COCO_val2014_000000000071.png")
    Path("new/072.png").write_bytes(b"no photograph")
    done = cli("sample", photo_run, "new", "--coco", "results.json", "--write-sidecar", ".txt")
    assert done.code == 1, "results are written for the readable photographs"
    expected = [
        (image if "071" not in image else 71, text) for image, text in new_captions.items() if "072" not in image
    ]
    found = json.loads(Path("results.json").read_text())
    assert sorted(((one["image_id"], one["caption"]) for one in found), key=str) == sorted(expected, key=str)
    kept = cli("sample", photo_run, "new", "--coco", "results.json")
    assert kept == (
        2, "", "captioner: results.json: exists already; name another file, or replace it with --overwrite\n"
    )  # fmt: skip
    assert cli("sample", photo_run, "new/070.png", "--coco", "results.json", "--overwrite").code == 0
    assert json.loads(Path("results.json").read_text()) == [
        {"image_id": "new/070.png", "caption": new_captions["new/070.png"]}
    ]


def test_coco_results_need_unique_image_ids(
    cli: Callable[..., Any], photo_run: Path, new_captions: dict[str, str]
) -> None:
    names = [f"new/{number}_000000000007.png" for number in (1, 2)]
    for name in names:
        shutil.copy("new/070.png", name)
    done = cli("sample", photo_run, *names, "--coco", "results.json")
    assert (done.code, len(done.out.splitlines())) == (1, 2)
    assert done.err == "captioner: results.json: expected unique image ids, got 7 twice\n"
    assert not Path("results.json").exists()


def test_a_photograph_that_is_given_twice_has_one_coco_result(
    cli: Callable[..., Any], photo_run: Path, new_captions: dict[str, str]
) -> None:
    done = cli("sample", photo_run, "new/070.png", "./new/070.png", "--coco", "results.json")
    assert (done.code, done.err, len(done.out.splitlines())) == (0, "", 2)
    assert [entry["image_id"] for entry in json.loads(Path("results.json").read_text())] == ["new/070.png"]


def test_an_interruption_leaves_no_partial_results(
    cli: Callable[..., Any], tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Iterator[Caption]:
        yield Caption("x", "a", -1.0, [], None, [])
        raise KeyboardInterrupt

    monkeypatch.setattr("captioner.inference.captioner.Captioner.caption_split", interrupted)
    assert cli("sample", tiny_run, "--coco", tmp_path / "results.json").code == 130
    assert os.listdir(tmp_path) == []


def test_sidecars(cli: Callable[..., Any], photo_run: Path, new_captions: dict[str, str]) -> None:
    Path("new/072.txt").write_text("existing")
    done = cli("sample", photo_run, "new", "--write-sidecar", ".txt")
    assert done.code == 0
    assert done.err == ("captioner: 1 sidecar exists already, not replaced; --overwrite replaces existing files\n")
    assert by_image(done.out) == new_captions, "captions without a sidecar are printed too"
    for path, text in new_captions.items():
        expected = "existing" if "072" in path else f"{text}\n"
        assert Path(path).with_suffix(".txt").read_text() == expected
    kept = cli("sample", photo_run, "new", "--write-sidecar", ".txt")
    assert (kept.code, kept.out) == (0, done.out)
    assert kept.err == "captioner: 5 sidecars exist already, not replaced; --overwrite replaces existing files\n"
    again = cli("sample", photo_run, "new", "--write-sidecar", ".txt", "--overwrite")
    assert (again.code, again.err) == (0, "")
    assert Path("new/072.txt").read_text() == f"{new_captions['new/072.png']}\n"
    assert len(os.listdir("new")) == 10
    shutil.copy("new/070.png", "new/071.jpg")
    clash = cli("sample", photo_run, "new", "--write-sidecar", ".txt", "--overwrite")
    assert clash.code == 1
    assert clash.err == (
        "captioner: new/071.txt: new/071.jpg and new/071.png have the same sidecar; rename one of the photographs\n"
    )
    assert Path("new/071.txt").read_text() == f"{new_captions['new/070.png']}\n"
