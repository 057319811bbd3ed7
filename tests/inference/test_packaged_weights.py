"""Damaged packages, and packages whose parts do not belong together, are refused by name with one line."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.errors import CheckpointError
from captioner.inference.load import open_run
from captioner.inference.package_info import INFO, WEIGHTS
from captioner.storage import checkpoint
from captioner.storage.checkpoint import Checkpoint
from captioner.storage.sealed import MODEL


def refusal() -> str:
    with pytest.raises(CheckpointError) as caught:
        open_run("birds")
    message = str(caught.value)
    assert message.isprintable()
    assert "birds" in message
    return message


def rewrite(file: Path, change: Callable[[Checkpoint], Checkpoint], fix_digest: bool = False) -> None:
    """Change the weights, with a valid seal, and with `fix_digest` their digest in the description."""
    checkpoint.save(file, change(checkpoint.load(file, seal=MODEL)), seal=MODEL)
    if fix_digest:
        with MODEL.open(file) as (_, digest):
            describe(file.parent, sha256=digest)


def describe(folder: Path, **values: Any) -> None:
    (folder / INFO).write_text(json.dumps({**json.loads((folder / INFO).read_text()), **values}))


def with_meta(**values: Any) -> Callable[[Checkpoint], Checkpoint]:
    return lambda saved: dataclasses.replace(saved, meta=dataclasses.replace(saved.meta, **values))


@pytest.mark.parametrize("place", [20, 600, -1])
def test_a_flipped_byte(place: int, birds: Path) -> None:
    content = bytearray((birds / WEIGHTS).read_bytes())
    content[place] ^= 1
    (birds / WEIGHTS).write_bytes(content)
    assert refusal().startswith(f"model birds: {birds / WEIGHTS}: ")


@pytest.mark.parametrize("length", [0, 100, 512, 5000])
def test_a_truncated_file(length: int, birds: Path) -> None:
    (birds / WEIGHTS).write_bytes((birds / WEIGHTS).read_bytes()[:length])
    assert refusal().startswith(f"model birds: {birds / WEIGHTS}: ")


def test_another_format(birds: Path) -> None:
    describe(birds, format=2)
    assert "expected model package format 1, got 2; use the version of captioner that wrote it" in refusal()


def test_another_version_of_the_weights(birds: Path) -> None:
    content = (birds / WEIGHTS).read_bytes().replace(b"captioner model 1 ", b"captioner model 7 ", 1)
    (birds / WEIGHTS).write_bytes(content)
    assert "expected model version 1, got 7" in refusal()


def test_weights_of_another_package(birds: Path) -> None:
    rewrite(birds / WEIGHTS, with_meta(step=99))
    assert "they belong to another package; install it again" in refusal()


def test_another_vocabulary(birds: Path) -> None:
    words = json.loads((birds / INFO).read_text())["words"]
    other = ["<NULL>", "<START>", "<END>", "<UNK>", *(f"word{number}" for number in range(words - 4))]
    rewrite(birds / WEIGHTS, with_meta(words=other))
    assert "they belong to another package" in refusal()
    rewrite(birds / WEIGHTS, with_meta(words=other[:-1]), fix_digest=True)
    assert f"vocabulary: expected {words} words, got {words - 1}" in refusal()
    describe(birds, words=words - 1)
    assert "array params/W_embed: expected float32" in refusal()


def test_another_encoder(birds: Path) -> None:
    rewrite(birds / WEIGHTS, with_meta(encoder="efficientnet-lite0-1"), fix_digest=True)
    assert "expected weights for encoder scenes-1, got efficientnet-lite0-1" in refusal()


@pytest.mark.parametrize(
    "content", ["", "[]", "{", "[" * 100_000, '"\\ud800"', '{"format": true}', '{"format": 1}', "x" * 70_000]
)
def test_a_description_of_another_form(content: str, birds: Path) -> None:
    (birds / INFO).write_text(content)
    assert INFO in refusal()


@pytest.mark.parametrize("values", [{"name": "../x"}, {"words": "many"}, {"words": True}, {"sha256": None}])
def test_a_description_with_another_value(values: dict[str, Any], birds: Path) -> None:
    describe(birds, **values)
    assert f": {next(iter(values))}: expected" in refusal()


@pytest.mark.parametrize("name", [INFO, WEIGHTS])
def test_a_missing_file(name: str, birds: Path) -> None:
    (birds / name).unlink()
    assert f"{name}: not found" in refusal()
