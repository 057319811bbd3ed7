"""Write a trained model as a Python package that can be installed."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import captioner
from captioner.arrays import Params, cast
from captioner.config.options import Config
from captioner.config.yaml_io import dump
from captioner.errors import CheckpointError, UsageError, printable, quoted
from captioner.export.card import LINE, UNKNOWN, CardOptions, collect_facts, default_name, model_card
from captioner.images.recipe import parse_identity
from captioner.inference.find_checkpoint import GROUP
from captioner.inference.load import Run, open_run
from captioner.inference.package_info import (
    CARD,
    INFO,
    NOT_PACKAGED,
    WEIGHTS,
    PackageInfo,
    find_package,
    module_name,
    package_of,
    read_info,
)
from captioner.inference.photographs import open_encoder_of
from captioner.inference.restore import Restored
from captioner.model.image_input import standardizer_arrays
from captioner.storage import checkpoint, sealed
from captioner.storage.atomic import write_atomically, writing
from captioner.storage.base_models import BaseModel, is_name
from captioner.storage.checkpoint import Checkpoint
from captioner.storage.files import output_folder

MAX_BEAM = 10
"""The widest beam of a packaged model that was decoded with consensus re-ranking."""
VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}((a|b|rc)[0-9]{1,9})?(\.post[0-9]{1,9})?")

TEMPORARY = ".captioner-package-"
"""Start of the names of temporary folders."""
PYPROJECT = """\
# Written by `captioner package`.
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"

[project]
name = "captioner-{info.name}"
version = "{info.version}"
description = {description}
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["captioner{extra}>={info.captioner}"]

[project.entry-points."{group}"]
{info.name} = "{module}"

[tool.setuptools]
packages = ["{module}"]
zip-safe = false

