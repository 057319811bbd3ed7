"""Run every example in the help, the README and the guides."""

import json
import math
import re
import runpy
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import pytest
from PIL import Image

from captioner.cli import cli as root
from captioner.config import yaml_io
from captioner.inference.build_model import build_sizes
from captioner.inference.find_checkpoint import find_checkpoint
from captioner.storage import checkpoint
from captioner.text.vocabulary import SPECIAL

ROOT = Path(__file__).parents[1]
CAPTIONS = {
    ".csv": "image,caption\n" + "".join(f"{number}.png,A picture of number {number}.\n" * 2 for number in range(4)),
    ".json": json.dumps(
        {
            "images": [
                {"filename": f"{number}.png", "split": split, "imgid": number, "sentences": [{"raw": "A picture."}] * 2}
                for number, split in enumerate(("train", "train", "train", "val"))
            ]
        }
    ),
}
"""Captions of four images, in the formats that the examples use."""
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=[path.name for path in PAGES])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(lines: Iterator[str]) -> Iterator[list[str]]:
    """Split lines into commands (also at `&&`), and commands into words."""
    for line in lines:
        for command in line.split(" && "):
            yield shlex.split(command, comments=True)


def page_commands(page: Path) -> list[list[str]]:
    """Commands of a page: the lines of its console blocks that start with `$`."""
    lines = "\n".join(blocks(page, "console")).replace("\\\n", " ").splitlines()
    return list(commands(line.removeprefix("$ ") for line in lines if line.startswith("$ ")))


def help_commands(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], list[list[str]]]]:
    """Examples in the help of every command."""
    context = click.Context(command, info_name=" ".join(("captioner", *path)), **root.context_settings)
    _, _, examples = re.split(r"(Examples?:\n)", command.get_help(context))
    lines = examples.partition("\n\n")[0].splitlines()
    yield path, list(commands(line.strip() for line in lines))
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from help_commands((*path, name), subcommand)


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


class Sandbox:
    """A folder with the files that the examples need; runs their commands with small models and few steps."""

    def __init__(
        self, cli: Callable[..., Any], small: tuple[str, ...], run: Path, write_coco: Callable[..., Path]
    ) -> None:
        self.cli, self.small, self.run_folder, self.write_coco = cli, small, run, write_coco
        shutil.copytree(ROOT / "configs", "configs")

    def run(self, words: list[str]) -> None:
        if "--help" in words or "--version" in words:
            assert self.cli(*words[1:]).code == 0
            return
        params = parsed(words)
        if words[1] in ("prepare", "data"):
            self.provide_data(params)
        if params.get("data"):
            self.provide_prepared(params["data"])
        for name in params.get("runs", ()):
            self.provide_run(name)
        for name in params.get("names", ()):
            (self.provide_run if name.parts[0] == "runs" else self.provide_photo)(name)
        run = params.get("resume") or (None if words[1] == "train" else params.get("run"))
        if run is not None:
            self.provide_run(run)
        if params.get("references"):
            self.provide_results(params["captions"], params["references"], params["splits"])
        if params.get("features") and run is not None:
            self.provide_features(params["features"], run)
        if words[1] in ("train", "gradcheck"):
            config = yaml_io.load(params["config_file"], params["overrides"])
            if config.data.source == "cs231n" and words[1] == "train":
                self.write_coco(config.data.root)
        steps = [f"train.max_steps={4 if params.get('resume') else 2}"]
        has_config = "overrides" in params and not params.get("references")
        small = [f"--set={override}" for override in (*self.small, *steps)] if has_config else []
        # every element takes ten times as long, and tests/gradcheck checks them
        done = self.cli(*(word for word in words[1:] if word != "--full"), *small)
        assert done.code == 0, f"{shlex.join(words)}: {done.err}"

    def provide_data(self, params: dict[str, Any]) -> None:
        """Provide the input of `prepare` and `data`: captions with photographs, or a prepared data set."""
        for source in [*params.get("sources", ()), params.get("source")]:
            path = Path(source or "scenes")
            if path.suffix == ".h5":
                self.provide_prepared(path)
            elif path.suffix in CAPTIONS and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(CAPTIONS[path.suffix])
                for number in () if params.get("features") else range(4):
                    self.provide_photo(params.get("images") or path.parent, f"{number}.png")
        if params.get("features"):
            with h5py.File(params["features"], "w") as file:
                file["features"] = np.zeros((4, 1280), np.float16)

    def provide_prepared(self, path: Path) -> None:
        """Provide a prepared data set."""
        if not path.exists():
            table = Path("provided", "captions.csv")
            self.provide_data({"sources": [table]})
            assert self.cli("prepare", table, "-o", path, "--encoder", "scenes", "--min-count", "1").code == 0

    def provide_photo(self, path: Path, name: str = "photo.png") -> None:
        """Provide a photograph; a path without a suffix is a folder."""
        file = path if path.suffix else path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            shade = sum(map(ord, file.name)) % 200
            Image.new("RGB", (64, 64), (shade, 90, 200 - shade)).save(file)

    def provide_results(self, captions: Path, references: Path, splits: tuple[str, ...]) -> None:
        """Provide references, and one caption for each image of the splits."""
        references.write_text(CAPTIONS[references.suffix])
        images = json.loads(CAPTIONS[references.suffix])["images"]
        names = [image["filename"] for image in images if not splits or image["split"] in splits]
        captions.write_text(json.dumps([{"image_id": name, "caption": "a picture"} for name in names]))

    def provide_run(self, run: Path) -> None:
        folder = run.parent if run.suffix == ".h5" else run
        if not folder.exists():
            shutil.copytree(self.run_folder, folder)

    def provide_features(self, path: Path, run: Path) -> None:
        width = checkpoint.load(find_checkpoint(run)).meta.feature_dim
        with h5py.File(path, "w") as file:
            file["features"] = np.zeros((2, width), np.float32)


