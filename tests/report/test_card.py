"""Model cards: what they state, and what they must not contain."""

import dataclasses
import html
import math
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

import captioner
from captioner.captioning.load import open_run
from captioner.config import yaml_io
from captioner.config.overrides import read_overrides
from captioner.errors import printable
from captioner.files.checkpoint import MAX_TEXT
from captioner.report.card import escaped, model_card
from captioner.share import prepare_to_share

HOSTILE = "a|b `c` <script>*x*</script> [l](http://x)\n---\n# title\x1b[31m\u202e"


def card_of(run: Path, **stated: str) -> str:
    restored = open_run(run)
    card = dataclasses.replace(restored.meta.card, **stated)
    return model_card(dataclasses.replace(restored, meta=dataclasses.replace(restored.meta, card=card)))


def front_matter(card: str) -> dict[str, Any]:
    start, text, body = card.split("---\n", 2)
    assert start == ""
    assert body.startswith("\n# run\n")
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def test_the_card_of_a_run(tiny_run: Path) -> None:
    restored = open_run(tiny_run)
    card = model_card(restored)
    assert front_matter(card) == {
        "license": "unknown",
        "library_name": "captioner",
        "pipeline_tag": "image-to-text",
        "tags": ["captioner", "image-captioning", "lstm", "numpy"],
    }
    for text in (
        f"| parameters | {restored.model.parameter_count:,} (float32) |",
        "| image encoder | scenes-1 (231 dimensions) |",
        f"Checkpoint: best.h5 of step {restored.meta.step}.",
        "License of the model: unknown. Terms of the training data: not stated; ask the author",
        "captioner caption photo.jpg --model runs/run",
        "They do not describe photographs.",
        f"Validation (split val) at this training step: perplexity {math.exp(restored.meta.best['loss']):.2f}.\n",
    ):
        assert text in card
    assert "Made from" not in card


def test_what_is_stated(tiny_run: Path) -> None:
    card = card_of(tiny_run, license="mit", terms="For research", made_from="birds|1.h5 (license: other)")
    assert front_matter(card)["license"] == "mit"
    assert "License of the model: mit. Terms of the training data: For research.\n" in card
    assert "Made from: birds\\|1.h5 (license: other). Their licenses and terms apply too." in card


def test_a_checkpoint_between_validations_has_no_scores(small: tuple[str, ...], tmp_path: Path) -> None:
    captioner.train(None, tmp_path / "run", {**read_overrides(small), "train.max_steps": 3})
    assert "Validation (split val) at this training step: not measured." in card_of(tmp_path / "run" / "last.h5")


def test_the_options_of_the_card_are_a_config(tiny_run: Path, attention_run: Path) -> None:
    for run in (tiny_run, attention_run):
        (text,) = re.findall(r"^```yaml\n(.*?)^```$", model_card(open_run(run)), re.MULTILINE | re.DOTALL)
        assert yaml_io.parse(text, "card") == open_run(run).config


def test_no_path_or_host_name_of_the_machine_is_in_the_card(
    photo_run: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    """The paths of the run, of its data set and of the run that it started from are planted."""
    secret = tmp_path / "secret-place"
    run = Path(shutil.copytree(photo_run, secret / "birds"))
    overrides = {"train.init_from": run, "train.max_steps": 1, "data.root": photo_run.parent / "data.h5"}
    captioner.train(open_run(photo_run).config, secret / "tuned", overrides)
    assert "secret-place" in (secret / "tuned" / "config.yaml").read_text()
    done = cli("card", secret / "tuned").succeeded()
    for planted in ("secret-place", str(tmp_path), str(photo_run.parent), "data.h5", platform.node()):
        assert not planted or planted not in done.out


def test_hostile_texts_add_no_lines_and_no_markup(tiny_run: Path) -> None:
    shared, _ = prepare_to_share(open_run(tiny_run), HOSTILE, HOSTILE)
    meta = dataclasses.replace(shared.meta, encoder=HOSTILE)
    card = model_card(dataclasses.replace(shared, meta=meta))
    body = card.split("---\n", 2)[2]
    assert "captioner cannot compute its image features, so it captions" in body
    assert "<script>" not in body
    assert not re.search(r"(?<!\\)\]\(", body)
    assert not {"\x1b", "\u202e"} & set(card)
    assert re.findall(r"^# .*$", body, re.MULTILINE) == ["# run"]
    assert re.findall(r"^```(\w*)$", body, re.MULTILINE) == ["console", "", "yaml", ""]
    assert "\n" not in front_matter(card)["license"]
    columns = {line.replace("\\|", "").count("|") for line in body.splitlines() if line.startswith("|")}
    assert columns == {3}


@given(st.text() | st.text("\\`*_[]|~$<>&\n\r\x1b# -"))
def test_an_escaped_text_is_one_line_without_markdown(text: str) -> None:
    shown = escaped(text)
    assert "".join(shown.splitlines()) == shown
    assert not set("<>") & set(shown)
    without_pairs = re.sub(r"\\.", "", shown)
    assert not set("`*_[]|~$\\") & set(without_pairs)
    assert re.sub(r"\\(.)", r"\1", html.unescape(shown)) == printable(" ".join(text.split()), MAX_TEXT)
