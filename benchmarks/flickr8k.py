"""The folders of Flickr8k and of the runs, and the commands that prepare, train and score through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.session import ROOT

SEEDS = (0, 1, 2)
GREEDY = ("decode.beam_width=1", "decode.length_penalty=0", "decode.no_repeat_ngram=null", "decode.consensus=0")
BEAM = ("decode.beam_width=10", "decode.length_penalty=0.7", "decode.no_repeat_ngram=2", "decode.consensus=0")


class Workspace:
    """Flickr8k with `cs231n/`, `images/` and `dataset_flickr8k.json`, and the folder of the runs.

    What exists is kept: finished runs are not trained again, and data sets are not prepared again.
    """

    def __init__(self, data: Path, runs: Path) -> None:
        self.data, self.runs = data.absolute(), runs.absolute()
        self.references = self.data / "dataset_flickr8k.json"

    def captioner(self, *args: object) -> str:
        command = [sys.executable, "-m", "captioner", *map(str, args)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def prepared(self, name: str, encoder: str, *options: str) -> Path:
        """Return the data set with the features of an encoder."""
        output = self.runs / f"flickr8k-{name}.h5"
        if not output.exists():
            images = self.data / "images"
            written = "--images", images, "--encoder", encoder, "--output", output
            self.captioner("prepare", self.references, *written, *options)
        return output

    def run(self, name: str, seed: int) -> Path:
        return self.runs / f"{name}-{seed}"

    def is_finished(self, name: str, seed: int) -> bool:
        summary = self.run(name, seed) / "summary.json"
        return summary.exists() and json.loads(summary.read_text())["ended"] == "done"

    def train(self, name: str, seed: int, *args: object, config: str | None = None) -> Path:
        """Train one of the configs of Flickr8k, whose name is also that of the run by default."""
        run = self.run(name, seed)
        if not self.is_finished(name, seed):
            file = ROOT / "configs" / f"flickr8k-{config or name}.yaml"
            self.captioner("train", "-c", file, *args, "-o", f"seed={seed}", "--run", run, "--overwrite")
        return run

    def score(self, runs: Sequence[Path], *options: str) -> dict[str, Any]:
        """Score against the raw references, not the truncated captions of the assignment's layout."""
        overrides = [word for option in options for word in ("-o", option)]
        with TemporaryDirectory() as folder:
            captions = Path(folder, "captions.json")
            metrics = self.captioner("evaluate", "--ensemble", *runs, "--coco", captions, "--json", *overrides)
            scored = "--captions", captions, "--references", self.references, "--split", "val", "--json"
            scores = self.captioner("evaluate", *scored)
        chosen = ("perplexity", "novel")
        return {name: json.loads(metrics)[name] for name in chosen} | json.loads(scores)
