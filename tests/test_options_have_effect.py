"""No option is accepted and ignored: another value of each gives another result, or an error.

The tables have every option of the config and of the command line; a new option needs an entry.
"""

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import pytest
from small_options import SMALL, fitting

from captioner.captioning.find_checkpoint import LAST
from captioner.cli import cli as root
from captioner.config.checks import USED_BY, is_used
from captioner.config.option_table import OPTIONS
from captioner.config.options import Config, Prepare
from captioner.config.overrides import override
from captioner.data.prepared import prepared
from captioner.errors import CaptionerError
from captioner.files import checkpoint
from captioner.files.header import DATA_SET
from captioner.files.history import records
from captioner.preparation.prepare import prepare
from captioner.training.train import train

pytestmark = pytest.mark.slow
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
    "model.feed_forward_dim": ("7", *TRANSFORMER), "model.norm": ("post", *TRANSFORMER),
    "model.activation": ("relu", *TRANSFORMER), "model.image_input": ("every",), "model.attention": ("adaptive",),
    "model.attention_dim": ("3", ADAPTIVE), "model.dtype": ("float64",), "model.dropout_features": ("0.5",),
    "model.dropout_embedding": ("0.5",), "model.dropout_hidden": ("0.5",), "model.dropout_regions": ("0.5", ADAPTIVE),
    "model.dropout_keys": ("0.5", ADAPTIVE), "model.dropout_layers": ("0.5", *TRANSFORMER),
    "model.forget_bias": ("0",), "model.output_bias": ("log_frequency",),
    "train.objective": ("self_critical", SCST[1]), "train.init_from": ("{tiny_run}",), "train.epochs": ("1",),
    "train.max_steps": ("1",), "train.batch_size": ("7",), "train.captions_per_image": ("2",),
    "train.samples": ("2", *SCST), "train.similarity_weight": ("9", *SCST, "seed=2"),
    "train.label_smoothing": ("0.5",), "train.ema_decay": ("0.5",),
    "train.update_rule": ("sgd",), "train.learning_rate": ("0.1",),
    "train.momentum": ("0", "train.update_rule=sgd_momentum"),
    "train.decay_rate": ("0.5", "train.update_rule=rmsprop"), "train.beta1": ("0.1",), "train.beta2": ("0.1",),
    "train.epsilon": ("1",), "train.weight_decay": ("0.5", "train.update_rule=adamw"), "train.clip_norm": ("0.1",),
    "train.schedule": ("cosine",), "train.lr_decay": ("0.1", "train.schedule=exponential"),
    "train.warmup_steps": ("2",), "train.log_every": ("1",), "train.save_every": ("1",),
    "train.patience": ("1", "train.learning_rate=0.3", "train.epochs=9"), "validate.every": ("2",),
    "validate.split": ("test",), "validate.max_captions": ("3",), "validate.score_every": ("1",),
    "validate.best_metric": ("bleu1", "validate.score_every=1"),
    "decode.max_length": ("2",), "decode.min_length": ("9",), "decode.no_repeat_ngram": ("1", "decode.min_length=9"),
    "decode.suppress_words": ("a", *SAMPLING),
    "decode.suppress_unk": ("false", *SAMPLING), "decode.method": ("sampling",),
    "decode.beam_width": ("3",), "decode.length_penalty": ("5", BEAM), "decode.unfamiliar_below": ("90",),
    "decode.uncertain_below": ("0.9",),
    "decode.guidance_weight": ("90", BEAM), "decode.similarity_weight": ("900", BEAM),
    "decode.temperature": ("9", SAMPLING[0]), "decode.top_k": ("1", *SAMPLING), "decode.top_p": ("0.01", *SAMPLING),
    "decode.seed": ("5", *SAMPLING), "caption.n_best": ("3",), "caption.attention": ("true",), "caption.labels": ("3",),
    "caption.keywords_above": ("0",),
}  # fmt: skip
"""Another value of each option than its default, and the options that it needs."""
NEUTRAL = dict.fromkeys(("threads", "data.memory_mib"), "results do not depend on it")
STORED = "stored in the run, whose captions it affects as in `sample`"
COMMANDS: dict[str, tuple[str, dict[str, str]]] = {
    "train": ("", {
        **NEUTRAL,
        "train.save_every": "decides when checkpoints are written",
        **{path: STORED for path in OPTIONS if path.startswith(("decode.", "caption."))},
    }),
    "sample": ("sample {run} --split val --json", NEUTRAL),
    "evaluate": ("evaluate {run} --json", NEUTRAL),
    "report": ("report {run} --output new.html --overwrite", NEUTRAL),
    "export": ("export {run} --output new.h5 --overwrite", {}),
    "inspect gradients": ("inspect gradients {run} --word 2", NEUTRAL),
    "data show": ("data show -n 3", NEUTRAL),
    "gradcheck": ("gradcheck", {}),
}  # fmt: skip
"""The command line of each command with overrides, and the options without effect on its results, with the reason."""
RUNS = {"data.s": "tiny_run", "data.cs231n": "coco_run", "decode.un": "familiar_run",
        "caption.attention": "attention_run"}  # fmt: skip
