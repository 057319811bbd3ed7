"""Model cards: what they state, and what they must not contain; the scores that they show."""

import dataclasses
import html
import json
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import captioner
from captioner.captioning.load import open_run
from captioner.config import yaml_io
from captioner.config.overrides import override
from captioner.errors import CheckpointError, DataError, printable
from captioner.files import checkpoint
from captioner.files.checkpoint import Base, Card
from captioner.report.card import escaped, model_card
from captioner.share import prepare_to_share

HOSTILE = "a|b `c` <script>*x*</script> [l](http://x)\n---\n# title\x1b[31m\u202e"


def card_of(run: Path, scores: Path | None = None, **stated: str) -> str:
    return model_card(prepare_to_share(open_run(run), stated, scores)[0])


def front_matter(card: str) -> dict[str, Any]:
    start, text, body = card.split("---\n", 2)
    assert start == ""
    assert body.startswith("\n# run\n")
    values: dict[str, Any] = yaml.safe_load(text)
    return values


@pytest.fixture
def scores(tiny_run: Path, cli: Callable[..., Any], tmp_path: Path) -> Path:
    """The output of `captioner evaluate` for two splits."""
    out = cli("evaluate", tiny_run, "--split", "val", "--split", "heldout", "--worst", "2", "--json").out
    (tmp_path / "scores.json").write_text(out)
    return tmp_path / "scores.json"


@pytest.mark.parametrize("file", ["last.h5", "model.h5"])
def test_the_card_of_another_checkpoint_than_the_best_does_not_have_its_perplexity(own_run: Path, file: str) -> None:
    saved = checkpoint.load(own_run / "last.h5")
    meta = dataclasses.replace(saved.meta, best={**saved.meta.best, "step": 4})
    checkpoint.save(own_run / file, dataclasses.replace(saved, meta=meta))
    card = model_card(open_run(own_run / file))
    assert "Checkpoint: last.h5 of step 8." in card
    assert "## Scores\n\nNot measured.\n" in card


def test_the_card_of_a_run_without_scores(tiny_run: Path) -> None:
    restored = open_run(tiny_run)
    card = model_card(restored)
    assert front_matter(card) == {
        "license": "unknown",
        "language": ["en"],
        "library_name": "captioner",
        "pipeline_tag": "image-to-text",
        "tags": ["captioner", "image-captioning", "lstm", "numpy"],
    }
    for text in (
        f"| parameters | {restored.model.parameter_count:,} (float32) |",
        "| image encoder | scenes-1 (231 dimensions) |",
        f"Checkpoint: best.h5 of step {restored.meta.step}.",
        "License of the model: unknown. Terms of the training data: not stated; ask the author",
        "captioner sample runs/run photo.jpg",
        "Perplexity of the validation captions (split val) during training: ",
    ):
        assert text in card


def test_what_is_stated_and_the_scores(tiny_run: Path, scores: Path) -> None:
    card = card_of(tiny_run, scores, license="mit", language="de", dataset="flickr8k", terms="For research")
    assert (front_matter(card)["license"], front_matter(card)["language"]) == ("mit", ["de"])
    measured = json.loads(scores.read_text().splitlines()[0])
    value, (low, high) = measured["cider_d"], measured["intervals"]["cider_d"]
    assert f"| CIDEr-D | {100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f}) |" in card
    assert "|  | val (10 images) | heldout (5 images) |" in card
    assert f"| captions fully correct | {measured['correct']:.1%} |" in card
    assert " Name: flickr8k. " in card
    assert "License of the model: mit. Terms of the training data: For research.\n" in card


def test_the_options_of_the_card_are_a_config(tiny_run: Path, attention_run: Path) -> None:
    for run in (tiny_run, attention_run):
        (text,) = re.findall(r"^```yaml\n(.*?)^```$", model_card(open_run(run)), re.MULTILINE | re.DOTALL)
        assert yaml_io.parse(text, "card") == open_run(run).config


def test_base_models_and_other_objectives_are_named(tiny_run: Path) -> None:
    restored = open_run(tiny_run)
    values = {"train.objective": "self_critical", "train.init_from": Path("/runs/a")}
    config = override(restored.config, values)
    meta = dataclasses.replace(restored.meta, card=Card(base=[Base("birds|1.h5", "other", "")]))
    card = model_card(dataclasses.replace(restored, config=config, meta=meta))
    assert "It was trained with rewards for captions that it sampled (self-critical training), so the perp" in card
    assert "- Made from birds\\|1.h5 (license: other; terms: not stated). Its license and terms apply too." in card
    assert "runs/a" not in card


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


def test_hostile_texts_add_no_lines_and_no_markup(tiny_run: Path, scores: Path) -> None:
    record = json.loads(scores.read_text().splitlines()[0])
    scores.write_text(json.dumps({**record, "split": HOSTILE}))
    shared, _ = prepare_to_share(open_run(tiny_run), {"dataset": HOSTILE, "terms": HOSTILE, "license": HOSTILE}, scores)
    card = model_card(dataclasses.replace(shared, meta=dataclasses.replace(shared.meta, encoder=HOSTILE)))
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


def test_scores_of_another_form_in_a_file_are_an_error(tiny_run: Path) -> None:
    restored = open_run(tiny_run)
    meta = dataclasses.replace(restored.meta, card=Card(scores=[{"split": "val"}]))
    with pytest.raises(CheckpointError, match="meta: card: scores: "):
        model_card(dataclasses.replace(restored, meta=meta))


@pytest.mark.parametrize(
    "content",
    ["", "\n", "nonsense", "[]", "{}", '{"split": "val", "images": 3, "intervals": {}}', "[" * 100_000, "\\ud800"],
    ids=lambda content: content[:20],
)
def test_other_files_of_scores_are_refused(content: str, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(DataError, match=r"scores\.json"):
        card_of(tiny_run, tmp_path / "scores.json")


def test_other_scores_are_refused(tiny_run: Path, scores: Path) -> None:
    line = json.loads(scores.read_text().splitlines()[0])
    other = {**line, "decode": {**line["decode"], "beam_width": 3}}
    cases = [
        ([other], ":1: measured with decode.beam_width 3, but the model has 1; try captioner evaluate -o decode.beam_"),
        ([line, line], ": expected one line of `captioner evaluate --json` for each split, got 2 of 1 splits"),
        *(
            ([{**line, "bleu4": value}], ":1: expected a line of `captioner evaluate --json`, got ")
            for value in (None, "x", float("nan"), -1, [1], 10**400)
        ),
    ]
    for lines, problem in cases:
        scores.write_text("\n".join(map(json.dumps, lines)))
        with pytest.raises(DataError, match=re.escape(f"{scores}{problem}")):
            card_of(tiny_run, scores)


@given(st.text() | st.text("\\`*_[]|~$<>&\n\r\x1b# -"))
def test_an_escaped_text_is_one_line_without_markdown(text: str) -> None:
    shown = escaped(text)
    assert "".join(shown.splitlines()) == shown
    assert not set("<>") & set(shown)
    without_pairs = re.sub(r"\\.", "", shown)
    assert not set("`*_[]|~$\\") & set(without_pairs)
    assert re.sub(r"\\(.)", r"\1", html.unescape(shown)) == printable(" ".join(text.split()), 2000)
