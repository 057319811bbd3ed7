"""python -m benchmarks.quality FLICKR8K RUNS: train the Flickr8k configs with three seeds and score them.

Everything runs through the command line. Finished runs are not trained again.
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
    "scst": "self-critical training",
    "richer": "richer features",
    "distilled": "distilled from the ensemble, richer features",
}
"""Row titles; all but `distilled` are names of configs, without `flickr8k-`."""
BASELINE = "lstm"
"""The row with whose data set the nearest-neighbour baseline is scored."""
GRADIENTS = ("rnn", "lstm")
ENSEMBLES = {
    "best": "ensemble of 3, image at every step",
    "scst": "ensemble of 3, self-critical",
    "richer": "ensemble of 3, richer features",
}
PREPARED = ("richer", "distilled")
"""Rows of models that are trained on a data set with the features of the encoder `richer`, not on CS231n's layout."""
GREEDY = ("decode.beam_width=1", "decode.length_penalty=0", "decode.no_repeat_ngram=null", "decode.consensus=0")
BEAM = ("decode.beam_width=10", "decode.length_penalty=0.7", "decode.no_repeat_ngram=2", "decode.consensus=0")
STUDENT = ("-o", "distill.captions_per_image=5")
"""Options of `captioner distill`."""
SCORES = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider_d")


def decodings(name: str) -> dict[str, tuple[str, ...]]:
    """Return greedy decoding, beam search without consensus, and the decoding of the current config file."""
    if name == "distilled":  # a student is decoded without consensus
        return {"greedy": GREEDY, "beam": BEAM}
    decode = load(ROOT / "configs" / f"flickr8k-{name}.yaml").decode
    options = ("beam_width", "length_penalty", "no_repeat_ngram", "consensus")
    configured = tuple(f"decode.{option}={getattr(decode, option)}" for option in options)
    if decode.consensus:
        return {"greedy": GREEDY, "beam": BEAM, "beam, consensus": configured}
    return {"greedy": GREEDY, "beam": configured}


class Workspace:
    """The folders of the data and the runs, and the command line."""

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
        options = "-o", f"seed={seed}", "--run", run, "--overwrite"
        if name == "distilled":
            self.distill(seed, options)
            return run
        start = ("-o", f"train.init_from={self.runs / f'best-{seed}'}") if name == "scst" else ()
        where = ("--data", self.prepared()) if name in PREPARED else ("-o", f"data.root={self.data / 'cs231n'}")
        self.captioner("train", "-c", ROOT / "configs" / f"flickr8k-{name}.yaml", *where, *start, *options)
        return run

    def distill(self, seed: int, options: Sequence[object]) -> None:
        """Train a student from the model with this seed on the captions of the ensemble, which are generated once."""
        if seed == SEEDS[0]:
            self.captioner("distill", *(self.train("richer", one) for one in SEEDS), *STUDENT, *options)
        else:
            captions = "--captions", self.train("distilled", SEEDS[0])
            self.captioner("distill", self.train("richer", seed), *captions, *STUDENT, *options)

    def prepared(self) -> Path:
        """Return the data set with the features of the encoder `richer`; write it if it is missing."""
        output = self.runs / "flickr8k-richer.h5"
        if not output.exists():
            captions, images = self.data / "dataset_flickr8k.json", self.data / "images"
            self.captioner("prepare", captions, "--images", images, "--encoder", "richer", "--output", output)
        return output

    def score(self, runs: Sequence[Path], *options: str) -> dict[str, Any]:
        """Score against the raw references, not the truncated captions of the assignment's layout."""
        overrides = [word for option in options for word in ("-o", option)]
        captions = self.runs / "captions.json"
        written = "--coco", captions, "--overwrite", "--json"
        metrics = json.loads(self.captioner("evaluate", "--ensemble", *runs, *written, *overrides))
        references = self.data / "dataset_flickr8k.json"
        scores = self.captioner(
            "evaluate", "--captions", captions, "--references", references, "--split", "val", "--json"
        )
        return {"perplexity": metrics["perplexity"], "novel": metrics["novel"]} | json.loads(scores)


def measure(workspace: Workspace, names: Sequence[str]) -> dict[str, Any]:
    """Score all seeds, ensembles and the nearest-neighbour baseline; collect learning curves and gradient norms."""
    found: dict[str, Any] = {"single": {}, "ensemble": {}, "curves": {}, "gradients": {}}
    for name in names:
        runs = [workspace.train(name, seed) for seed in SEEDS]
        ways = decodings(name)
        found["single"][name] = {
            way: [workspace.score([run], *options) for run in runs] for way, options in ways.items()
        }
        lines = map(json.loads, (runs[0] / "history.jsonl").read_text().splitlines())
        found["curves"][name] = [(line["epoch"], line["perplexity"]) for line in lines if line["kind"] == "validation"]
        if name in ENSEMBLES:
            scores = {way: workspace.score(runs, *options) for way, options in ways.items() if way != "greedy"}
            found["ensemble"][name] = scores
        if name in GRADIENTS:
            norms = workspace.captioner("inspect", "gradients", runs[0], "--word", 14, "--json")
            found["gradients"][name] = json.loads(norms)["norms"]
        if name == BASELINE:
            baseline = json.loads(workspace.captioner("evaluate", runs[0], "--baseline", "nn", "--json"))
            found["neighbours"] = {score: baseline["others"]["nn"][score] for score in SCORES}
    return found | {"machine": dict.fromkeys(names, machine.describe())}


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Merge new results of some configs with old results of the others, in the order of the table."""
    found = old | new
    for part in ("single", "ensemble", "curves", "gradients", "machine"):
        both = old.get(part, {}) | new[part]
        found[part] = {name: both[name] for name in CONFIGS if name in both}
    return found


def table(found: dict[str, Any]) -> str:
    """Return a Markdown table of means over seeds ± half the range, in percent."""
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
    yield ("30 nearest neighbours, references with `<UNK>`", "", "", *neighbours, "")


def _scores(many: Sequence[dict[str, Any]]) -> Iterator[str]:
    for score in SCORES:
        yield _mean([100 * one[score] for one in many], 1)
    yield _mean([one["distinct"] for one in many], 0)


def _mean(values: Sequence[float], digits: int) -> str:
    spread = f" ±{(max(values) - min(values)) / 2:.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):,.{digits}f}{spread}"


def draw(found: dict[str, Any], file: Path) -> None:
    """Draw validation perplexity over epochs, and gradient norms through time."""
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
    right.set(xlabel="steps back from word 14", ylabel="norm of the loss gradient w.r.t. the state")
    for panel in (left, right):
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(file, metadata={"Date": None})


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.argument("runs", type=click.Path(path_type=Path))
@click.option(
    "--only", "names", type=click.Choice(list(CONFIGS)), multiple=True, help="Run only this config (repeatable)."
)
def main(data: Path, runs: Path, names: tuple[str, ...]) -> None:
    """Train and score; write the table and the plot of docs/results.md.

    DATA is Flickr8k with cs231n/ and dataset_flickr8k.json, see docs/data.md; RUNS is the folder of the runs.
    """
    figures = ROOT / "benchmarks" / "quality.json"
    found = measure(Workspace(data.absolute(), runs.absolute()), names or tuple(CONFIGS))
    found = merged(json.loads(figures.read_text()) if names else {}, found)
    figures.write_text(json.dumps(found, indent=1) + "\n")
    page = ROOT / "docs" / "results.md"
    page.write_text(insert(page.read_text(), table(found)))
    draw(found, ROOT / "docs" / "results.svg")


if __name__ == "__main__":
    main()
