"""captioner evaluate: JSON lines, of runs and of a caption file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.evaluation.score_format import score_lines
from captioner.files import checkpoint
from captioner.metrics import NAMES

KEYS = ["split", "name", "images", "checkpoint", "loss", "perplexity", "correct", "pointing", "decode", *NAMES]
KEYS += ["mean_length", "vocabulary", "distinct", "repeats", "unk", "novel", "intervals", "others", "warnings"]


@pytest.fixture
def other_run(coco_run: Path, tmp_path: Path) -> Path:
    """A run whose captions repeat another word than those of `coco_run`."""
    other = Path(shutil.copytree(coco_run, tmp_path / "other"))
    saved = checkpoint.load(other / "best.h5")
    saved.params["b_vocab"][[4, 5]] = 0, 3
    checkpoint.save(other / "best.h5", saved)
    return other


def test_json_of_several_runs(cli: Callable[..., Any], coco_run: Path, other_run: Path) -> None:
    runs = coco_run, other_run
    first, second = (json.loads(cli("evaluate", run, "--json").out) for run in runs)
    record = json.loads(cli("evaluate", *runs, "--json").out)
    other = record["others"]["other"]
    assert {**record, "others": {}} == first
    assert {key: other[key] for key in other if key != "difference"} == {key: second[key] for key in KEYS[3:-2]}
    assert list(record) == KEYS
    assert list(other) == [*KEYS[3:-2], "difference"]
    both = json.loads(cli("evaluate", "--ensemble", *runs, "--json").out)
    assert (both["name"], both["others"]) == ("ensemble of 2", {})
    assert min(first["loss"], second["loss"]) < both["loss"] < max(first["loss"], second["loss"])


def test_another_data_set(cli: Callable[..., Any], tiny_run: Path, photo_run: Path) -> None:
    data = photo_run.parent / "data.h5"
    record = json.loads(cli("evaluate", tiny_run, "--data", data, "--split", "train", "--json").out)
    assert (record["images"], record["perplexity"], record["novel"], record["correct"]) == (6, None, None, None)
    alone = json.loads(cli("evaluate", photo_run, "--json").out)
    (other,) = json.loads(cli("evaluate", tiny_run, photo_run, "--data", data, "--json").out)["others"].values()
    assert {name: other[name] for name in NAMES} == {name: alone[name] for name in NAMES}


def test_each_split_is_one_line(cli: Callable[..., Any], tiny_run: Path) -> None:
    done = cli("evaluate", tiny_run, "--json", "--split", "heldout", "--split", "test", "--split", "heldout")
    assert [json.loads(line)["split"] for line in done.out.splitlines()] == ["heldout", "test"]


def test_captions_of_a_run_have_the_same_scores_as_a_file(
    cli: Callable[..., Any], photo_run: Path, tmp_path: Path
) -> None:
    results, lines, table = (tmp_path / name for name in ("results.json", "lines.jsonl", "table.csv"))
    assert cli("sample", photo_run, "--split", "val", "--write", lines, "--write", table).code == 0
    captions = {entry["image"]: entry["caption"] for entry in map(json.loads, lines.read_text().splitlines())}
    results.write_text(json.dumps([{"image_id": name, "caption": text} for name, text in captions.items()]))
    record = json.loads(cli("evaluate", photo_run, "--json").out)
    head, *rows = (photo_run.parent / "photos" / "captions.csv").read_text().splitlines()
    references = tmp_path / "captions.csv"
    references.write_text("\n".join([head, *(row for row in rows if row.split(",")[0] in captions)]))
    for file in (results, lines, table):
        again = json.loads(cli("evaluate", "--captions", file, "--references", references, "--json").out)
        assert len(captions) == record["images"] == again["images"] == 2
        assert {name: again[name] for name in NAMES} == {name: record[name] for name in NAMES}
        assert again["intervals"] == record["intervals"]


def test_json_has_no_infinity(cli: Callable[..., Any], tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.evaluation.evaluate.mean_word_loss", lambda *_: 1000.0)
    line = cli("evaluate", tiny_run, "--json").out
    assert json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))["loss"] == 1000


def test_the_fraction_of_true_captions() -> None:
    record = {"split": "a\nb", "name": "x", "images": 1200, "perplexity": 4.4817, "correct": 0.9876, "others": {}}
    assert next(score_lines(record)) == "a\\nb: 1,200 images, perplexity 4.48, 98.8% of captions fully correct"


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("", "expected a run, or --captions with --references"),
        ("run --captions a", "expected a run, or --captions with --references"),
        ("--captions a", "expected a run, or --captions with --references"),
        ("run --references a", "expected a run, or --captions with --references"),
        ("--captions a --references b --split val --split test", "--captions needs a single --split"),
        *((f"--captions a --references b {option}", "--ensemble, --data and -o need a run, not --captions")
          for option in ("--ensemble", "--data c", "-o decode.beam_width=2")),
    ],
)  # fmt: skip
def test_invalid_combinations_of_options(command: str, problem: str, cli: Callable[..., Any]) -> None:
    cli("evaluate", *command.split()).failed(2, problem)
