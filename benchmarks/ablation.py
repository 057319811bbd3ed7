"""python -m benchmarks.ablation FLICKR8K RUNS: an ablation of the image features of flickr8k-richer.

All models are trained with the options of flickr8k-richer and three seeds; only their image features differ. Everything
runs through the command line. Finished runs are not trained again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from benchmarks import machine
from benchmarks.flickr8k import BEAM, GREEDY, SEEDS, Workspace, command, set_options
from benchmarks.results import Row, insert, mean_and_spread, table
from benchmarks.session import ROOT

PAGE = ROOT / "docs" / "results.md"
FIGURES = ROOT / "benchmarks" / "ablation.json"
PART = "ablation"
"""The name of the table in the marks of the page."""
SCORES = {"bleu4": "BLEU-4", "cider_d": "CIDEr-D"}

Scored: TypeAlias = Mapping[str, Sequence[Mapping[str, float]]]
"""The scores of each seed, by way of decoding."""


class Variant(NamedTuple):
    """A row of the table: its title, and the encoder of the image features."""

    title: str
    encoder: str


VARIANTS = {
    "lite0": Variant("EfficientNet-Lite0", "efficientnet-lite0"),
    "mirror": Variant("+ mirror images", "efficientnet-lite0:mirror"),
    "mirror288": Variant("+ 288 x 288 pixels", "efficientnet-lite0:mirror+efficientnet-lite0:size=288"),
    "richer": Variant("+ EfficientNet-Lite2 (`richer`)", "richer"),
}
"""Each row adds something to the one above."""
OPTIONS = ("threads=1", "validate.every=3", "model.forget_bias=0")
"""Options with which the table of the page was measured."""
DECODINGS = {"greedy": GREEDY, "beam": BEAM}


def measure(workspace: Workspace, name: str) -> Scored:
    """Train and score the models of a row."""
    data = workspace.prepared(name, VARIANTS[name].encoder)
    options = "--data", data, *set_options(OPTIONS)
    runs = [workspace.train(name, seed, *options, config="flickr8k-richer") for seed in SEEDS]
    return {way: [workspace.score([run], *decode) for run in runs] for way, decode in DECODINGS.items()}


def render(scored: Mapping[str, Scored]) -> str:
    """Return the table."""
    heads = [f"{title}, {way}" for way in DECODINGS for title in SCORES.values()]
    return table(" | ".join(("image features", "perplexity", *heads)), _rows(scored))


def _rows(scored: Mapping[str, Scored]) -> Iterator[Row]:
    """Yield means over seeds ± half the range; scores in percent."""
    for name, variant in VARIANTS.items():
        if ways := scored.get(name):
            cells = [mean_and_spread([100 * run[score] for run in ways[way]]) for way in DECODINGS for score in SCORES]
            yield variant.title, mean_and_spread([run["perplexity"] for run in ways["beam"]]), *cells


@command(VARIANTS)
def main(workspace: Workspace, names: tuple[str, ...]) -> None:
    """Train and score; write the table of the ablation in docs/results.md."""
    for name in names or VARIANTS:
        scored: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
        scored |= {name: measure(workspace, name), "machine": machine.describe()}
        FIGURES.write_text(json.dumps(scored, indent=1) + "\n")
        PAGE.write_text(insert(PAGE.read_text(), render(scored), PART))


if __name__ == "__main__":
    main()
