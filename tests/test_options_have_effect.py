"""No option is accepted and ignored: another value of each gives another result, or an error, except of `NEUTRAL`.

The table has every option of the config; a new option needs an entry.
"""

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_options import fitting

from captioner.captioning.find_checkpoint import LAST
from captioner.config.checks import USED_BY, is_used
from captioner.config.option_table import OPTIONS
from captioner.config.options import Config, Prepare
from captioner.config.overrides import override
from captioner.errors import CaptionerError
from captioner.files import checkpoint
from captioner.photos.prepare import prepare
from captioner.training.run_folder import records
from captioner.training.train import train

ADAPTIVE, TRANSFORMER = "model.attention=adaptive", ("model.decoder=transformer", "model.heads=2", "model.layers=1")
FINE, SCST = "train.init_from={run}", ("train.objective=self_critical", "train.init_from={tiny_run}")
BEAM, SAMPLING = "decode.beam_width=3", ("decode.method=sampling", "decode.temperature=9")
ON_PHOTOS = ("data.source=prepared", "data.root={data}")
SECOND: dict[str, tuple[str, ...]] = {
    "seed": ("1",), "threads": ("1",), "data.source": ("prepared",), "data.root": ("{other_data}", *ON_PHOTOS),
    "data.vocabulary": ("data_set", "data.source=prepared", "data.root={other_data}", FINE),
    "data.standardize": ("true",), "data.memory_mib": ("1",), "data.max_captions_per_image": ("1",),
    "data.max_train": ("8",), "data.captions": ("{captions}", *ON_PHOTOS),
    "data.captions_per_image": ("1", "data.captions={captions}", *ON_PHOTOS),
    "data.references": ("1", "data.captions={captions}", *ON_PHOTOS),
    "data.scenes.seed": ("1",), "data.scenes.train": ("30",), "data.scenes.val": ("3",),
    "data.scenes.test": ("3", "validate.split=test"), "data.scenes.heldout": ("3", "validate.split=heldout"),
    "data.cs231n.pca": ("false", "data.source=cs231n", "data.root={coco}"),
    "model.decoder": ("gru",), "model.wordvec_dim": ("3",), "model.hidden_dim": ("4",),
    "model.layers": ("2", *TRANSFORMER), "model.heads": ("4", *TRANSFORMER),
    "model.feed_forward_dim": ("7", *TRANSFORMER),
    "model.activation": ("relu", *TRANSFORMER), "model.image_input": ("every",), "model.attention": ("adaptive",),
    "model.attention_dim": ("3", ADAPTIVE), "model.dtype": ("float64",), "model.dropout_features": ("0.5",),
    "model.dropout_embedding": ("0.5",), "model.dropout_hidden": ("0.5",), "model.dropout_regions": ("0.5", ADAPTIVE),
    "model.dropout_keys": ("0.5", ADAPTIVE), "model.dropout_layers": ("0.5", *TRANSFORMER),
    "model.forget_bias": ("0",), "model.output_bias": ("log_frequency",),
    "train.objective": ("self_critical", SCST[1]), "train.init_from": ("{tiny_run}",), "train.epochs": ("1",),
    "train.min_epoch_steps": ("9",), "train.max_steps": ("1",), "train.batch_size": ("7",),
    "train.captions_per_image": ("2",),
    "train.samples": ("2", *SCST), "train.similarity_weight": ("9", *SCST, "seed=2"),
    "train.label_smoothing": ("0.5",), "train.ema_decay": ("0.5",),
    "train.update_rule": ("sgd",), "train.learning_rate": ("0.1",),
    "train.weight_decay": ("0.5", "train.update_rule=adamw"), "train.clip_norm": ("0.1",),
    "train.schedule": ("cosine",), "train.lr_decay": ("0.1", "train.schedule=exponential"),
    "train.warmup_steps": ("2",), "train.log_every": ("1",), "train.save_every": ("1",),
    "train.patience": ("1", "train.learning_rate=0.3", "train.epochs=9"), "validate.every": ("2",),
    "validate.split": ("test",), "validate.score_every": ("1",),
    "validate.best_metric": ("bleu1", "validate.score_every=1"),
    "decode.max_length": ("2",), "decode.min_length": ("9",), "decode.no_repeat_ngram": ("1", "decode.min_length=9"),
    "decode.suppress_words": ("a", *SAMPLING),
    "decode.suppress_unk": ("false", *SAMPLING), "decode.method": ("sampling",),
    "decode.beam_width": ("3",), "decode.length_penalty": ("5", BEAM), "decode.unfamiliar_below": ("90",),
    "decode.uncertain_below": ("0.9",),
    "decode.guidance_weight": ("90", BEAM),
    "decode.similarity_weight": ("900", BEAM),
    "decode.temperature": ("9", SAMPLING[0]), "decode.top_k": ("1", *SAMPLING), "decode.top_p": ("0.01", *SAMPLING),
    "decode.seed": ("5", *SAMPLING), "caption.n_best": ("3",), "caption.attention": ("true",),
    "caption.keywords_above": ("0",),
}  # fmt: skip
"""Another value of each option than its default, and the options that it needs."""
NEUTRAL = ("threads", "data.memory_mib", "train.save_every")
"""The options that results do not depend on: resources, and when checkpoints are written."""
DECODING = tuple(path for path in OPTIONS if path.startswith(("decode.", "caption.")))
COMMANDS = {
    "sample": ("sample {run} --split val --json", *DECODING, "data.root"),
    "evaluate": ("evaluate {run} --json", "data.root", "decode.beam_width"),
    "report": ("report {run} --output new.html", "data.root", "decode.beam_width", "caption.n_best"),
    "export": ("export {run} --output new.h5", "decode.beam_width"),
    "inspect gradients": ("inspect gradients {run} --word 2", "data.root"),
    "gradcheck": ("gradcheck", "seed", "model.hidden_dim", "train.label_smoothing"),
}  # fmt: skip
"""The commands with overrides, and the options that are tried on each: one of each section that it uses.

Every option is tried once: those of decoding with `sample`, all others with `train`.
"""
RUNS = {"decode.unfamiliar_below": "familiar_run", "caption.attention": "attention_run"}
"""The runs that options are tried on, if it is not one on photographs."""


