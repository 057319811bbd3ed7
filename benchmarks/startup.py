"""Start-up time of commands: help, and the caption of one image."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np

import captioner
from benchmarks.epochs import TINY
from benchmarks.session import CAPTIONER, Session, run, set_library_threads
from benchmarks.timing import Call, Contender
from captioner.inference.load import open_run

OPTIONS = (*TINY, "model.wordvec_dim=256", "model.hidden_dim=512", "train.max_steps=1")


def measure(session: Session) -> dict[str, Any]:
    """Time processes from start to exit, and the same work in this process, for a model with D = 256 and H = 512."""
    with TemporaryDirectory() as folder:
        path, image = Path(folder, "run", "last.h5"), Path(folder, "image.h5")
        run(*CAPTIONER, "train", *(f"--set={option}" for option in OPTIONS), "--run", path.parent)
        features = np.zeros((1, open_run(path).model.sizes.feature), np.float32)
        with h5py.File(image, "w") as file:
            file["features"] = features
        calls: dict[str, Call] = {
            "ours": partial(run, *CAPTIONER, "--help"),
            "import click": partial(run, "-c", "import click"),
            "sample": partial(run, *CAPTIONER, "sample", path, "--features", image),
            "load": partial(open_run, path),
            "load and caption": lambda: captioner.load(path).caption(features=features),
        }
        prepare = partial(set_library_threads, "numpy", 1)
        return session.race("start-up", {name: Contender(call, prepare) for name, call in calls.items()})
