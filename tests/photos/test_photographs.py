"""Photographs to caption: their names, the encoder of the checkpoint, and the captions or errors of each."""

import dataclasses
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_models
import pytest
from captioned_rows import best_captions
from PIL import Image

from captioner.captioning.caption import Caption
from captioner.captioning.saved_model import SavedModel
from captioner.config.overrides import Values, override, read_overrides
from captioner.config.yaml_io import parse
from captioner.data.encoder_identity import same_encoder
from captioner.data.prepared import prepared, write_prepared
from captioner.data.scenes import ENCODER, encode_regions, first_objects
from captioner.errors import CheckpointError, DataError, UsageError
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.photos import captioner, photographs
from captioner.photos import photo as photo_module
from captioner.photos.captioner import PhotoCaptioner
from captioner.photos.encoders import ScenesEncoder
from captioner.photos.onnx import open_onnx
from captioner.photos.photo import heic_remedy, read_photo
from captioner.photos.photographs import open_encoder_of, photo_paths
from captioner.photos.recipes import open_encoder
from captioner.training.resume import resume
from captioner.training.train import train

SCENES = ScenesEncoder()


def test_unsupported_inputs_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "can_read_heic", lambda: False)
    monkeypatch.setattr(photo_module, "can_read_heic", lambda: False)
    for name in ("a.jpg", "a.HEIC", "c.heif"):
        (tmp_path / name).touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "d.heic").touch()
    assert list(map(str, photo_paths([tmp_path, tmp_path / "b", Path("https://example.com/a.jpg")]))) == [
        f"{tmp_path}/a.jpg",
        f"{tmp_path}/a.HEIC and 2 more: HEIC is not supported; {heic_remedy()}",
        f"{tmp_path}/b/d.heic: HEIC is not supported; {heic_remedy()}",
        "https:/example.com/a.jpg: URLs are not supported; download the photograph first",
    ]


def test_raw_files_are_named_with_a_converter(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.NEF", "b.cr2", "c.DNG", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.arw").touch()
    raw = "raw files are not supported; convert them to JPEG, for example with darktable-cli a.nef a.jpg"
    assert list(map(str, photo_paths([tmp_path, tmp_path / "raw"]))) == [
        f"{tmp_path}/a.jpg",
        f"{tmp_path}/b.cr2 and 2 more: {raw}",
        f"{tmp_path}/raw/a.arw: {raw}",
    ]
    (tmp_path / "b.cr2").write_bytes(b"II*\0")
    with pytest.raises(DataError, match=f"^{tmp_path}/b.cr2: {raw}$"):
        read_photo(tmp_path / "b.cr2", 8)