"""The runs that options are tried on, if it is not one on photographs."""


@pytest.fixture(scope="module")
def files(
    album: Callable[..., Path], write_coco: Callable[..., Path], tiny_run: Path, photo_run: Path, coco_run: Path,
    familiar_run: Path, attention_run: Path, tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:  # fmt: skip
    """What the tables name in braces."""
    folder = tmp_path_factory.mktemp("files")
    data, other = photo_run.parent / "data.h5", folder / "other.h5"
    list(prepare([str(album(folder / "photos", 9, 30))], other, Prepare(encoder="scenes", val=0.25, min_count=1)))
    names = sorted(photo.name for photo in (photo_run.parent / "photos").glob("*.png"))
    texts = ("a red ring", "a large ring", "a small ring")
    lines = (json.dumps({"image": name, "caption": text}) for name in names for text in texts)
    (folder / "captions.jsonl").write_text("\n".join(lines))
    config = folder / "config.yaml"
    config.write_text("{seed: 3, data: {max_train: 3}, model: {decoder: rnn}}")
    coco = write_coco(folder / "coco")
    for file in coco.glob("*_fc7.h5"):
        file.unlink()
    with h5py.File(folder / "features.h5", "w") as file:
        file["features"] = np.random.default_rng(0).random((9, 77), np.float32)
    runs = {"tiny_run": tiny_run, "coco_run": coco_run, "familiar_run": familiar_run, "attention_run": attention_run}
    return {
        "run": photo_run, "photos": folder / "photos", "own_photos": photo_run.parent / "photos",
        "config": config, "data": data, "other_data": other, "coco": coco, **runs,
        **{name.partition(".")[0]: folder / name for name in ("captions.jsonl", "features.h5")},
    }  # fmt: skip


def content_of(file: Path) -> Any:
    """Return the content of a file; of a data set without the options that it was prepared with."""
    if not DATA_SET.matches(file):
        return file.read_bytes()
    corpus = prepared(file, regions=True)
    splits = {name: (split.image_ids, split.captions.tolist(), split.features[:].tolist(), split.regions is None)
              for name, split in corpus.splits.items()}  # fmt: skip
    return corpus.vocab.words, splits


class Trials:
    """Runs commands in empty folders; the result of each is what it printed and wrote, without times."""

    def __init__(self, *parts: Any) -> None:
        self.cli, self.files, self.folder, self.patch, self.count = *parts, 0

    def run(self, words: str, *overrides: str) -> Any:
        self.count += 1
        here = self.folder / str(self.count)
        here.mkdir()
        self.patch.chdir(here)
        for kind in ("html", "h5", "safetensors"):
            (here / f"old.{kind}").write_text("")
        done = self.cli(*shlex.split(words.format(**self.files)), *(f"-o{each}" for each in overrides))
        if words.startswith("train"):  # it prints times
            names = sorted(str(file.relative_to(here)) for file in here.rglob("*"))
            return done.code, len(done.err.splitlines()), names
        return done.code, done.out, done.err, {file.name: content_of(file) for file in here.iterdir()}

    def train(self, *overrides: str) -> Any:
        self.count += 1
        run = self.folder / str(self.count)
        try:
            for _ in train(override(Config(), fitting("train.epochs=2", *overrides)), run):
                pass
        except CaptionerError as error:
            return str(error)
        saved = checkpoint.load(run / LAST)
        arrays = {**saved.params, **{f"{slot} {k}": w for slot, part in saved.slots.items() for k, w in part.items()}}
        return list(records(run / "history.jsonl")), {name: (w.dtype, w.tobytes()) for name, w in arrays.items()}


@pytest.fixture
def trials(cli: Callable[..., Any], files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    return Trials(cli, files, tmp_path, monkeypatch)


def test_the_tables_have_every_option_and_command() -> None:
    assert SECOND.keys() == OPTIONS.keys()
    alike = {"serve": "sample", "captioner.load": "sample", "captioner.evaluate": "evaluate"}
    assert USED_BY.keys() - alike.keys() == COMMANDS.keys() - {"train"}
    assert all(USED_BY[command] == USED_BY[other] for command, other in alike.items())


@pytest.mark.parametrize(
    ("command", "path"),
    [(command, path) for command, (_, neutral) in COMMANDS.items() for path in OPTIONS
     if is_used(path, command) and path not in neutral],
)  # fmt: skip
def test_another_value_of_an_option_has_an_effect(command: str, path: str, trials: Trials) -> None:
    value, *needed = (text.format(**trials.files) for text in SECOND[path])
    base = [each for each in needed if is_used(each.partition("=")[0], command)]
    if command == "train":
        first = trials.train(*base)
        assert not isinstance(first, str), first
        assert first != trials.train(*base, f"{path}={value}")
        return
    words = COMMANDS[command][0]
    if command == "data show":
        base = [f"{key}={each}" for key, each in fitting(*base).items() if is_used(key, command)]
    run = next((run for start, run in RUNS.items() if path.startswith(start)), "run")
    words = words.replace("{run}", f"{{{run}}}")
    if path.startswith("data.scenes.") and not path.endswith("seed") and command != "gradcheck":
        words += f" --split {path.rpartition('.')[2]}"
    assert trials.run(words, *base) != trials.run(words, *base, f"{path}={value}")


PREPARED = {
    "images": "--images {coco}", "features": "--images {coco} | --features {features}",
    "image_column": "--image-column x", "caption_column": "--caption-column x", "split_column": "--split-column x",
    "val": "--val 0.5", "test": "--test 0.3", "seed": "--val 0.5 | --seed 5", "min_count": "--min-count 3",
    "max_words": "--max-words 3", "max_length": "--max-length 2", "lists": "--list val={captions}",
}  # fmt: skip
NOT_ENCODED = dict.fromkeys(("encoder", "regions", "dtype", "threads"), "! the help says so: prepare has them too")
SERVER = ("host", "port", "allow_host", "max_bytes", "workers", "queue", "encoder")
SCORES = {"data": "--data {other_data}", "split": "--split train", "number": "-n 1", "n_best": "--n-best 2"}
FLAGS: dict[str, tuple[str, dict[str, str]]] = {
    "train": (f"train -o train.max_steps=1 -o {' -o '.join(SMALL)}", {
        "config_file": "-c scenes-rnn", "data": "--data {data}", "run": "--run new", "resume": "--resume nowhere",
        "resume_or_start": "--resume-or-start new", "overfit": "--overfit 3", "profile": "--profile",
        "overwrite": "! renames a run that exists", "mpi": "! results do not depend on it",
    }),
    "sample": ("sample {run}", {
        **SCORES, "ensemble": "--ensemble", "features": "--features {features}", "mpi": "--mpi",
        "attention": "--attention", "labels": "--labels 2", "as_json": "--json", "outputs": "--write new.csv",
        "images": "--images {photos}", "overwrite": "--overwrite", "encoder": "--encoder scenes",
    }),
    "evaluate": ("evaluate {run}", {
        "ensemble": "--ensemble", "data": SCORES["data"], "splits": SCORES["split"], "captions": "--captions x",
        "references": "--references x", "baseline": "--baseline nn", "mean": "--mean", "worst": "--worst 1",
        "as_json": "--json",
    }),
    "gradcheck": ("gradcheck -o model.hidden_dim=2 -o model.wordvec_dim=2", {
        "config_file": "-c {config}", "full": "--full", "functions": "--file nowhere.py",
    }),
    "prepare": ("prepare {photos}/captions.csv --output new.h5 --encoder scenes --min-count 1", {
        **PREPARED, "file": "! required", "encoder": "--encoder scenes+scenes", "regions": "--regions",
        "dtype": "--dtype float32", "as_json": "--json",
        "overwrite": "--output old.h5 | --overwrite", **dict.fromkeys(("threads", "mpi"), "! results are the same"),
    }),
    "data check": ("data check {photos}/captions.csv --min-count 1", {
        **PREPARED, **NOT_ENCODED, "as_json": "--json",
    }),
    "data show": ("data show {data} -n 2", {
        "split": "--split val", "number": "-n 1", "seed": "--seed 5", "config_file": "-c {config}",
    }),
    "serve": ("", dict.fromkeys(SERVER, "! settings of the server, in tests/serve")),
    "export": ("export {run} --output new.safetensors", {
        "path": "! required", "license": "--license mit", "terms": "--terms own", "data": "--data {data}",
        "dtype": "--dtype float16", "overwrite": "--output old.safetensors | --overwrite",
    }),
    "report": ("report {run} --output new.html", {
        **SCORES, "path": "! required", "images": "--images {own_photos}",
        "overwrite": "--output old.html | --overwrite",
    }),
    "inspect gradients": ("inspect gradients {run} --word 2", {
        "word": "--word 3", "split": SCORES["split"], "as_json": "--json",
    }),
    "config init": ("config init", {"name": "--from photos"}),
    "config show": ("config show", {"config_file": "-c scenes-rnn"}),
}  # fmt: skip
"""A command line of each command, and what each of its options adds: before |, to both command lines.

The reason for an option without effect follows !.
"""


def flags_of(command: click.Command, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the options of a command and its subcommands, except -o."""
    if isinstance(command, click.Group):
        for part in command.list_commands(None):  # type: ignore[arg-type]
            yield from flags_of(command.commands[part], f"{name} {part}".strip())
    else:
        names = (each.name for each in command.params if isinstance(each, click.Option))
        yield from ((name, each) for each in names if each and each != "overrides")


def test_the_table_has_every_flag() -> None:
    assert sorted(flags_of(root)) == sorted((name, flag) for name, (_, flags) in FLAGS.items() for flag in flags)


@pytest.mark.parametrize(
    ("command", "flag"),
    [(name, flag) for name, (_, flags) in FLAGS.items() for flag, words in flags.items() if words[0] != "!"],
)
def test_a_flag_has_an_effect(command: str, flag: str, trials: Trials) -> None:
    base, flags = FLAGS[command]
    both, _, added = flags[flag].rpartition("|")
    assert trials.run(f"{base} {both}") != trials.run(f"{base} {both} {added}")
