"""Model cards: what they state, and what they must not contain."""

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
from captioner.config import yaml_io
from captioner.errors import DataError, printable
from captioner.export.card import CardOptions, collect_facts, escaped, model_card, table
from captioner.inference.load import open_run

HOSTILE = "a|b `c` <script>*x*</script> [l](http://x)\n---\n# title\x1b[31m\u202e"


def card_of(run: Path, version: str | None = None, **options: Any) -> str:
    return model_card(collect_facts(open_run(run), "birds", CardOptions(**options), version))


def front_matter(card: str) -> dict[str, Any]:
    start, text, body = card.split("---\n", 2)
    assert start == ""
    assert body.startswith("\n# birds\n")
    values: dict[str, Any] = yaml.safe_load(text)
    return values


@pytest.fixture
def scores(tiny_run: Path, cli: Callable[..., Any], tmp_path: Path) -> Path:
    """The output of `captioner evaluate` for two splits, with the worst captions."""
    out = cli("evaluate", tiny_run, "--split", "val", "--split", "heldout", "--worst", "2", "--json").out
    (tmp_path / "scores.json").write_text(out)
    return tmp_path / "scores.json"


def test_the_front_matter_of_a_run_without_scores(tiny_run: Path) -> None:
    assert front_matter(card_of(tiny_run)) == {
        "license": "unknown",
        "language": ["en"],
        "library_name": "captioner",
        "pipeline_tag": "image-to-text",
        "tags": ["captioner", "image-captioning", "lstm", "numpy"],
    }


def test_the_front_matter_and_the_scores(tiny_run: Path, attention_run: Path, scores: Path) -> None:
    card = card_of(tiny_run, license="mit", language="de", dataset="flickr8k", scores=scores)
    values = front_matter(card)
    assert (values["license"], values["language"], values["datasets"]) == ("mit", ["de"], ["flickr8k"])
    measured = json.loads(scores.read_text().splitlines()[0])
    assert "attention" in front_matter(card_of(attention_run))["tags"]
    value, (low, high) = measured["cider_d"], measured["intervals"]["cider_d"]
    assert f"| CIDEr-D | {100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f}) |" in card
    assert "|  | val (10 images) | heldout (5 images) |" in card
    assert f"| captions true | {measured['true']:.1%} |" in card
    assert measured["worst"][0]["references"][0] in card
    assert "Not measured" not in card


def test_the_card_describes_model_and_training(tiny_run: Path) -> None:
    card, run = card_of(tiny_run), open_run(tiny_run)
    count = sum(w.size for w in run.model.params.values())
    for text in (
        f"| parameters | {count:,} (float32) |",
        "| image encoder | scenes-1 (231 dimensions) |",
        f"Trained for {run.meta.step} steps with captioner {captioner.__version__}, Python {platform.python_version()}",
        "Terms: not stated.",
    ):
        assert text in card
    assert "captioner sample runs/birds photo.jpg" in card
    assert "Packaged" not in card
    package = card_of(tiny_run, version="1.2")
    for text in ("Packaged with captioner", 'captioner.load("birds")', "captioner sample birds photo.jpg"):
        assert text in package


def test_the_options_of_the_card_are_a_config(tiny_run: Path, attention_run: Path) -> None:
    for run in (tiny_run, attention_run):
        (text,) = re.findall(r"^```yaml\n(.*?)^```$", card_of(run), re.MULTILINE | re.DOTALL)
        assert yaml_io.parse(text, "card") == open_run(run).config


def test_the_card_names_learned_captions(tiny_run: Path) -> None:
    restored = open_run(tiny_run)
    config = yaml_io.parse(yaml_io.dump(restored.config), "", ["data.captions=teacher.jsonl"])
    card = model_card(collect_facts(dataclasses.replace(restored, config=config), "birds", CardOptions(), None))
    assert "trained on captions in a file (`data.captions`), which replaced the reference captions." in card


COMMANDS = """# two steps
captioner train -c scenes-lstm --run runs/a

captioner train -c scenes-lstm --run runs/birds \\
    -o train.init_from=runs/a"""


@pytest.mark.parametrize("fence", ["```", "````python", "    ~~~"])
def test_the_commands_that_made_the_model_are_one_code_block(fence: str, tiny_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "commands.txt"
    file.write_bytes(f"\ufeff\r\n{COMMANDS}  \r\n{fence}\n# <b>猫</b>\n\n".encode())
    section = card_of(tiny_run, made_with=file).partition("The commands that made the model:\n\n")[2]
    start, *lines, end, last = section.split("\n")
    assert last == ""
    assert (start, "\n".join(lines)) == (f"{end}console", f"{COMMANDS}\n{fence}\n# <b>猫</b>")
    assert set(end) == {"`"}
    assert len(end) == (5 if "````" in fence else 4 if "`" in fence else 3)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b" \n\n", "commands.txt: expected commands in 1 to 20,000 characters, got 0"),
        (b"a" * 20_001, "commands.txt: expected commands in 1 to 20,000 characters, got 20,001"),
        (b"captioner\nrm \x1b[31m", r"commands.txt:2: expected printable text, got the character '\x1b'; remove it"),
        ("a\u202eb".encode(), r"commands.txt:1: expected printable text, got the character '\u202e'; remove it"),
        (b"\x89HDF\r\n", r"commands.txt: expected UTF-8 text, got b'\x89' at byte 0"),
    ],
)
def test_other_files_of_commands_are_refused(content: bytes, problem: str, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "commands.txt").write_bytes(content)
    with pytest.raises(DataError) as caught:
        card_of(tiny_run, made_with=tmp_path / "commands.txt")
    assert str(caught.value) == f"{tmp_path}/{problem}"
    with pytest.raises(DataError, match="not found; expected a text file with the commands that made the model"):
        card_of(tiny_run, made_with=tmp_path / "none")


