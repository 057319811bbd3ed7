"""A valid checkpoint for tests."""

import numpy as np

from captioner.files.checkpoint import Checkpoint, Meta

META = Meta(
    config={"seed": 3},
    words=["<NULL>", "<START>", "<END>", "<UNK>", "café"],
    feature_dim=2,
    encoder="drawn",
    data_digest="ab" * 32,
    train_digest="cd" * 32,
    learned="ef" * 32,
    step=7,
    best={"step": 5, "epoch": 1, "loss": 2.5},
    since_best=1,
    environment={},
)
RNG = np.random.default_rng(0)
PARAMS = {"W_proj": RNG.standard_normal((3, 4)).astype(np.float32), "b": RNG.standard_normal(5)}
WHOLE = Checkpoint(META, PARAMS, {"m": PARAMS, "v": {name: w * w for name, w in PARAMS.items()}}, {"mean": np.zeros(2)})
