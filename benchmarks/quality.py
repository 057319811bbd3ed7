"""python -m benchmarks.quality FLICKR8K RUNS: train the Flickr8k configs with three seeds and score them.

Everything runs through the command line. Finished runs are not trained again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, results
from benchmarks.flickr8k import BEAM, GREEDY, SEEDS, Workspace, command
from benchmarks.results import mean_and_spread
from benchmarks.session import ROOT
from captioner.config.yaml_io import load

CONFIGS = {
    "rnn": "plain RNN",
    "lstm": "plain LSTM",
    "best": "LSTM, image at every step",
    "scst": "self-critical training",
    "richer": "richer features",
    "transformer": "transformer, richer features",
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
    "transformer": "ensemble of 3, transformer",
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
    options = ("beam_width", "length_penalty", "no_repeat_ngram", "consensus", "guidance")
    configured = tuple(f"decode.{option}={getattr(decode, option)}" for option in options)
    if decode.consensus:
        return {"greedy": GREEDY, "beam": BEAM, "beam, consensus": configured}
    return {"greedy": GREEDY, "beam": configured}


def train(workspace: Workspace, name: str, seed: int) -> Path:
    """Train a model, unless its run is finished."""
    if name == "distilled":
        return distill(workspace, seed)
    if name in ("richer", "transformer"):
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
    teachers = [train(workspace, "richer", teacher_seed) for teacher_seed in seeds]
    options = (*options, *STUDENT_OPTIONS, "-o", f"seed={seed}")
    workspace.captioner("distill", *teachers, *options, "--run", run, "--overwrite")
    return run


def measure(workspace: Workspace, names: Sequence[str]) -> dict[str, Any]:
    """Score all seeds, ensembles and the nearest-neighbour baseline; collect learning curves and gradient norms."""
    scored: dict[str, Any] = {"single": {}, "ensemble": {}, "curves": {}, "gradients": {}}
    for name in names:
        runs = [train(workspace, name, seed) for seed in SEEDS]
        ways = decodings(name)
        scored["single"][name] = {way: [workspace.score([run], *opts) for run in runs] for way, opts in ways.items()}
        lines = map(json.loads, (runs[0] / "history.jsonl").read_text().splitlines())
        scored["curves"][name] = [(line["epoch"], line["perplexity"]) for line in lines if line["kind"] == "validation"]
        if name in ENSEMBLES:
            beams = {way: options for way, options in ways.items() if way != "greedy"}
            scored["ensemble"][name] = {way: workspace.score(runs, *options) for way, options in beams.items()}
        if name in GRADIENTS:
            norms = workspace.captioner("inspect", "gradients", runs[0], "--word", 14, "--json")
            scored["gradients"][name] = json.loads(norms)["norms"]
        if name == BASELINE:
            baseline = json.loads(workspace.captioner("evaluate", runs[0], "--baseline", "nn", "--json"))
            scored["neighbours"] = {score: baseline["others"]["nn"][score] for score in SCORES}
    return scored | {"machine": dict.fromkeys(names, machine.describe())}


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Merge new results of some configs with old results of the others, in the order of the table."""
    scored = old | new
    for part in ("single", "ensemble", "curves", "gradients", "machine"):
        both = old.get(part, {}) | new[part]
        scored[part] = {name: both[name] for name in CONFIGS if name in both}
    return scored


def table(scored: dict[str, Any]) -> str:
    """Return a Markdown table of means over seeds ± half the range, in percent."""
    scores = "BLEU-1 | BLEU-2 | BLEU-3 | BLEU-4 | ROUGE-L | CIDEr-D"
    return results.table(f" | decoding | perplexity | {scores} | distinct", _rows(scored))


def _rows(scored: dict[str, Any]) -> Iterator[results.Row]:
    for name, title in CONFIGS.items():
        for decoding, runs in scored["single"].get(name, {}).items():
            yield title, decoding, *_cells(runs)
    for name, title in ENSEMBLES.items():
        for decoding, ensemble in scored["ensemble"].get(name, {}).items():
            yield title, decoding, *_cells([ensemble])
    neighbours = [f"{100 * scored['neighbours'][score]:.1f}" for score in SCORES]
    yield "30 nearest neighbours, references with `<UNK>`", "", "", *neighbours, ""


def _cells(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield mean_and_spread([run["perplexity"] for run in runs], 2)
    for score in SCORES:
        yield mean_and_spread([100 * run[score] for run in runs], 1)
    yield mean_and_spread([run["distinct"] for run in runs], 0)


def draw(scored: dict[str, Any], file: Path) -> None:
    """Draw validation perplexity over epochs, and gradient norms through time."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "captioner"
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    for name in ("rnn", "lstm", "best"):
        left.plot(*zip(*scored["curves"][name], strict=True), "o-", label=CONFIGS[name])
    left.set(xlabel="epoch", ylabel="validation perplexity", ylim=(14, 36))
    for name, norms in scored["gradients"].items():
        right.semilogy(range(len(norms)), norms, "o-", label=CONFIGS[name])
    right.set(xlabel="steps back from word 14", ylabel="norm of the loss gradient w.r.t. the state")
    for panel in (left, right):
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(file, metadata={"Date": None})


@command(CONFIGS)
def main(workspace: Workspace, names: tuple[str, ...]) -> None:
    """Train and score; write the table and the plot of docs/results.md."""
    figures = ROOT / "benchmarks" / "quality.json"
    scored = measure(workspace, names or tuple(CONFIGS))
    scored = merged(json.loads(figures.read_text()) if names else {}, scored)
    figures.write_text(json.dumps(scored, indent=1) + "\n")
    page = ROOT / "docs" / "results.md"
    page.write_text(results.insert(page.read_text(), table(scored)))
    draw(scored, ROOT / "docs" / "results.svg")


if __name__ == "__main__":
    main()
