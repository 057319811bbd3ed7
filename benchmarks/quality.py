"""python -m benchmarks.quality FLICKR8K RUNS: train three configs on Flickr8k with three seeds and score them.

Everything runs through the command line. Finished runs are not trained again. A run is scored with the checkpoint that
`captioner evaluate RUN` uses. docs/results.md states which options were chosen on the validation images.
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
    "flickr8k-rnn": "plain RNN",
    "flickr8k-lstm": "plain LSTM",
    "photos-thousands": "`photos-thousands`",
}
"""Row titles, by config."""
GRADIENTS = ("flickr8k-rnn", "flickr8k-lstm")
SCORES = ("bleu1", "bleu4", "rouge_l", "cider_d")


def decodings(name: str) -> dict[str, tuple[str, ...]]:
    """Return greedy decoding, beam search by the model alone, and the decoding of the current config file."""
    decode = load(ROOT / "configs" / f"{name}.yaml").decode
    options = ("beam_width", "length_penalty", "no_repeat_ngram", "guidance_weight", "similarity_weight")
    configured = tuple(f"decode.{option}={getattr(decode, option)}" for option in options)
    if not decode.similarity_weight:
        return {"greedy": GREEDY, "beam": configured}
    return {"greedy": GREEDY, "beam": BEAM, "re-ranked": configured}


def measure(workspace: Workspace, names: Sequence[str]) -> dict[str, Any]:
    """Train and score all seeds; collect learning curves and gradient norms."""
    scored: dict[str, Any] = {"scores": {}, "curves": {}, "gradients": {}}
    data = workspace.prepared("flickr8k", "everyday")
    for name in names:
        runs = [workspace.train(name, seed, "--data", data, config=name) for seed in SEEDS]
        ways = decodings(name).items()
        scored["scores"][name] = {way: [workspace.score(run, *options) for run in runs] for way, options in ways}
        lines = map(json.loads, (runs[0] / "history.jsonl").read_text().splitlines())
        scored["curves"][name] = [(line["epoch"], line["perplexity"]) for line in lines if line["kind"] == "validation"]
        if name in GRADIENTS:
            norms = workspace.captioner("inspect", "gradients", runs[0], "--word", 14, "--json")
            scored["gradients"][name] = json.loads(norms)["norms"]
    return scored | {"machine": dict.fromkeys(names, machine.describe())}


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Merge new results of some configs with old results of the others, in the order of the table."""
    both = {part: old.get(part, {}) | new[part] for part in new}
    return {part: {name: values[name] for name in CONFIGS if name in values} for part, values in both.items()}


def table(scored: dict[str, Any]) -> str:
    """Return a Markdown table of means over seeds ± half the range, in percent."""
    return results.table(" | decoding | perplexity | BLEU-1 | BLEU-4 | ROUGE-L | CIDEr-D | distinct", _rows(scored))


def _rows(scored: dict[str, Any]) -> Iterator[results.Row]:
    for name, ways in scored["scores"].items():
        for way, runs in ways.items():
            cells = [mean_and_spread([100 * run[score] for run in runs]) for score in SCORES]
            perplexity = mean_and_spread([run["perplexity"] for run in runs], 2)
            yield CONFIGS[name], way, perplexity, *cells, mean_and_spread([run["distinct"] for run in runs], 0)


def draw(scored: dict[str, Any], file: Path) -> None:
    """Draw validation perplexity over epochs, and gradient norms through time."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "captioner"
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    for name, curve in scored["curves"].items():
        left.plot(*zip(*curve, strict=True), "o-", label=CONFIGS[name].strip("`"))
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
    figures, page = ROOT / "benchmarks" / "quality.json", ROOT / "docs" / "results.md"
    scored = merged(json.loads(figures.read_text()), measure(workspace, names or tuple(CONFIGS)))
    figures.write_text(json.dumps(scored, indent=1) + "\n")
    page.write_text(results.insert(page.read_text(), table(scored)))
    draw(scored, ROOT / "docs" / "results.svg")


if __name__ == "__main__":
    main()
