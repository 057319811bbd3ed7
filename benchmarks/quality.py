"""python -m benchmarks.quality FLICKR8K RUNS: train the Flickr8k configs with three seeds, and score them.

Everything goes through the commands that people use. A run that is there and finished is not trained again.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks import machine
from benchmarks.report import insert
from benchmarks.session import ROOT
from captioner.config.yaml_io import load

SEEDS = (0, 1, 2)
CONFIGS = {
    "rnn": "plain RNN",
    "lstm": "plain LSTM",
    "best": "LSTM, image at every step",
    "scst": "the same, self-critical",
}
GRADIENTS = ("rnn", "lstm")
ENSEMBLES = {"best": "three of *image at every step*", "scst": "three of *self-critical*"}
GREEDY = ("decode.beam_width=1", "decode.length_penalty=0", "decode.no_repeat_ngram=null", "decode.consensus=0")
BEAM = ("decode.beam_width=10", "decode.length_penalty=0.7", "decode.no_repeat_ngram=2", "decode.consensus=0")
SCORES = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider_d")


def decodings(name: str) -> dict[str, tuple[str, ...]]:
    """Greedy; as a config decodes now, whatever it named when a run was trained; and without its consensus."""
    decode = load(ROOT / "configs" / f"flickr8k-{name}.yaml").decode
    options = ("beam_width", "length_penalty", "no_repeat_ngram", "consensus")
    configured = tuple(f"decode.{option}={getattr(decode, option)}" for option in options)
    if decode.consensus:
        return {"greedy": GREEDY, "beam": BEAM, "beam, consensus": configured}
    return {"greedy": GREEDY, "beam": configured}


class Desk:
    """Where the data and the runs are, and the command line."""

    def __init__(self, data: Path, runs: Path) -> None:
        self.data, self.runs = data, runs

    def captioner(self, *args: object) -> str:
        command = [sys.executable, "-m", "captioner", *map(str, args)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def train(self, name: str, seed: int) -> Path:
        run = self.runs / f"{name}-{seed}"
        summary = run / "summary.json"
        if summary.exists() and json.loads(summary.read_text())["ended"] == "done":
            return run
        start = ("-o", f"train.init_from={self.runs / f'best-{seed}'}") if name == "scst" else ()
        where = "-o", f"data.root={self.data / 'cs231n'}"
        self.captioner(
            "train", "-c", ROOT / "configs" / f"flickr8k-{name}.yaml", *where, "-o", f"seed={seed}", *start,
            "--run", run, "--overwrite",
        )  # fmt: skip
        return run

    def score(self, runs: Sequence[Path], *options: str) -> dict[str, Any]:
        """Against what people wrote, not what is left of it in the assignment's layout."""
        overrides = [word for option in options for word in ("-o", option)]
        captions = self.runs / "captions.json"
        own = json.loads(self.captioner("evaluate", *runs, "--coco", captions, "--json", *overrides))
        references = self.data / "dataset_flickr8k.json"
        said = self.captioner(
            "evaluate", "--captions", captions, "--references", references, "--split", "val", "--json"
        )
        return {"perplexity": own["perplexity"], "novel": own["novel"]} | json.loads(said)


