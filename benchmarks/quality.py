"""python -m benchmarks.quality FLICKR8K RUNS: train the Flickr8k configs with three seeds and score them.

Everything runs through the command line. Finished runs are not trained again. A run is scored with the checkpoint that
`captioner evaluate RUN` uses. docs/results.md states which options were chosen on the validation images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import machine, results
from benchmarks.flickr8k import BEAM, GREEDY, SEEDS, Workspace, command, set_options
from benchmarks.results import mean_and_spread
from benchmarks.session import ROOT
from captioner.config.options import ENCODER
from captioner.config.yaml_io import load

CONFIGS = {
    "rnn": "plain RNN",
    "lstm": "plain LSTM",
    "thousands": "`photos-thousands`",
    "richer": "LSTM, richer features",
    "transformer": "transformer, richer features",
    "distilled": "distilled",
    "scst": "distilled, then self-critical",
}
"""Row titles, by name: that of a config without `flickr8k-`, or of a row of `OTHERS`."""
OTHERS = {
    "thousands": ("photos-thousands",),
    "transformer": ("everyday", "train.epochs=12"),
    "distilled": ("everyday-student",),
    "scst": ("everyday-scst", "train.epochs=3"),
}
"""Rows with configs of other names, and the options that Flickr8k alone was measured with."""
RICHER = ("richer", "transformer", "distilled", "scst")
"""Rows whose models have the features of `--encoder richer`; the others have those of the default encoder."""
BASELINE = "richer"
"""The row with whose data set the nearest-neighbour baseline is scored."""
STUDENTS = ("distilled", "scst")
GRADIENTS = ("rnn", "lstm")
ENSEMBLES = {
    "richer": (("richer",), "ensemble of 3 LSTMs"),
    "transformer": (("transformer",), "ensemble of 3 transformers"),
    "mixed": (("transformer", "richer"), "ensemble of 3 transformers and 3 LSTMs"),
    "scst": (("scst",), "ensemble of 3, distilled, then self-critical"),
}
"""The rows of the members, and the title; an ensemble is measured with the row of its first members."""
STARTS = {"distilled": "transformer", "scst": "distilled"}
"""The rows whose models start from those of another row, with the same seeds."""
TEACHERS = ("transformer-0", "transformer-1", "richer-0", "richer-1")
TEACHER_OPTIONS = ("--n-best", "5", "-o", "decode.beam_width=30", "-o", "decode.guidance=2")
"""How the captions of the teachers are decoded; students learn all of them."""
CONSENSUS, BEAM_3 = "beam, consensus", "beam of 3"
SCORES = ("bleu1", "bleu4", "rouge_l", "cider_d")


class Row(NamedTuple):
    """A row of the table: a config and a way of decoding."""

    name: str
    way: str


DIFFERENCES = (
    (Row("transformer", CONSENSUS), Row("richer", CONSENSUS)),
    (Row("transformer", "greedy"), Row("richer", "greedy")),
    (Row("distilled", "greedy"), Row("transformer", "greedy")),
    (Row("scst", "greedy"), Row("distilled", "greedy")),
    (Row("scst", BEAM_3), Row("distilled", BEAM_3)),
    (Row("scst", CONSENSUS), Row("transformer", CONSENSUS)),
)
"""Pairs of rows whose difference is tested."""
RESAMPLES = 1000


def decodings(name: str) -> dict[str, tuple[str, ...]]:
    """Return greedy decoding, beam search without consensus, and the decoding of the current config file."""
    if name in STUDENTS:
        ways = {"greedy": GREEDY, BEAM_3: ("decode.beam_width=3", "decode.consensus=0", "decode.guidance=0")}
        return ways | {CONSENSUS: decodings("transformer")[CONSENSUS]} if name == "scst" else ways
    config, *_ = OTHERS.get(name, (f"flickr8k-{name}",))
    decode = load(ROOT / "configs" / f"{config}.yaml").decode
    options = ("beam_width", "length_penalty", "no_repeat_ngram", "consensus", "guidance")
    configured = tuple(f"decode.{option}={getattr(decode, option)}" for option in options)
    if decode.consensus:
        return {"greedy": GREEDY, "beam": BEAM, CONSENSUS: configured}
    return {"greedy": GREEDY, "beam": configured}


def train(workspace: Workspace, name: str, seed: int) -> Path:
    """Train a model, unless its run is finished."""
    data = workspace.prepared(*("richer", "richer") if name in RICHER else ("lite0", ENCODER))
    options = [f"train.init_from={train(workspace, STARTS[name], seed)}"] if name in STARTS else []
    if name == "distilled":
        options += [f"data.captions={teacher_captions(workspace)}", "data.captions_per_image=5"]
    config, *changed = OTHERS.get(name, (None,))
    return workspace.train(name, seed, "--data", data, *set_options([*changed, *options]), config=config)


def teacher_captions(workspace: Workspace) -> Path:
    """Return the file of the captions of the teachers, which are written once."""
    file = workspace.runs / "teacher.jsonl"
    if not file.exists():
        teachers = [train(workspace, *_named(teacher)) for teacher in TEACHERS]
        words = ("--ensemble", "--split", "train", *TEACHER_OPTIONS, "--write", file)
        workspace.captioner("sample", *teachers, *words)
    return file


def _named(teacher: str) -> tuple[str, int]:
    name, _, seed = teacher.partition("-")
    return name, int(seed)


def measure(workspace: Workspace, names: Sequence[str]) -> dict[str, Any]:
    """Score all seeds, ensembles and the nearest-neighbour baseline; collect learning curves and gradient norms."""
    scored: dict[str, Any] = {"single": {}, "ensemble": {}, "curves": {}, "gradients": {}}
    for name in names:
        runs, ways = models(workspace, name), decodings(name)
        scored["single"][name] = {way: [workspace.score([run], *opts) for run in runs] for way, opts in ways.items()}
        lines = map(json.loads, (runs[0] / "history.jsonl").read_text().splitlines())
        scored["curves"][name] = [(line["epoch"], line["perplexity"]) for line in lines if line["kind"] == "validation"]
        for ensemble, (members, _) in ENSEMBLES.items():
            if members[0] == name:
                every = [run for member in members for run in models(workspace, member)]
                beams = {way: options for way, options in ways.items() if way != "greedy"}
                scored["ensemble"][ensemble] = {way: workspace.score(every, *opts) for way, opts in beams.items()}
        if name in GRADIENTS:
            norms = workspace.captioner("inspect", "gradients", runs[0], "--word", 14, "--json")
            scored["gradients"][name] = json.loads(norms)["norms"]
        if name == BASELINE:
            baseline = json.loads(workspace.captioner("evaluate", runs[0], "--baseline", "nn", "--json"))
            scored["neighbours"] = {score: baseline["others"]["nn"][score] for score in SCORES}
    return scored | {"machine": dict.fromkeys(names, machine.describe())}


def models(workspace: Workspace, name: str) -> list[Path]:
    """Return the runs of a row, one for each seed."""
    return [train(workspace, name, seed) for seed in SEEDS]


def differences(images: dict[str, dict[str, list[list[float]]]]) -> dict[str, list[float]]:
    """Return the difference of the mean CIDEr-D of each pair in `DIFFERENCES`, with its 95 % interval.

    `images` are the CIDEr-D of each image, by config, way of decoding and seed. The paired bootstrap samples
    images, the same for both rows, and seeds of each row.
    """
    tested = {}
    for pair in DIFFERENCES:
        if not all(row.way in images.get(row.name, {}) for row in pair):
            continue
        first, second = (np.array(images[row.name][row.way]) for row in pair)
        drawn = np.random.default_rng(0).integers(first.shape[1], size=(RESAMPLES, first.shape[1]))
        bounds = np.quantile(_resampled(first, drawn, 1) - _resampled(second, drawn, 2), (0.025, 0.975))
        title = " minus ".join(f"{CONFIGS[row.name]}, {row.way}" for row in pair)
        tested[title] = [float(first.mean() - second.mean()), *bounds.tolist()]
    return tested


def _resampled(scores: Any, images: Any, seed: int) -> Any:
    """Return the mean score of each resample: its images, of as many runs as there are, with replacement.

    Shapes: scores (runs, M), images (B, M) -> (B,).
    """
    runs = np.random.default_rng(seed).integers(len(scores), size=(len(images), len(scores)))
    return np.array([scores[np.ix_(drawn, places)].mean() for drawn, places in zip(runs, images, strict=True)])


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Merge new results of some configs with old results of the others, in the order of the table."""
    scored = old | new
    for part in ("single", "ensemble", "curves", "gradients", "machine"):
        both = old.get(part, {}) | new[part]
        scored[part] = {name: both[name] for name in (*CONFIGS, *ENSEMBLES) if name in both}
    return scored