@pytest.fixture
def sandbox(
    cli: Callable[..., Any],
    small: tuple[str, ...],
    tiny_run: Path,
    write_coco: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Sandbox:
    monkeypatch.chdir(tmp_path)
    return Sandbox(cli, small, tiny_run, write_coco)


HELP = dict(help_commands((), root))


@pytest.mark.parametrize("path", HELP, ids=" ".join)
def test_help_examples_run(path: tuple[str, ...], sandbox: Sandbox) -> None:
    assert HELP[path], "every command needs an example"
    for words in HELP[path]:
        assert words[: len(path) + 1] == ["captioner", *path] or words[:2] == ["captioner", "config"]
        sandbox.run(words)


@every_page
def test_page_commands_run(page: Path, sandbox: Sandbox) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in page_commands(page):
        if words[:1] == ["captioner"]:
            sandbox.run(words)
        elif words[:1] == ["make"]:
            assert {word for word in words[1:] if "=" not in word} <= set(targets)


@every_page
def test_python_blocks_run_in_one_namespace_per_page(page: Path, sandbox: Sandbox) -> None:
    if page.name == "README.md":
        sandbox.provide_run(Path("runs/birds"))
        sandbox.provide_photo(Path("new.jpg"))
        sandbox.provide_photo(Path("holiday/beach.jpg"))
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks(page, "python"), 1):
        exec(compile(block, f"{page.name}, python block {number}", "exec"), names)


@every_page
def test_relative_links_exist(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert "://" in link or (page.parent / link).exists(), link


@every_page
def test_every_code_block_has_a_tested_language_or_none(page: Path) -> None:
    fences = re.findall(r"^```(.*)$", page.read_text(), re.MULTILINE)
    assert set(fences[::2]) <= {"", "console", "python", "text", "yaml", "json"}
    assert set(fences[1::2]) <= {""}


@every_page
def test_yaml_blocks_are_valid_configs(page: Path) -> None:
    for block in blocks(page, "yaml"):
        yaml_io.parse(block, page.name)


def test_the_readme_shows_every_command() -> None:
    programs = {tuple(words[:2]) for words in page_commands(ROOT / "README.md")}
    assert {("captioner", name) for name in root.commands} | {("make", "demo"), ("make", "test")} <= programs


def test_commands_page_equals_the_help() -> None:
    render = runpy.run_path(str(ROOT / "docs" / "commands.py"))["render"]
    assert (ROOT / "docs" / "commands.md").read_text() == render(), "run `make docs`"


def test_the_tutorial_states_the_parameter_count() -> None:
    guide = (ROOT / "docs" / "own-photos.md").read_text()
    (words,), (stated,) = re.findall(r"captions; ([\d,]+) words", guide), re.findall(r"([\d,]+) parameters", guide)
    config = yaml_io.load(ROOT / "configs" / "photos.yaml", [])
    shapes = build_sizes(config, int(words.replace(",", "")) + len(SPECIAL), 1280).shapes()
    assert stated == f"{sum(math.prod(shape) for shape in shapes.values()):,}"


@pytest.mark.parametrize("name", ["docs/architecture.md", "docs/glossary.md", "CONTRIBUTING.md"])
def test_named_modules_exist(name: str) -> None:
    for path in re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", (ROOT / name).read_text()):
        assert (ROOT / "captioner" / path).exists() or (ROOT / path).exists(), path
