"""python -m benchmarks.quality FLICKR8K RUNS: train the Flickr8k configs with three seeds and score them.

Everything runs through the command line. Finished runs are not trained again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks import machine
from benchmarks.flickr8k import BEAM, GREEDY, SEEDS, Workspace
from benchmarks.results import insert, mean_and_spread
from benchmarks.session import ROOT
from captioner.config.yaml_io import load

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
STUDENT_OPTIONS = ("-o", "distill.captions_per_image=5")
TEACHER_OPTIONS = ("--teacher-set", "decode.beam_width=30")
"""Options of `captioner distill`; a wider beam of the teachers was not tried."""
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


def train(workspace: Workspace, name: str, seed: int) -> Path:
    """Train a model, unless its run is finished."""
    if name == "distilled":
        return distill(workspace, seed)
    if name == "richer":
        return workspace.train(name, seed, "--data", workspace.prepared("richer", "richer"))
    start = ("-o", f"train.init_from={workspace.run('best', seed)}") if name == "scst" else ()
    return workspace.train(name, seed, "-o", f"data.root={workspace.data / 'cs231n'}", *start)


def distill(workspace: Workspace, seed: int) -> Path:
    """Train a student from the model with this seed on the captions of the ensemble, which are generated once."""
    run = workspace.run("distilled", seed)
    if workspace.is_finished("distilled", seed):
        return run
    seeds, options = SEEDS, TEACHER_OPTIONS
    if seed != SEEDS[0]:
        seeds, options = (seed,), ("--captions", str(distill(workspace, SEEDS[0])))
    teachers = [train(workspace, "richer", one) for one in seeds]
    workspace.captioner(
        "distill", *teachers, *options, *STUDENT_OPTIONS, "-o", f"seed={seed}", "--run", run, "--overwrite"
    )
    return run


def measure(workspace: Workspace, names: Sequence[str]) -> dict[str, Any]:
    """Score all seeds, ensembles and the nearest-neighbour baseline; collect learning curves and gradient norms."""
    found: dict[str, Any] = {"single": {}, "ensemble": {}, "curves": {}, "gradients": {}}
    for name in names:
        runs = [train(workspace, name, seed) for seed in SEEDS]
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
            yield (label, decoding, mean_and_spread([s["perplexity"] for s in many], 2), *_scores(many))
    for name, label in ENSEMBLES.items():
        for decoding, one in found["ensemble"].get(name, {}).items():
            yield (label, decoding, f"{one['perplexity']:.2f}", *_scores([one]))
    neighbours = [f"{100 * found['neighbours'][score]:.1f}" for score in SCORES]
    yield ("30 nearest neighbours, references with `<UNK>`", "", "", *neighbours, "")


def _scores(many: Sequence[dict[str, Any]]) -> Iterator[str]:
    for score in SCORES:
        yield mean_and_spread([100 * one[score] for one in many], 1)
    yield mean_and_spread([one["distinct"] for one in many], 0)


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
    found = measure(Workspace(data, runs), names or tuple(CONFIGS))
    found = merged(json.loads(figures.read_text()) if names else {}, found)
    figures.write_text(json.dumps(found, indent=1) + "\n")
    page = ROOT / "docs" / "results.md"
    page.write_text(insert(page.read_text(), table(found)))
    draw(found, ROOT / "docs" / "results.svg")


if __name__ == "__main__":
    main()
