"""Fixtures of tiny data sets and of runs trained on them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL = (
    "data.scenes.train=40",
    "data.scenes.val=10",
    "data.scenes.test=5",
    "data.scenes.heldout=5",
    "model.hidden_dim=16",
    "model.wordvec_dim=16",
)
WORDS = ("<NULL>", "<START>", "<END>", "<UNK>", "a", "café", "猫")


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Overrides that make any config fit into half a second."""
    return SMALL


@pytest.fixture(scope="session")
def small_options() -> tuple[str, ...]:
    """The same, as words of a command."""
    return tuple(f"--set={override}" for override in SMALL)


def trained(folder: Path, *overrides: str) -> Path:
    """Train a small run in a folder, and return the folder."""
    from captioner.config.yaml_io import parse
    from captioner.training.train import train

    for _ in train(parse("", "", [*SMALL, *overrides]), folder):
        pass
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two epochs, to be read alone."""
    folder = tmp_path_factory.mktemp("tiny") / "run"
    return trained(folder, "train.epochs=2", "train.learning_rate=0.01", "train.log_every=1")


@pytest.fixture
def own_run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run, to be changed."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def attention_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with attention, to be read alone."""
    folder = tmp_path_factory.mktemp("attention") / "run"
    return trained(folder, "model.attention=adaptive", "model.attention_dim=8", "train.max_steps=2")


@pytest.fixture(scope="session")
def write_coco() -> Callable[..., Path]:
    """Writes a tiny data set in the assignment's layout."""
    import h5py
    import numpy as np

    def write(folder: Path, width: int = 8, words: tuple[str, ...] = WORDS) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "coco2014_vocab.json").write_text(json.dumps({"idx_to_word": words}))
        rng = np.random.default_rng(0)
        with h5py.File(folder / "coco2014_captions.h5", "w") as file:
            for split, count in (("train", 12), ("val", 6)):
                file[f"{split}_captions"] = np.array([[1, 4, 5, 6, 2], [1, 4, 6, 2, 0], [1, 3, 2, 0, 0]] * (count // 3))
                file[f"{split}_image_idxs"] = np.arange(count) // 3
                for kind in ("vgg16_fc7", "vgg16_fc7_pca"):
                    with h5py.File(folder / f"{split}2014_{kind}.h5", "w") as features:
                        features["features"] = rng.standard_normal((count // 3, width)).astype(np.float32)
        return folder

    return write


@pytest.fixture(scope="session")
def coco_run(write_coco: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the assignment's layout that always generates `a`, as likely on every machine."""
    from captioner.storage import checkpoint

    folder = tmp_path_factory.mktemp("coco")
    data = write_coco(folder / "data")
    run = trained(folder / "run", "data.source=cs231n", f"data.root={data}", "train.max_steps=2")
    saved = checkpoint.load(run / "best.h5")
    for array in saved.params.values():
        array[...] = 0
    saved.params["b_vocab"][WORDS.index("a")] = 1
    checkpoint.save(run / "best.h5", saved)
    return run


@pytest.fixture(scope="session")
def album() -> Callable[..., Path]:
    """Paints photographs of generated scenes into a folder, 000.png and so on, and a table of their captions."""
    import csv

    from PIL import Image

    from captioner.data.scenes import example

    def paint(folder: Path, count: int = 8, first: int = 0) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "captions.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(("image", "caption"))
            for index in range(first, first + count):
                one = example(0, "train", index)
                Image.fromarray(one.picture).save(folder / f"{index:03}.png")
                table.writerows((f"{index:03}.png", " ".join(words)) for words in one.captions[:2])
        return folder / "captions.csv"

    return paint


@pytest.fixture(scope="session")
def photo_run(album: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on photographs in `photos` beside it and their data set `data.h5`, which generates random words."""
    import numpy as np

    from captioner.config.options import Prepare
    from captioner.preparation.prepare import prepare
    from captioner.storage import checkpoint

    folder = tmp_path_factory.mktemp("photographs")
    options = Prepare(encoder="scenes", val=0.25, min_count=1)
    list(prepare([str(album(folder / "photos"))], folder / "data.h5", options))
    run = trained(folder / "run", "data.source=prepared", f"data.root={folder / 'data.h5'}", "train.max_steps=2")
    saved = checkpoint.load(run / "best.h5")
    rng = np.random.default_rng(0)
    for array in saved.params.values():
        array[...] = rng.standard_normal(array.shape)
    saved.params["b_vocab"][2] += 3  # <END>
    checkpoint.save(run / "best.h5", saved)
    return run
