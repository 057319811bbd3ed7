"""The benchmarks of a second source and of own words: what is learned, which commands run, and the tables of pages."""

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from benchmarks import own_words, sources
from benchmarks.flickr8k import SEEDS, Workspace
from benchmarks.results import marks

WRITERS = ("people", "people", "question", "model")
COCO = [
    {
        "filename": f"{number}.jpg",
        "split": "val" if number >= 40 else "train",
        "written_by": WRITERS[number % 4],
        "sentences": [{"raw": "a man"}] * (5 if number % 4 == 0 else 1),
    }
    for number in range(50)
]
FLICKR8K = [
    {"filename": f"{n}.jpg", "split": "val" if n < 300 else "train", "sentences": [{"raw": "A man and Dogs"}]}
    for n in range(320)
]
CIDER = {"cider_d": 0.3, "sources": {"coco": {"cider_d": 0.4}, "flickr8k": {"cider_d": 0.2}}}


@pytest.fixture
def commands() -> list[list[str]]:
    """The command lines of the workspace."""
    return []


@pytest.fixture
def workspace(commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Small caption files, and a command line that records its arguments and writes small data sets."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "coco.json").write_text(json.dumps({"images": COCO}))
    (data / "flickr8k.json").write_text(json.dumps({"images": FLICKR8K}))
    (data / "model.csv").write_text("image,caption\n0.jpg,a robot\n3.jpg,a robot\n")
    (data / "text.tsv").write_text("7\ta dog\n7\ta cat\n9\ta bird\n")

    def record(_: Workspace, *args: Any) -> str:
        commands.append([str(arg) for arg in args])
        if args[0] == "prepare":
            with h5py.File(args[args.index("--output") + 1], "w") as file:
                file["train/features"] = np.array([[1.0, 3.0], [3.0, 5.0]])
        return json.dumps(CIDER)

    monkeypatch.setattr(Workspace, "captioner", record)
    return Workspace(data, tmp_path / "runs")


def learned(workspace: Workspace, name: str, seed: int = 0) -> list[dict[str, Any]]:
    file = sources.dataset(workspace, name, seed).parent / "coco.json"
    images: list[dict[str, Any]] = json.loads(file.read_text())["images"]
    assert [image for image in images if image["split"] == "val"] == COCO[40:]
    return [image for image in images if image["split"] == "train"]


def test_each_variant_learns_its_photographs(workspace: Workspace) -> None:
    assert learned(workspace, "all") == COCO[:40]
    for writer in ("question", "model"):
        assert learned(workspace, writer) == [image for image in COCO[:40] if image["written_by"] != writer]
    assert learned(workspace, "several") == COCO[:40:4]
    assert learned(workspace, "0") == []
    beside = learned(workspace, "beside")
    assert [image["filename"] for image in beside if {"raw": "a robot"} in image["sentences"]] == ["0.jpg"]
    images = COCO[:40]
    rng = [np.random.default_rng(seed) for seed in (0, 0, 1)]
    few, more, others = (
        sources.drawn(images, *pair) for pair in zip(rng, [workspace.data] * 3, (5, 9, 5), strict=True)
    )
    assert few == more[:5] != others


def test_the_language_model_sees_the_mean_image(workspace: Workspace, commands: list[list[str]]) -> None:
    run = sources.language_model(workspace, 0)
    folder = workspace.runs / "data" / sources.TEXT
    with h5py.File(folder / "means.h5") as file:
        assert file["features"][:].tolist() == [[2, 4], [2, 4]]
    images = json.loads((folder / "text.json").read_text())["images"]
    assert [len(image["sentences"]) for image in images] == [2, 1]
    start, train = (line for line in commands if line[0] == "train")
    assert f"train.init_from={start[start.index('--run') + 1]}" in train
    assert train[train.index("--run") + 1] == str(run)


def test_a_row_is_trained_and_scored_for_each_seed(workspace: Workspace, commands: list[list[str]]) -> None:
    for seed in SEEDS:
        assert sources.measure(workspace, "question", seed) == {"coco": 0.4, "flickr8k": 0.2, "mean": 0.3}
    lines = [line for line in commands if line[0] == "train"]
    assert [f"seed={seed}" in line for seed, line in zip(SEEDS, lines, strict=True)] == [True] * 3


def test_the_words_of_captions_are_replaced() -> None:
    assert own_words.in_own_words("A man and two Dogs, dogged") == "a gentleman and two hounds, dogged"


@pytest.mark.parametrize("name", own_words.ROWS)
def test_photographs_are_scored_that_were_not_learned(
    name: str, workspace: Workspace, commands: list[list[str]]
) -> None:
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
    trained = [line for line in commands if line[0] == "train"]
    from_model = [word for line in trained for word in line if word.startswith("train.init_from=")]
    assert (len(trained), len(from_model)) == {"model": (0, 0), "scratch": (1, 0)}.get(name, (1, 1))


def test_the_pages_have_the_tables() -> None:
    begin, end = marks(sources.PART)
    scored = json.loads(sources.FIGURES.read_text())
    table = sources.render({name: scored[name] for name in sources.VARIANTS})
    assert f"{begin}\n{table}\n{end}" in sources.PAGE.read_text()
    begin, end = marks(own_words.PART)
    (rows,) = re.findall(f"{begin}\n(.*?)\n{end}", own_words.PAGE.read_text(), re.DOTALL)
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows.splitlines()[2:]] == [
        recipe.title for recipe in own_words.ROWS.values()
    ]