[tool.setuptools.package-data]
{module} = {files}
"""
INIT = '"""The captioner model {name}: data only. `captioner.load("{name}")` loads it."""\n'
"""The text of `__init__.py`, which captioner never imports."""


@dataclass(frozen=True)
class Package:
    """A written model package; `notes` are what differs from the run, `size` is that of the weights in bytes."""

    info: PackageInfo
    size: int
    notes: tuple[str, ...]


def write_package(
    run: Run,
    output: Path,
    options: CardOptions,
    name: str | None = None,
    version: str = "1.0.0",
    overrides: Sequence[str] = (),
    overwrite: bool = False,
    encoder: str | None = None,
) -> Package:
    """Write the model of a run, or of another package, as a Python package into the folder `output`.

    The weights are float16. Consensus re-ranking is switched off, because it needs the training captions. Paths and
    the number of threads of the machine are removed from the config. `encoder` is the recipe of the encoder of the
    training images, for a run that does not identify it.

    Raises: CheckpointError for a model that cannot be stored, or another encoder than that of the run; UsageError for a
    name, version, folder or encoder that cannot be used; DataError for a file of scores or commands; CaptionerError
    when a file cannot be written.
    """
    if not VERSION.fullmatch(version):
        raise UsageError(f"--version {version}: expected a version such as 1.0.0")
    if name is not None and not is_name(name):
        raise UsageError(f"--name {name}: expected at most 60 lower-case letters and digits, joined by single hyphens")
    restored = open_run(run, overrides)
    if itself := package_of(restored.path):  # the same model again: it keeps its license and terms
        license = itself.license if options.license == UNKNOWN else options.license
        options = dataclasses.replace(options, license=license, data_terms=options.data_terms or itself.terms or None)
    name = name or default_name(output)
    _check_output(output, name, overwrite)
    config, notes = _portable(restored.config)
    model = dataclasses.replace(restored, config=config)
    if encoder is not None:
        identity = open_encoder_of(restored, encoder).identity
        model = dataclasses.replace(model, meta=dataclasses.replace(model.meta, encoder=identity))
    facts = collect_facts(model, name, options, version)
    for stale in output.glob(f"{TEMPORARY}*"):
        shutil.rmtree(stale, ignore_errors=True)
    with output_folder(output), writing(output), TemporaryDirectory(prefix=TEMPORARY, dir=output) as temporary:
        weights = Path(temporary, WEIGHTS)
        checkpoint.save(weights, _half(model, facts.base_models))
        info = PackageInfo(
            name=name,
            version=version,
            description=facts.description,
            license=options.license,
            base_models=facts.base_models,
            terms=options.terms,
            encoder=model.meta.encoder,
            words=len(model.vocab),
            parameters=model.model.parameter_count,
            captioner=captioner.__version__,
            sha256=sealed.digest(weights),
        )
        texts = {INFO: info.json(), CARD: model_card(facts), "__init__.py": INIT.format(name=name)}
        folder = output / module_name(name)
        folder.mkdir(exist_ok=True)
        for file, text in texts.items():  # the description first: by it, an incomplete package can be replaced
            write_atomically(folder / file, text.encode())
        os.replace(weights, folder / WEIGHTS)
        write_atomically(output / "README.md", texts[CARD].encode())
        write_atomically(output / "pyproject.toml", _pyproject(info).encode())
    if facts.base_models:
        named = ", ".join(base.describe(lambda terms: printable(terms, LINE)) for base in facts.base_models)
        note = f"made from {named}: their licenses and terms apply too, and the card lists them"
        if {base.license for base in facts.base_models} != {options.license}:
            note += f"; check that the license of this package, {options.license}, permits no more than they do"
        notes.append(note)
    return Package(info, (folder / WEIGHTS).stat().st_size, (*restored.warnings, *notes))


def _portable(config: Config) -> tuple[Config, list[str]]:
    """Return a config without paths and threads of the machine and without consensus re-ranking, and notes."""
    data, train, decode, notes = config.data, config.train, config.decode, []
    if data.root is not None:
        data = dataclasses.replace(data, root=NOT_PACKAGED)
    if train.init_from is not None:
        train = dataclasses.replace(train, init_from=NOT_PACKAGED)
    if decode.consensus:
        notes.append(
            f"decode.consensus: set to 0 (was {decode.consensus:g}); re-ranking needs the training captions, which a "
            "package does not contain"
        )
        if decode.beam_width > MAX_BEAM:
            notes.append(
                f"decode.beam_width: set to {MAX_BEAM} (was {decode.beam_width}); without re-ranking, a wider beam is "
                "slower and hardly better"
            )
        width = min(decode.beam_width, MAX_BEAM)
        decode = dataclasses.replace(decode, consensus=0.0, guidance=0.0, beam_width=width)
    return dataclasses.replace(config, threads=Config.threads, data=data, train=train, decode=decode), notes


def _half(model: Restored, base_models: tuple[BaseModel, ...]) -> Checkpoint:
    """Return the model with float16 parameters (the moving average, if there is one), without optimizer state.

    Raises: CheckpointError for a parameter that is too large for float16.
    """
    params: Params = {}
    for name, w in model.model.params.items():
        half = cast(w, np.float16)
        if half is None:
            raise CheckpointError(f"{model.path}: array params/{name}: a parameter is too large for float16")
        params[name] = half
    arrays = standardizer_arrays(model.model.standardizer, model.model.region_standardizer)
    # of the environment, only what a loaded model can depend on
    environment = {name: text for name, text in model.meta.environment.items() if name == "numpy"}
    meta = dataclasses.replace(model.meta, config=dump(model.config), environment=environment, base_models=base_models)
    return Checkpoint(meta, params, {}, arrays, {} if model.familiarity is None else model.familiarity._asdict())


def _pyproject(info: PackageInfo) -> str:
    """Return the text of pyproject.toml: a static description for setuptools, without code."""
    return PYPROJECT.format(
        info=info,
        # a one-line JSON text without surrogates is a TOML text
        description=json.dumps(info.description, ensure_ascii=False),
        extra="[images]" if parse_identity(info.encoder) is not None else "",
        group=GROUP,
        module=module_name(info.name),
        files=json.dumps([INFO, WEIGHTS, CARD]),
    )


def _check_output(output: Path, name: str, overwrite: bool) -> None:
    """Check that a package can be written into a folder: a new or empty one, or one with a package of the same model.

    Raises: UsageError.
    """
    if not os.path.lexists(output):
        return
    if not output.is_dir():
        raise UsageError(f"{output}: expected a folder, got a file; name another folder")
    try:
        if all(path.name.startswith(TEMPORARY) for path in output.iterdir()):
            return
    except OSError as error:
        raise UsageError(f"{output}: cannot be read: {error.strerror}") from error
    if not overwrite:
        raise UsageError(f"{output}: exists already and is not empty; name another folder, or try --overwrite")
    existing = find_package(output)
    try:
        got = "no model package" if existing is None or existing == output else quoted(read_info(existing).name)
    except CheckpointError:
        got = quoted(name) if existing == output / module_name(name) else "a damaged one"
    if got != quoted(name):
        raise UsageError(f"{output}: expected the model package {name} to replace, got {got}; name another folder")
