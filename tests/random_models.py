"""Checkpoints with random parameters, for every kind of model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from captioner.config.overrides import read_overrides, to_record
from captioner.config.yaml_io import parse
from captioner.files import checkpoint
from captioner.files.checkpoint import Checkpoint, Meta
from captioner.model.build import build_sizes, parameter_shapes

WORDS = ("<NULL>", "<START>", "<END>", "<UNK>", *(f"w{number}" for number in range(12)), "café", "猫")
FEATURE, REGION, REGIONS, IMAGES = 6, 5, 4, 20


def random_run(
    folder: Path,
    cell: str = "lstm",
    image: str = "init",
    attention: str = "none",
    overrides: Sequence[str] = (),
    seed: int = 0,
) -> Path:
    """Write a run folder with a best checkpoint, and return the folder."""
    kind = f"model.decoder={cell}", f"model.image_input={image}", f"model.attention={attention}"
    small = ["model.hidden_dim=7", "model.wordvec_dim=4", "data.standardize=true"]
    if cell == "transformer":
        small = ["model.hidden_dim=6", "model.heads=3", "model.layers=2", "model.feed_forward_dim=5", small[-1]]
    elif attention != "none":
        small.append("model.attention_dim=3")
    config = parse("", "", read_overrides([*kind, *small, *overrides]))
    region = REGION if attention != "none" else 0
    sizes = build_sizes(vars(config.model), len(WORDS), FEATURE, region)
    rng = np.random.default_rng(seed)
    # 0.6: float32 rounds log-probabilities of large models by more than 1e-5
    params = {
        name: (0.6 * rng.standard_normal(shape)).astype(config.model.dtype)
        for name, shape in parameter_shapes(sizes).items()
    }
    params["b_vocab"][WORDS.index("<END>")] += 1
    standardizer = {}
    for prefix, width in (("", FEATURE), *([("region_", REGION)] if region else [])):
        standardizer |= {f"{prefix}mean": 5 + rng.standard_normal(width), f"{prefix}std": 1 + rng.random(width)}
    meta = Meta(
        config=to_record(config), words=list(WORDS), feature_dim=FEATURE, encoder="drawn", data_digest="ab" * 32,
        step=7, best={"step": 5, "epoch": 1, "loss": 2.5}, since_best=1, environment={"cpu": "a machine"},
        train_digest="cd" * 32, learned="", region_dim=region, grid=[2, 2] if region else [],
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    saved = Checkpoint(meta, params, {}, standardizer if config.data.standardize else {})
    checkpoint.save(folder / "best.h5", saved)
    return folder


def images(attends: bool, count: int = IMAGES, seed: int = 1) -> tuple[np.ndarray, np.ndarray | None]:
    """Return features, and with attention regions, as an encoder returns them: not standardized."""
    rng = np.random.default_rng(seed)
    features = (5 + 2 * rng.standard_normal((count, FEATURE))).astype(np.float32)
    regions = (5 + 2 * rng.standard_normal((count, REGIONS, REGION))).astype(np.float32)
    return features, regions if attends else None