def measure(desk: Desk, names: Sequence[str]) -> dict[str, Any]:
    """Every seed of these configs in all decodings, several together, their curves and gradients; and neighbours."""
    found: dict[str, Any] = {"single": {}, "ensemble": {}, "curves": {}, "gradients": {}}
    for name in names:
        runs = [desk.train(name, seed) for seed in SEEDS]
        ways = decodings(name)
        found["single"][name] = {way: [desk.score([run], *options) for run in runs] for way, options in ways.items()}
        lines = map(json.loads, (runs[0] / "history.jsonl").read_text().splitlines())
        found["curves"][name] = [(line["epoch"], line["perplexity"]) for line in lines if line["kind"] == "validation"]
        if name in ENSEMBLES:
            together = {way: desk.score(runs, *options) for way, options in ways.items() if way != "greedy"}
            found["ensemble"][name] = together
        if name in GRADIENTS:
            told = desk.captioner("inspect", "gradients", runs[0], "--words", 14, "--json")
            found["gradients"][name] = json.loads(told)["norms"]
    run = desk.runs / f"{names[0]}-0"
    baseline = json.loads(desk.captioner("evaluate", run, "--baseline", "nn", "--json"))
    found["neighbours"] = {score: baseline["others"]["nn"][score] for score in SCORES}
    return found | {"machine": dict.fromkeys(names, machine.describe())}


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The figures of some configs measured anew, and those of the others as they were, in the table's order."""
    found = old | new
    for part in ("single", "ensemble", "curves", "gradients", "machine"):
        both = old.get(part, {}) | new[part]
        found[part] = {name: both[name] for name in CONFIGS if name in both}
    return found


def table(found: dict[str, Any]) -> str:
    """Means over seeds with the distance from lowest to highest, in percent."""
    heads = (
        "",
        "decoding",
        "perplexity",
        "BLEU-1",
        "BLEU-2",
        "BLEU-3",
        "BLEU-4",
        "ROUGE-L",
        "CIDEr-D",
        "distinct",
    )
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, ("---",) * len(heads), *_rows(found)))


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, label in CONFIGS.items():
        for decoding, many in found["single"].get(name, {}).items():
            yield (label, decoding, _mean([s["perplexity"] for s in many], 2), *_scores(many))
    for name, label in ENSEMBLES.items():
        for decoding, one in found["ensemble"].get(name, {}).items():
            yield (label, decoding, f"{one['perplexity']:.2f}", *_scores([one]))
    neighbours = [f"{100 * found['neighbours'][score]:.1f}" for score in SCORES]
    yield ("30 nearest neighbours, by the layout's references", "", "", *neighbours, "")


def _scores(many: Sequence[dict[str, Any]]) -> Iterator[str]:
    for score in SCORES:
        yield _mean([100 * one[score] for one in many], 1)
    yield _mean([one["distinct"] for one in many], 0)


def _mean(values: Sequence[float], digits: int) -> str:
    spread = f" ±{(max(values) - min(values)) / 2:.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):,.{digits}f}{spread}"


def draw(found: dict[str, Any], file: Path) -> None:
    """Validation perplexity over epochs, and how a gradient fades over the words before."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "captioner"
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    for name in ("rnn", "lstm", "best"):
        left.plot(*zip(*found["curves"][name], strict=True), "o-", label=CONFIGS[name])
    left.set(xlabel="epoch", ylabel="validation perplexity", ylim=(14, 36))
    for name, norms in found["gradients"].items():
        right.semilogy(range(len(norms)), norms, "o-", label=CONFIGS[name])
    right.set(xlabel="steps back from word 14", ylabel="norm of its loss's gradient by the state")
    for panel in (left, right):
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(file, metadata={"Date": None})


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--only", "names", type=click.Choice(list(CONFIGS)), multiple=True, help="Measure this config anew.")
def main(data: Path, runs: Path, names: tuple[str, ...]) -> None:
    """Train, score, and write the table and the plot of docs/results.md.

    DATA is Flickr8k with cs231n/ and dataset_flickr8k.json, as in docs/data.md; RUNS is the folder of the runs.
    """
    figures = ROOT / "benchmarks" / "quality.json"
    found = measure(Desk(data.absolute(), runs.absolute()), names or tuple(CONFIGS))
    found = merged(json.loads(figures.read_text()) if names else {}, found)
    figures.write_text(json.dumps(found, indent=1) + "\n")
    page = ROOT / "docs" / "results.md"
    page.write_text(insert(page.read_text(), table(found)))
    draw(found, ROOT / "docs" / "results.svg")


if __name__ == "__main__":
    main()
