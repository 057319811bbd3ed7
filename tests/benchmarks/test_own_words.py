"""The benchmark of own words: which photographs are learned and scored, in which words."""

import json
from pathlib import Path

import pytest

from benchmarks import own_words
from benchmarks.flickr8k import Workspace

COCO = [{"filename": f"{n}.jpg", "split": "val" if n >= 40 else "train", "sentences": []} for n in range(50)]
FLICKR8K = [
    {"filename": f"{n}.jpg", "split": "val" if n < 300 else "train", "sentences": [{"raw": "A man and Dogs"}]}
    for n in range(320)
]
CIDER = {"cider_d": 0.3, "sources": {"coco": {"cider_d": 0.4}, "flickr8k": {"cider_d": 0.2}}}


def test_the_words_of_captions_are_replaced() -> None:
    assert own_words.in_own_words("A man and two Dogs, dogged") == "a gentleman and two hounds, dogged"


@pytest.mark.parametrize("name", own_words.ROWS)
def test_photographs_are_scored_that_were_not_learned(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "coco.json").write_text(json.dumps({"images": COCO}))
    (tmp_path / "flickr8k.json").write_text(json.dumps({"images": FLICKR8K}))
    commands: list[list[str]] = []
    trained: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        Workspace, "captioner", lambda _, *args: commands.append([str(arg) for arg in args]) or json.dumps(CIDER)
    )
    monkeypatch.setattr(own_words, "trained", lambda *args: trained.append(args) or (tmp_path / "run", {}))
    workspace = Workspace(tmp_path, tmp_path / "runs")
    assert own_words.measure(workspace, name, 1) == {"own": 0.3, "coco": 0.4, "flickr8k": 0.2}
    photos = own_words.ROWS[name].photos or own_words.POOL
    own = json.loads((workspace.runs / "data" / f"own-{photos}-1" / "flickr8k.json").read_text())["images"]
    kept = json.loads((workspace.runs / "data" / "kept-1" / "flickr8k.json").read_text())["images"]
    tested, test = ({image["filename"] for image in part if image["split"] == "test"} for part in (own, kept))
    assert tested == test
    assert len(test) == 300 - own_words.POOL
    assert all(int(image["filename"].removesuffix(".jpg")) < 300 for image in own), "the model has learned the others"
    assert len([image for image in own if image["split"] != "test"]) == photos
    assert {sentence["raw"] for image in own for sentence in image["sentences"]} == {"a gentleman and hounds"}
    configs = [args[4] for args in trained]
    assert configs == {"model": [], "nothing": ["photos-thousands"]}.get(name, ["photos"])
    assert {line[1] for line in commands if line[0] == "evaluate"} == {
        str(tmp_path / "run" if trained else own_words.MODEL)
    }


def test_the_last_column_is_the_part_of_the_score_on_coco_that_is_kept() -> None:
    model, after = {"own": 0.1, "flickr8k": 0.6, "coco": 1.0}, {"own": 0.4, "flickr8k": 0.5, "coco": 0.8}
    kept = own_words.rows({"model": [model, {**model, "coco": 0.5}], "60": [after, {**after, "coco": 0.5}]})
    assert [row[-2:] for row in kept] == [("75.0 ±25.0", "100.0 ±0.0"), ("65.0 ±15.0", "90.0 ±10.0")]