def test_no_path_or_host_name_of_the_machine_is_in_the_card(
    photo_run: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    """The paths of the run, of its data set and of the run that it started from are planted."""
    secret = tmp_path / "secret-place"
    run = Path(shutil.copytree(photo_run, secret / "birds"))
    overrides = (f"train.init_from={run}", "train.max_steps=1", f"data.root={photo_run.parent / 'data.h5'}")
    captioner.train(open_run(photo_run).config, secret / "tuned", overrides)
    assert "secret-place" in (secret / "tuned" / "config.yaml").read_text()
    done = cli("card", secret / "tuned")
    assert (done.code, done.err) == (0, "")
    assert "train.init_from" in done.out
    for planted in ("secret-place", str(tmp_path), str(photo_run.parent), "data.h5", platform.node()):
        assert not planted or planted not in done.out


def test_texts_are_escaped(tiny_run: Path, scores: Path) -> None:
    record = json.loads(scores.read_text().splitlines()[0])
    record["split"] = HOSTILE
    record["worst"] = [{"caption": HOSTILE, "references": [HOSTILE]}]
    scores.write_text(json.dumps(record))
    card = card_of(tiny_run, dataset=HOSTILE, data_terms=HOSTILE, scores=scores)
    values = front_matter(card)
    body = card.split("---\n", 2)[2]
    assert "<script>" not in body
    assert not re.search(r"(?<!\\)\]\(", body)
    assert not {"\x1b", "\u202e"} & set(card)
    assert re.findall(r"^# .*$", body, re.MULTILINE) == ["# birds"]
    assert len(values["datasets"][0].splitlines()) == 1
    columns = {line.replace("\\|", "").count("|") for line in body.splitlines() if line.startswith("|")}
    assert columns == {3}


def test_a_hostile_checkpoint_adds_no_lines(tiny_run: Path) -> None:
    restored = open_run(tiny_run)
    validate = dataclasses.replace(restored.config.validate, split=HOSTILE)
    config = dataclasses.replace(restored.config, validate=validate)
    meta = dataclasses.replace(restored.meta, encoder=HOSTILE)
    hostile = dataclasses.replace(restored, config=config, meta=meta)
    card = model_card(collect_facts(hostile, "birds", CardOptions()))
    assert re.findall(r"^# .*$", card, re.MULTILINE) == ["# birds"]
    assert re.findall(r"^```(\w*)$", card, re.MULTILINE) == ["console", "", "yaml", ""]
    assert "captioner cannot compute these image features" in card


@pytest.mark.parametrize(
    "content",
    ["", "\n", "nonsense", "[]", "{}", '{"split": "val", "images": 3, "intervals": {}}', "[" * 100_000, "\\ud800"],
    ids=lambda content: content[:20],
)
def test_other_files_of_scores_are_refused(content: str, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(DataError, match=r"scores\.json"):
        card_of(tiny_run, scores=tmp_path / "scores.json")


def test_other_scores_are_refused(tiny_run: Path, scores: Path) -> None:
    line = json.loads(scores.read_text().splitlines()[0])
    other = {**line, "decode": {**line["decode"], "beam_width": 3}}
    cases = [
        ([other], "1: measured with decode.beam_width 3, but the model has 1; try captioner evaluate -o decode.beam_"),
        ([line, line], "2: split val: given twice"),
        *(
            ([{**line, "bleu4": value}], "1: expected a line of `captioner evaluate --json`, got ")
            for value in (None, "x", float("nan"), -1, [1], 10**400)
        ),
    ]
    for lines, problem in cases:
        scores.write_text("\n".join(map(json.dumps, lines)))
        with pytest.raises(DataError, match=re.escape(f"{scores}:{problem}")):
            card_of(tiny_run, scores=scores)


def test_a_missing_or_odd_summary_leaves_out_the_versions(own_run: Path) -> None:
    for content in (None, "[]", "{", '{"versions": {"python": 3, "captioner": "<b>"}}'):
        (own_run / "summary.json").unlink(missing_ok=True)
        if content is not None:
            (own_run / "summary.json").write_text(content)
        card = card_of(own_run)
        assert "Trained for" in card
        assert "<b>" not in card


@given(st.text() | st.text("\\`*_[]|~$<>&\n\r\x1b# -"))
def test_an_escaped_text_is_one_line_without_markdown(text: str) -> None:
    shown = escaped(text)
    assert "".join(shown.splitlines()) == shown
    assert not set("<>") & set(shown)
    without_pairs = re.sub(r"\\.", "", shown)
    assert not set("`*_[]|~$\\") & set(without_pairs)
    assert re.sub(r"\\(.)", r"\1", html.unescape(shown)) == printable(" ".join(text.split()), 2000)


def test_tables() -> None:
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
