"""A folder in which the commands of the documentation run: small files stand in for those of a user."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
from PIL import Image

from captioner.captioning.caption import Caption
from captioner.captioning.find_checkpoint import BEST, DEFAULT_MODEL, LAST, find_checkpoint
from captioner.cli import cli as root
from captioner.config import yaml_io
from captioner.config.checks import has_effect, is_used
from captioner.decode.word_regression import Keyword
from captioner.files import checkpoint
from captioner.photos.album import Album, status_of

PLAIN = Path(__file__).parents[1] / "docs" / "course" / "plain.py"
"""Functions that `gradcheck --file` accepts."""
CAPTIONS = {
    ".csv": "image,caption\n" + "".join(f"{number}.png,A picture of number {number}.\n" * 2 for number in range(4)),
    ".json": json.dumps(
        {
            "images": [
                {"filename": f"{number}.png", "split": split, "sentences": [{"raw": "A picture."}] * 2}
                for number, split in enumerate(("train", "train", "train", "val"))
            ]
        }
    ),
}
"""Captions of four images, in the formats that the examples use."""
OF_READER = re.compile(r"runs/(my|other|one|two|birds|demo|base-.)|models/everyday.h5|(birds(-data|-model)?|photos).h5")
"""Runs, models and data sets that stand for those of a reader, the run of `make demo` and the shipped model."""


def parsed(words: list[str]) -> dict[str, Any]:
    """Parse a command line into the parameters of its command.

    Raises: click.UsageError.
    """
    assert words[0] == "captioner"
    command, context, rest = root, root.make_context("captioner", words[1:]), words[1:]
    while isinstance(command, click.Group):
        _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(command.name, list(rest))
    return context.params


def without(words: list[str], option: str, arguments: int) -> list[str]:
    """Return a command line without an option and its arguments."""
    if option not in words:
        return words
    place = words.index(option)
    return words[:place] + words[place + 1 + arguments :]


class Sandbox:
    """A folder with the files that the examples need; runs their commands with small models and few steps."""

    def __init__(
        self,
        cli: Callable[..., Any],
        small: tuple[str, ...],
        run: Path,
        write_coco: Callable[..., Path],
        attention_run: Path | None = None,
    ) -> None:
        self.cli, self.small, self.run_folder, self.write_coco = cli, small, run, write_coco
        self.attention_run = attention_run or run
        self.is_page = False  # the commands of a page make what they read, unless it is `OF_READER`

    def run(self, words: list[str]) -> None:
        words, target = (words[: words.index(">")], Path(words[-1])) if ">" in words else (words, None)
        if "--help" in words or words[1] == "--version":
            assert self.cli(*words[1:]).code == 0
            return
        params = parsed(words)
        if words[1] == "prepare":
            self.provide_data(params)
        config = None
        if words[1] in ("train", "gradcheck"):
            config = yaml_io.load(params["config_file"], params["overrides"])
        starts = config is not None and config.train.init_from == DEFAULT_MODEL.stem
        if data := params.get("data"):
            encoder = "everyday" if starts else "scenes"
            self.provide_prepared(data.relative_to(Path.cwd()) if data.is_absolute() else data, encoder)
        for name in (*params.get("runs", ()), *params.get("models", ())):
            self.provide_run(name)
        for name in params.get("names", ()):
            self.provide_photo(name)
        run = params.get("resume") or (None if words[1] == "train" else params.get("run"))
        if run is not None:
            self.provide_run(run)
        if params.get("references"):
            self.provide_results(params["captions"], params["references"], params["splits"])
        if params.get("features") and params.get("runs"):
            self.provide_features(params["features"], params["runs"][0])
        if words[1] in ("search", "album"):
            self.provide_albums(params)
        for file in filter(None, (params.get("functions"), *params.get("submissions", ()))):
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PLAIN, file)
        if config is not None and config.data.source == "cs231n" and words[1] == "train":
            self.write_coco(config.data.root)
        if words[1] == "serve":
            self.serve(words[2:])
            return
        steps = [f"train.max_steps={4 if params.get('resume') else 2}"]
        has_config = "overrides" in params and not any(
            params.get(name) for name in ("references", "functions", "submissions")
        )
        command = " ".join(words[1:3]) if isinstance(root.commands[words[1]], click.Group) else words[1]
        options = {override: override.partition("=")[0] for override in (*self.small, *steps)}
        has_data = run is not None or any(params.get(name) for name in ("runs", "names", "data"))
        used = [
            text
            for text, path in options.items()
            if is_used(path, command) and (config is None or has_effect(config, path))
            if not (has_data and path.startswith("data.")) and not (starts and path.startswith("model."))
        ]
        small = [f"--set={override}" for override in used] if has_config else []
        overfit = ["--overfit=3"] if params.get("overfit") else []  # fewer than the images of every data set
        words = without(words, "--full", 0)  # every element takes ten times as long, and tests/gradcheck checks them
        if words[1] == "report":
            words = without(words, "--images", 1)  # the scenes of the small models are drawn
        unfamiliar = "decode.unfamiliar_below"  # the features are too short for familiarity
        if (place := next((i for i, word in enumerate(words) if word.startswith(unfamiliar)), None)) is not None:
            words = words[: place - 1] + words[place + 1 :]
        done = self.cli(*words[1:], *small, *overfit)
        assert done.code == (1 if overfit else 0), f"{shlex.join(words)}: {done.err}"
        if target is not None:
            target.write_text(done.out)

    def serve(self, words: list[str]) -> None:
        """Start a server on a free port, and stop it when it has printed its address."""
        command = [sys.executable, "-m", "captioner", "serve", *words, "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline()
            process.terminate()
            _, errors = process.communicate(timeout=60)
        assert url.startswith("http://127.0.0.1:"), f"{shlex.join(words)}: {errors}"

    def provide_data(self, params: dict[str, Any]) -> None:
        """Provide the input of `prepare` and `data`: captions with photographs, or a prepared data set."""
        for path in map(Path, params.get("sources", ())):
            if path.suffix == ".h5":
                self.provide_prepared(path)
            elif path.suffix in CAPTIONS and (not path.exists() or '"keywords"' in path.read_text()):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(CAPTIONS[path.suffix])  # also as corrections of those of a model
                for folder in () if params.get("features") else params.get("images") or [path.parent]:
                    for number in range(4):
                        self.provide_photo(folder, f"{number}.png")
        for features in params.get("features") or ():
            with h5py.File(features, "w") as file:
                file["features"] = np.zeros((4, 1280), np.float16)
                file["images"] = np.array([b"0.png", b"1.png", b"2.png", b"3.png"])

    def provide_prepared(self, path: Path, encoder: str = "scenes") -> None:
        """Provide a prepared data set."""
        if not path.exists():
            self.check_provided(path)
            table = Path("provided", "captions.csv")
            self.provide_data({"sources": [table]})
            assert self.cli("prepare", table, "--output", path, "--encoder", encoder, "--min-count", "1").code == 0

    def provide_photo(self, path: Path, name: str = "photo.png") -> None:
        """Provide a photograph; a path without a suffix is a folder."""
        file = path if path.suffix else path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            shade = sum(map(ord, str(file))) % 200  # the photographs of different folders differ
            Image.new("RGB", (64, 64), (shade, 90, 200 - shade)).save(file)

    def provide_results(self, captions: Path, references: Path, splits: tuple[str, ...]) -> None:
        """Provide references, and one caption for each image of the splits."""
        references.write_text(CAPTIONS[references.suffix])
        images = json.loads(CAPTIONS[references.suffix])["images"]
        names = [image["filename"] for image in images if not splits or image["split"] in splits]
        captions.write_text(json.dumps([{"image_id": name, "caption": "a picture"} for name in names]))

    def provide_albums(self, params: dict[str, Any]) -> None:
        """Provide the albums of a command, with a photograph that every word of a search fits."""
        folder = params.get("folder") or Path("provided")
        folder.mkdir(parents=True, exist_ok=True)
        shares = [Keyword(word, 0.9) for words in params.get("words", ()) for word in words.split()]
        for file in (params["album_file"] or Path(os.environ["CAPTIONER_ALBUM"]), *params.get("others", ())):
            photo = folder / "photo.png"
            self.provide_photo(photo)
            with Album(file) as album:
                caption = Caption("", "a picture", -1.0, [], None, [], shares=shares)
                album.locate(photo, bytes(16), status_of(photo), caption, repr(shares))

    def check_provided(self, path: Path) -> None:
        """Check that no earlier command of a page should have made a run or a data set."""
        made = not self.is_page or OF_READER.fullmatch(path.as_posix())
        assert made, f"{path}: no earlier command of the page makes it"

    def provide_run(self, run: Path) -> None:
        if str(run) == DEFAULT_MODEL.stem:
            return
        if run.suffix == ".h5" and run.name not in (BEST, LAST):  # a model file
            if not run.exists():
                self.check_provided(run)
                run.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.run_folder / BEST, run)
            return
        folder = run.parent if run.suffix == ".h5" else run
        if not folder.exists():
            self.check_provided(folder)
            shutil.copytree(self.attention_run if "attention" in folder.name else self.run_folder, folder)

    def provide_features(self, path: Path, run: Path) -> None:
        width = checkpoint.load(find_checkpoint(run)).meta.feature_dim
        with h5py.File(path, "w") as file:
            file["features"] = np.zeros((2, width), np.float32)
