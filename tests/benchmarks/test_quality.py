"""The table of Flickr8k scores: means over seeds, decoding options from the configs."""

import json
from pathlib import Path

import pytest

from benchmarks import quality
from benchmarks.flickr8k import Workspace
from benchmarks.session import ROOT

SCORES = dict.fromkeys(quality.SCORES, 0.2) | {"perplexity": 16.0, "distinct": 800}
FOUND = {
    "single": {name: {"greedy": [SCORES] * 3, "beam": [SCORES] * 3} for name in quality.CONFIGS},
    "ensemble": {name: {"beam": SCORES} for name in quality.ENSEMBLES},
    "curves": {"lstm": [[1, 30.0]]},
    "gradients": {},
    "machine": {"rnn": "old"},
    "neighbours": dict.fromkeys(quality.SCORES, 0.151),
}


def test_the_table_has_means_and_half_ranges() -> None:
    found = json.loads(json.dumps(FOUND))
    for seed, bleu in enumerate((0.19, 0.20, 0.22)):
        found["single"]["lstm"]["beam"][seed]["bleu4"] = bleu
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in quality.table(found).splitlines())
    (row,) = (row for row in rows if row[:2] == ["plain LSTM", "beam"])
    assert row[head.index("BLEU-4")] == "20.3 ±1.5"
    assert row[head.index("perplexity")] == "16.00 ±0.00"
    assert len(rows) == 2 * len(quality.CONFIGS) + len(quality.ENSEMBLES) + 1


def test_new_results_replace_those_of_the_same_config_only() -> None:
    old = json.loads(json.dumps(FOUND))
    new = {part: {} for part in ("single", "ensemble", "curves", "gradients")} | {
        "neighbours": {},
        "machine": {"lstm": "new"},
    }
    new["single"] = {"lstm": {"greedy": []}}
    new["ensemble"] = {"best": {}}
    found = quality.merged(old, new)
    assert list(found["single"]) == list(quality.CONFIGS)
    assert found["single"]["lstm"] == {"greedy": []}
    assert found["single"]["rnn"] == FOUND["single"]["rnn"]
    assert found["ensemble"] == FOUND["ensemble"] | {"best": {}}
    assert found["curves"] == FOUND["curves"]
    assert found["machine"] == {"rnn": "old", "lstm": "new"}
    assert found["neighbours"] == {}


@pytest.mark.parametrize("name", quality.CONFIGS)
def test_every_config_uses_beam_search(name: str) -> None:
    ways = quality.decodings(name)
    assert list(ways) == ["greedy", "beam", "beam, consensus"][: len(ways)]
    assert all("decode.no_repeat_ngram=2" in options for way, options in ways.items() if way != "greedy")
    assert ("beam, consensus" in ways) == (name in quality.ENSEMBLES)


def test_the_page_has_the_table_of_the_results() -> None:
    found = json.loads((ROOT / "benchmarks" / "quality.json").read_text())
    assert quality.table(found) in (ROOT / "docs" / "results.md").read_text()


def test_the_teachers_write_their_captions_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(Workspace, "captioner", lambda _, *args: commands.append([*map(str, args)]) or "{}")
    monkeypatch.setattr(
        Workspace, "is_finished", lambda _, name, seed: any(f"{name}-{seed}" in c[-2] for c in commands)
    )
    workspace = Workspace(tmp_path, tmp_path)
    runs = [quality.train(workspace, "distilled", seed) for seed in quality.SEEDS]
    first, *others = (command for command in commands if command[0] == "distill")
    assert first[1:4] == [str(tmp_path / f"richer-{seed}") for seed in quality.SEEDS]
    assert "--captions" not in first
    for seed, command in zip(quality.SEEDS[1:], others, strict=True):
        assert command[1:4] == [str(tmp_path / f"richer-{seed}"), "--captions", str(runs[0])]
    assert sum(command[0] == "train" for command in commands) == 3