@pytest.fixture(scope="module")
def files(
    album: Callable[..., Path], write_coco: Callable[..., Path], tiny_run: Path, photo_run: Path, familiar_run: Path,
    attention_run: Path, tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:  # fmt: skip
    """What the tables name in braces."""
    folder = tmp_path_factory.mktemp("files")
    other = folder / "other.h5"
    list(prepare([str(album(folder / "photos", 9, 30))], other, Prepare(encoder="scenes", val=0.25, min_count=1)))
    names = sorted(photo.name for photo in (photo_run.parent / "photos").glob("*.png"))
    texts = ("a red ring", "a large ring", "a small ring")
    lines = (json.dumps({"image": name, "caption": text}) for name in names for text in texts)
    (folder / "captions.jsonl").write_text("\n".join(lines))
    coco = write_coco(folder / "coco")
    for file in coco.glob("*_fc7.h5"):
        file.unlink()
    return {
        "run": photo_run, "tiny_run": tiny_run, "familiar_run": familiar_run, "attention_run": attention_run,
        "data": photo_run.parent / "data.h5", "other_data": other, "captions": folder / "captions.jsonl", "coco": coco,
    }  # fmt: skip


@pytest.fixture
def printed(
    cli: Callable[..., Any], files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Runs a command in an empty folder, and returns what it printed and wrote."""

    def run(words: str, *overrides: str) -> Any:
        here = tmp_path / str(len(os.listdir(tmp_path)))
        here.mkdir()
        monkeypatch.chdir(here)
        done = cli(*shlex.split(words.format(**files)), *(f"-o{each}" for each in overrides))
        return done, {file.name: file.read_bytes() for file in here.iterdir()}

    return run


def trained(run: Path, *overrides: str) -> Any:
    """Train, and return the history and the arrays, or the error."""
    try:
        for _ in train(override(Config(), fitting("train.epochs=2", *overrides)), run):
            pass
    except CaptionerError as error:
        return str(error)
    saved = checkpoint.load(run / LAST)
    arrays = {**saved.params, **{f"{slot} {k}": w for slot, part in saved.slots.items() for k, w in part.items()}}
    return list(records(run / "history.jsonl")), {name: (w.dtype, w.tobytes()) for name, w in arrays.items()}


def test_the_tables_have_every_option_and_command() -> None:
    assert SECOND.keys() == OPTIONS.keys()
    alike = {"serve": "caption", "captioner.load": "sample", "captioner.evaluate": "evaluate"}
    assert USED_BY.keys() - alike.keys() - {"caption"} == COMMANDS.keys()
    assert {*USED_BY["caption"]} == {*USED_BY["sample"]} - {"data"}
    assert all(USED_BY[command] == USED_BY[other] for command, other in alike.items())


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in OPTIONS if path not in NEUTRAL + DECODING])
def test_another_value_of_an_option_changes_training(path: str, files: dict[str, Path], tmp_path: Path) -> None:
    value, *base = (text.format(**files) for text in SECOND[path])
    first = trained(tmp_path / "first", *base)
    assert not isinstance(first, str), first
    assert first != trained(tmp_path / "second", *base, f"{path}={value}")


@pytest.mark.parametrize(
    ("command", "path"),
    [
        pytest.param(name, path, marks=pytest.mark.slow if name == "gradcheck" else [])
        for name, (_, *paths) in COMMANDS.items()
        for path in paths
    ],
)
def test_another_value_of_an_option_changes_a_command(
    command: str, path: str, files: dict[str, Path], printed: Callable[..., Any]
) -> None:
    value, *needed = (text.format(**files) for text in SECOND[path])
    base = [each for each in needed if is_used(each.partition("=")[0], command)]
    words = COMMANDS[command][0].replace("{run}", f"{{{RUNS.get(path, 'run')}}}")
    assert printed(words, *base) != printed(words, *base, f"{path}={value}")