def table(scored: dict[str, Any]) -> str:
    """Return a Markdown table of means over seeds ± half the range, in percent."""
    return results.table(" | decoding | perplexity | BLEU-1 | BLEU-4 | ROUGE-L | CIDEr-D | distinct", _rows(scored))


def _rows(scored: dict[str, Any]) -> Iterator[results.Row]:
    for name, title in CONFIGS.items():
        for decoding, runs in scored["single"].get(name, {}).items():
            yield title, decoding, *_cells(runs)
    for name, (_, title) in ENSEMBLES.items():
        for decoding, ensemble in scored["ensemble"].get(name, {}).items():
            yield title, decoding, *_cells([ensemble])
    neighbours = [f"{100 * scored['neighbours'][score]:.1f}" for score in SCORES]
    yield "30 nearest neighbours, richer features", "", "", *neighbours, ""


def _cells(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield mean_and_spread([run["perplexity"] for run in runs], 2)
    for score in SCORES:
        yield mean_and_spread([100 * run[score] for run in runs], 1)
    yield mean_and_spread([run["distinct"] for run in runs], 0)


def difference_table(scored: dict[str, Any]) -> str:
    """Return a Markdown table of the tested differences of CIDEr-D, in percent."""
    rows = ((title, *(f"{100 * value:+.1f}" for value in values)) for title, values in scored["differences"].items())
    return results.table("rows | difference of CIDEr-D | from | to", rows)


def draw(scored: dict[str, Any], file: Path) -> None:
    """Draw validation perplexity over epochs, and gradient norms through time."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "captioner"
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    for name in ("rnn", "lstm", "thousands"):
        left.plot(*zip(*scored["curves"][name], strict=True), "o-", label=CONFIGS[name].strip("`"))
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
    images = {
        name: {way: [run.pop("images") for run in runs] for way, runs in ways.items()}
        for name, ways in scored["single"].items()
    }
    for ensemble in chain(*map(dict.values, scored["ensemble"].values())):
        del ensemble["images"]
    per_image = workspace.runs / "cider_d.json"
    images = (json.loads(per_image.read_text()) if per_image.exists() else {}) | images
    per_image.write_text(json.dumps(images))
    old = json.loads(figures.read_text()) if names else {}
    scored = merged(old, scored) | {"differences": old.get("differences", {}) | differences(images)}
    figures.write_text(json.dumps(scored, indent=1) + "\n")
    page = ROOT / "docs" / "results.md"
    text = results.insert(page.read_text(), table(scored))
    page.write_text(results.insert(text, difference_table(scored), "differences"))
    draw(scored, ROOT / "docs" / "results.svg")


if __name__ == "__main__":
    main()