@pytest.mark.usefixtures("unreadable_shut")
def test_an_unreadable_folder_is_reported(tmp_path: Path) -> None:
    for folder in ("shut", "z"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").touch()
    failed = f"{tmp_path / 'shut'}: cannot be read: Permission denied"
    assert list(map(str, photo_paths([tmp_path]))) == [str(tmp_path / "z" / "a.png"), failed]
    assert list(map(str, photo_paths([tmp_path / "shut"]))) == [failed]


def caption_photos(restored: SavedModel, photos: Iterable[Path | str | DataError]) -> list[Any]:
    model = PhotoCaptioner(restored)
    return list(model.captions(model.photographs(photos)))


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"])
def test_impossible_file_names_are_reported(name: str, photo_model: SavedModel, new_photos: list[Path]) -> None:
    captions = caption_photos(photo_model, [name, new_photos[0]])
    assert list(map(type, captions)) == [DataError, Caption]


def with_options(restored: SavedModel, values: Values) -> SavedModel:
    return dataclasses.replace(restored, config=override(restored.config, values))


def expected(restored: SavedModel, paths: list[Path]) -> list[tuple[str, float]]:
    pictures = np.stack([np.asarray(read_photo(path, 64)) for path in paths])
    return list(best_captions(restored, first_objects(encode_regions(pictures))))


def test_an_unreadable_photograph_is_skipped(
    photo_model: SavedModel, new_photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captioner, "PHOTO_BATCH", 2)
    new_photos[1].write_bytes(b"no photograph")
    new_photos[4].unlink()
    captions = caption_photos(photo_model, new_photos)
    assert list(map(type, captions)) == [Caption, DataError, Caption, Caption, DataError, Caption]
    whole = [new_photos[place] for place in (0, 2, 3, 5)]
    assert [captions[place].text for place in (0, 2, 3, 5)] == [text for text, _ in expected(photo_model, whole)]
    assert str(captions[1]).startswith(f"{new_photos[1]}: expected a photograph")
    assert str(captions[4]) == f"{new_photos[4]}: not found; expected a photograph; check the name"


def test_a_photograph_that_is_larger_than_those_of_training_is_shrunk_to_their_size(
    photo_model: SavedModel, new_photos: list[Path], tmp_path: Path
) -> None:
    model = dataclasses.replace(photo_model, meta=dataclasses.replace(photo_model.meta, photo_side=40))
    large, shrunk, small = ([tmp_path / f"{size}-{photo.name}" for photo in new_photos] for size in (400, 40, 39))
    for photo, *paths in zip(new_photos, large, shrunk, small, strict=True):
        picture = Image.open(photo)
        picture.resize((400, 500)).save(paths[0])
        picture.resize((400, 500)).resize((40, 50), Image.Resampling.BICUBIC).save(paths[1])
        picture.resize((39, 90)).save(paths[2])

    def log_probs(model: SavedModel, photos: list[Path]) -> list[float]:
        return [caption.log_prob for caption in caption_photos(model, photos)]

    assert log_probs(model, large) == log_probs(photo_model, shrunk) != log_probs(photo_model, large)
    assert log_probs(model, small) == log_probs(photo_model, small)


def test_samples_depend_only_on_the_content_of_the_photograph(
    photo_model: SavedModel, new_photos: list[Path], tmp_path: Path
) -> None:
    sampling_run = with_options(photo_model, {"decode.method": "sampling", "decode.max_length": 6, "caption.n_best": 3})

    def sampled(photos: list[Path]) -> dict[str, list[str]]:
        captions = caption_photos(sampling_run, photos)
        return {Path(caption.image).name: [text for text, _ in caption.candidates] for caption in captions}

    whole = sampled(new_photos)
    assert len({tuple(texts) for texts in whole.values()}) > 3
    assert sampled(new_photos[::-1]) == whole
    moved = shutil.copy(new_photos[2], tmp_path / "moved.png")
    assert sampled([Path(moved)]) == {"moved.png": whole[new_photos[2].name]}


def test_captioners_with_other_options_share_an_encoder_that_is_opened_once(
    photo_model: SavedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[SavedModel, str]] = []
    monkeypatch.setattr(photographs, "open_encoder_of", lambda *given: opened.append(given) or SCENES)
    model = PhotoCaptioner(photo_model, "scenes")
    assert opened == []
    assert model.with_options({"decode.beam_width": 2}).encoder is model.encoder is SCENES
    assert [recipe for _, recipe in opened] == ["scenes"]


def identity(restored: SavedModel, encoder: str, width: int | None = None) -> SavedModel:
    """A copy of the run whose checkpoint names another encoder."""
    model, meta = restored.model, dataclasses.replace(restored.meta, encoder=encoder)
    if width is not None:
        params = {**model.params, "W_proj": np.ones((width, model.sizes.hidden), np.float32)}
        model = CaptioningRNN(dataclasses.replace(model.sizes, feature=width), params, restored.vocab.null)
        meta = dataclasses.replace(meta, feature_dim=width)
    return dataclasses.replace(restored, model=model, meta=meta)


def test_the_encoder_of_the_checkpoint_is_used(photo_model: SavedModel) -> None:
    for recipe in (None, "scenes"):
        assert open_encoder_of(photo_model, recipe).identity == ENCODER
    older = identity(photo_model, "scenes-0")
    with pytest.raises(CheckpointError, match=f"^{older.path}: expected encoder scenes-0, got {ENCODER}; "):
        open_encoder_of(older)
    with pytest.raises(CheckpointError, match=rf"^encoder {ENCODER}: features: expected 7 numbers per image, got"):
        open_encoder_of(identity(photo_model, "features:f.h5,sha256=" + "0" * 64, 7), "scenes")


SETTINGS = {"mean": "0", "scale": "255"}


def onnx_model(path: Path, factor: float = 1.0) -> Path:
    """An ONNX model that returns the mean of each channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    operators = ("Mul", ["x", "factor"], "s"), ("GlobalAveragePool", ["s"], "mean"), ("Flatten", ["mean"], "y")
    nodes, weights = [onnx_models.node(*operator) for operator in operators], {"factor": np.array([factor])}
    path.write_bytes(onnx_models.model(nodes, ("n", 3, 8, 8), {"y": ("n", 3)}, weights))
    return path


@pytest.mark.parametrize("place", ["here", "beside the data", "in the run"])
def test_a_model_file_is_found(
    place: str, photo_model: SavedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert str(caught.value) == f"{trained.path}: encoder onnx:mean.onnx not found; try --encoder onnx:FILE"
    assert open_encoder_of(trained, f"onnx:{moved}").identity == encoder.identity
    renamed = moved.rename(moved.with_name("other.onnx"))
    assert same_encoder(open_encoder_of(trained, f"onnx:{renamed}").identity, encoder.identity)
    onnx_model(moved, 2.0)
    for recipe, other in ((f"onnx:{moved}", "onnx:mean.onnx"), ("scenes", ENCODER)):
        with pytest.raises(CheckpointError, match=rf"best\.h5: expected encoder onnx:mean\.onnx,.*, got {other}"):
            open_encoder_of(trained, recipe)


def test_the_recipe_of_the_checkpoint_is_used(
    photo_model: SavedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.onnx", "b+2.onnx"):
        onnx_model(tmp_path / name, 1.0 + (name == "a.onnx"))
    encoder = open_encoder("onnx:a.onnx:mean=0:scale=255")
    trained = identity(photo_model, encoder.identity, 3)
    assert open_encoder_of(trained).identity == encoder.identity
    Path("a.onnx").rename("moved.onnx")
    with pytest.raises(UsageError) as caught:
        open_encoder_of(trained)
    assert str(caught.value) == f"{trained.path}: encoder onnx:a.onnx not found; try --encoder onnx:FILE"
    assert same_encoder(open_encoder_of(trained, "onnx:moved.onnx").identity, encoder.identity)
    for other in ("onnx:b+2.onnx", "scenes"):
        with pytest.raises(CheckpointError, match=r": expected encoder onnx:a\.onnx,.*; use the encoder of the train"):
            open_encoder_of(trained, other)


def test_resume_accepts_another_file_name_of_the_same_encoder(
    photo_run: Path, tmp_path: Path, small: tuple[str, ...]
) -> None:
    corpus, data = prepared(photo_run.parent / "data.h5"), tmp_path / "data.h5"
    run = tmp_path / "run"
    for name, digest, most in (("old", "0", 2), ("new", "0", 3), ("new", "1", 4)):
        write_prepared(data, dataclasses.replace(corpus, encoder=f"features:{name},sha256={64 * digest}"), {})
        if name == "old":
            options = [*small[-2:], "data.source=prepared", f"data.root={data}", "train.max_steps=2"]
            list(train(parse("", "", read_overrides(options)), run))
        elif digest == "0":
            assert list(resume(run, {"train.max_steps": most}))[-1].summary["step"] == most
        else:
            with pytest.raises(CheckpointError, match="expected encoder"):
                next(resume(run, {"train.max_steps": most}))
