"""captioner sample: captions of splits and features, as text, JSON lines and files, and by several runs."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from captioner.captioning.caption import Candidate, Caption, to_record
from captioner.captioning.captioner import Captioner
from captioner.captioning.load import open_corpus, open_run
from captioner.evaluation.evaluate import evaluate_split, open_captioners
from captioner.files import checkpoint

SHORT = ("-o", "decode.max_length=3")


SAMPLING = (*SHORT, "-o", "decode.method=sampling", "-o", "decode.temperature=1.5", "-o", "decode.seed=4")


@pytest.mark.smoke
def test_samples(cli: Callable[..., Any], coco_run: Path) -> None:
    done = cli("sample", coco_run, "--n-best", 3, *SAMPLING)
    assert (done.code, done.err.partition(":")[2].partition(":")[0]) == (0, " warning"), "a sampled caption is empty"
    records = [
        json.loads(line) for line in cli("sample", coco_run, "--n-best", 3, "--json", *SAMPLING).out.splitlines()
    ]
    assert [line.split("\t")[1] for line in done.out.splitlines() if "\t  " not in line] == [
        candidate["caption"] for record in records for candidate in record["candidates"]
    ]


def test_json_lines(cli: Callable[..., Any], coco_run: Path) -> None:
    done = cli("sample", coco_run, "--json", "--split", "train", "-n", "2", *SHORT).succeeded()
    restored = open_run(coco_run, {"decode.max_length": 3})
    captions = Captioner(restored).caption_split(open_corpus(restored).split("train"), 2)
    assert [json.loads(line) for line in done.out.splitlines()] == [to_record(caption) for caption in captions]


def test_the_lines_of_a_caption(cli: Callable[..., Any], tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    references = ["two\n lines", "an\x1b[2J escape"]
    captions = [
        Caption("a\nb", "c d", -1.234, references, true, [Candidate("c d", -1.234), Candidate("d", -2.5)])
        for true in (True, False, None)
    ]
    monkeypatch.setattr("captioner.captioning.captioner.Captioner.caption_split", lambda *_: iter(captions))
    lines = cli("sample", tiny_run).out.splitlines()
    assert lines[::4] == [
        "a\\nb\tc d\tfully correct",
        "a\\nb\tc d\tnot fully correct",
        "a\\nb\tc d",
    ]
    assert lines[1:4] == ["\td\trank 2", "\t  two lines", "\t  an\\x1b[2J escape"]


def test_captions_outside_the_training_domain_are_marked(
    cli: Callable[..., Any], familiar_run: Path, tmp_path: Path
) -> None:
    done = cli("sample", familiar_run, "--split", "val")
    assert done.out.count("\toutside the training domain\n") == 3
    note = 'marked "outside the training domain": unlike the training images (decode.unfamiliar_below)\n'
    assert (done.code, done.err) == (0, f"3 of 8 captions are {note}")
    both = "-o", "decode.unfamiliar_below=100", "-o", "decode.uncertain_below=1"
    alone = cli("sample", familiar_run, "--split", "val", "-n", 1, *both)
    assert alone.out.splitlines()[0].endswith("\toutside the training domain, uncertain")
    uncertain = 'the caption is marked "uncertain": may be wrong; check first (decode.uncertain_below)\n'
    assert alone.err == f"the caption is {note}{uncertain}"
    for threshold in (0, 10):  # the mark can be switched off
        table = tmp_path / f"{threshold}.csv"
        below = f"decode.unfamiliar_below={threshold}"
        done = cli("sample", familiar_run, "--split", "val", "--write", table, "-o", below)
        expected = [False] * 5 + [threshold > 0] * 3
        lines = [line for line in done.out.splitlines() if line[0] != "\t"]
        assert [line.endswith("\toutside the training domain") for line in lines] == expected
        with open(table, newline="", encoding="utf-8-sig") as file:
            assert [row["marks"] == "outside the training domain" for row in csv.DictReader(file)] == expected


def test_the_familiarity_of_images_as_json(cli: Callable[..., Any], familiar_run: Path) -> None:
    done = cli("sample", familiar_run, "--split", "val", "--json")
    records = [json.loads(line) for line in done.out.splitlines()]
    assert [record["familiarity"] for record in records[5:]] == [0, 0, 0]
    assert all(0 < record["familiarity"] <= 100 for record in records[:5])


def test_empty_captions_are_one_warning_on_stderr(cli: Callable[..., Any], own_run: Path) -> None:
    """As of a model after one epoch, for which the end of the caption is the most probable first word."""
    saved = checkpoint.load(own_run / "best.h5")
    saved.params["b_vocab"][saved.meta.words.index("<END>")] = 1e3
    checkpoint.save(own_run / "best.h5", saved)
    hint = "empty: the model predicts <END> too early; train it longer, or try -o decode.min_length=5"
    done = cli("sample", own_run, "-n", 3)
    assert (done.code, done.err) == (0, f"captioner: warning: 3 of 3 captions are {hint}\n")
    done = cli("sample", own_run, "-n", 1, "--json")
    assert (done.code, done.err) == (0, f"captioner: warning: the caption is {hint}\n")
    assert json.loads(done.out)["caption"] == ""
    assert cli("sample", own_run, "-n", 3, "-o", "decode.min_length=5").err == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_the_next_command(
    terminal: bool, cli: Callable[..., Any], tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    last = f"next: captioner evaluate {tiny_run}\n" if terminal else ""
    assert cli("sample", tiny_run, "-n", "1").err == last
    assert "next: " not in cli("sample", tiny_run, "-n", "1", "--json").err


def test_the_number_of_images(cli: Callable[..., Any], tiny_run: Path) -> None:
    cli("sample", tiny_run, "--split", "").failed(1, "split '': not found; this data set has train, ")
    for number, count in ((["-n", "3"], 3), (["--number", "1000"], 10), ([], 10)):
        assert len(cli("sample", tiny_run, "--json", *number).out.splitlines()) == count


def test_a_run_folder_uses_its_best_checkpoint_which_is_self_contained(cli: Callable[..., Any], own_run: Path) -> None:
    from_file = cli("sample", own_run / "best.h5", "--json").out
    assert cli("sample", own_run, "--json").out == from_file != ""
    alone = (own_run / "best.h5").rename(own_run.parent / "model.h5")
    done = cli("sample", own_run, "--json")
    assert done.code == 0
    assert done.err == f"captioner: warning: {own_run}: no best.h5; using last.h5 (step 8)\n"
    assert cli("sample", own_run / "last.h5", "--json") == (0, done.out, "")
    shutil.rmtree(own_run)
    assert cli("sample", alone, "--json").out == from_file


@pytest.mark.smoke
def test_features_from_a_file(cli: Callable[..., Any], coco_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.h5"
    with h5py.File(path, "w") as file:
        file["features"] = np.zeros((3, 8), np.float32)
    assert cli("sample", coco_run, "--features", path, *SHORT) == (
        0, "".join(f"{row}\ta a a\n" for row in range(3)), ""
    )  # fmt: skip
    line = cli("sample", coco_run, "--features", path, "--json", "-n", "1", *SHORT).out
    assert json.loads(line) == {
        "image": "0", "caption": "a a a", "log_prob": pytest.approx(-3.4963, abs=1e-4), "references": [],
        "correct": None, "familiarity": None, "similarity": 0.0, "marks": [],
        "keywords": [{"word": "猫", "share": 0.6667}],
    }  # fmt: skip


def test_a_split_of_another_data_set(cli: Callable[..., Any], photo_run: Path, tiny_run: Path) -> None:
    data = photo_run.parent / "data.h5"
    done = cli("sample", tiny_run, "--data", data, "--split", "train", "-n", 2, "--json").succeeded()
    with h5py.File(data) as file:
        names, texts = file["train/images"][:2], file["train/texts"][:].tolist()
    records = [json.loads(line) for line in done.out.splitlines()]
    assert [record["image"] for record in records] == [name.decode() for name in names]
    assert all(reference.encode() in texts for record in records for reference in record["references"])


def test_an_interruption_leaves_no_partial_results(
    cli: Callable[..., Any], tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Iterator[Caption]:
        yield Caption("x", "a", -1.0, [], None, [])
        raise KeyboardInterrupt

    monkeypatch.setattr("captioner.captioning.captioner.Captioner.caption_split", interrupted)
    assert cli("sample", tiny_run, "--write", tmp_path / "table.csv").code == 130
    assert os.listdir(tmp_path) == []


def test_training_images_are_captioned_without_their_own_references(cli: Callable[..., Any], photo_run: Path) -> None:
    """By sample and evaluate, with other candidates than those of new images."""
    words = ("--split", "train", "-o", "decode.beam_width=6", "-o", "decode.guidance_weight=30")
    done = cli("sample", photo_run, *words, "--json")
    records = [json.loads(line) for line in done.out.splitlines()]
    options = {"decode.beam_width": 6, "decode.guidance_weight": 30.0}
    evaluated = evaluate_split(*open_captioners([photo_run], options, False, None), "train")
    assert evaluated.scored[0].captions == [record["caption"] for record in records]
    restored = open_run(photo_run, options)
    in_sample = Captioner(restored).caption_split(open_corpus(restored).split("train"))
    assert [caption.text for caption in in_sample] != [record["caption"] for record in records]


def test_flags_of_captions_are_options_of_the_config(cli: Callable[..., Any], own_run: Path) -> None:
    """Two values are an error. A config may have them."""
    one, two = (cli("sample", own_run, "--n-best", number).succeeded().out for number in (1, 2))
    assert cli("sample", own_run, "-o", "caption.n_best=2", "--n-best", 2).succeeded().out == two != one
    for options in (("-o", "caption.n_best=3", "--n-best", 2), ("--n-best", 2, "-o", "caption.n_best=3")):
        refused = cli("sample", own_run, *options)
        assert refused.err == "captioner: -o caption.n_best: --n-best sets it already; use one of them\n"
    saved = checkpoint.load(own_run / "best.h5")
    saved.meta.config["caption.n_best"] = 2
    checkpoint.save(own_run / "best.h5", saved)
    assert cli("sample", own_run).out == two
    longer = ("-o", "decode.length_penalty=0.7")
    assert cli("sample", own_run, *longer).code == 0, "the beam is widened"
    for command in (("evaluate", own_run), ("sample", own_run, "--n-best", 1)):
        cli(*command, *longer).failed(2, "decode.length_penalty: has no effect without")
