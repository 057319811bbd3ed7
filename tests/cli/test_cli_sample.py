"""captioner sample: captions of splits and features, as text, JSON lines and files, and by several runs."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scene_photos import by_image

from captioner.inference.caption import Caption, to_record
from captioner.inference.load import captioner_of, open_corpus, open_run
from captioner.storage import checkpoint

SHORT = ("-o", "decode.max_length=3")


@pytest.mark.smoke
def test_text(cli: Callable[..., Any], coco_run: Path, golden: Callable[..., None]) -> None:
    done = cli("sample", coco_run, *SHORT).succeeded()
    golden("sample.txt", done.out)


SAMPLING = (*SHORT, "-o", "decode.method=sampling", "-o", "decode.temperature=1.5", "-o", "decode.seed=4")


@pytest.mark.smoke
def test_samples(cli: Callable[..., Any], coco_run: Path, golden: Callable[..., None]) -> None:
    done = cli("sample", coco_run, "--n-best", 3, *SAMPLING).succeeded()
    golden("sample_sampling.txt", done.out)
    records = [
        json.loads(line) for line in cli("sample", coco_run, "--n-best", 3, "--json", *SAMPLING).out.splitlines()
    ]
    assert [line.split("\t")[1] for line in done.out.splitlines() if "\t  " not in line] == [
        one["caption"] for record in records for one in record["candidates"]
    ]


def test_json_lines(cli: Callable[..., Any], coco_run: Path) -> None:
    done = cli("sample", coco_run, "--json", "--split", "train", "-n", "2", *SHORT).succeeded()
    restored = open_run(coco_run, ["decode.max_length=3"])
    captions = captioner_of(restored).caption_split(open_corpus(restored).split("train"), 2)
    assert [json.loads(line) for line in done.out.splitlines()] == [to_record(caption) for caption in captions]
    assert list(json.loads(done.out.splitlines()[0])) == ["image", "caption", "log_prob", "references", "true"]


def test_text_marks_true_captions(cli: Callable[..., Any], tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = [Caption("x", "a b", -1.234, ["c", "d"], true, []) for true in (True, False, None)]
    monkeypatch.setattr("captioner.inference.captioner.Captioner.caption_split", lambda *_: iter(captions))
    lines = cli("sample", tiny_run).out.splitlines()
    assert lines[::3] == ["x\ta b\t-1.23\ttrue", "x\ta b\t-1.23\tnot true", "x\ta b\t-1.23"]
    assert lines[1:3] == ["\t  c", "\t  d"]


def test_the_number_of_images(cli: Callable[..., Any], tiny_run: Path) -> None:
    for number, count in ((["-n", "3"], 3), (["--number", "1000"], 10), ([], 10)):
        assert len(cli("sample", tiny_run, "--json", *number).out.splitlines()) == count


def test_a_run_folder_uses_its_best_checkpoint(cli: Callable[..., Any], own_run: Path) -> None:
    from_file = cli("sample", own_run / "best.h5", "--json").out
    assert cli("sample", own_run, "--json").out == from_file != ""
    (own_run / "best.h5").unlink()
    done = cli("sample", own_run, "--json")
    assert done.code == 0
    assert done.err == f"captioner: warning: {own_run}: no best.h5; using last.h5 (step 8)\n"
    named = cli("sample", own_run / "last.h5", "--json")
    assert named == (0, done.out, "")


def test_a_checkpoint_is_self_contained(cli: Callable[..., Any], own_run: Path, tmp_path: Path) -> None:
    expected = cli("sample", own_run, "--json").out
    alone = (own_run / "best.h5").rename(tmp_path / "model.h5")
    for left in own_run.iterdir():
        left.unlink()
    assert cli("sample", alone, "--json").out == expected


@pytest.mark.smoke
def test_features_from_a_file(cli: Callable[..., Any], coco_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.h5"
    with h5py.File(path, "w") as file:
        file["features"] = np.zeros((3, 8), np.float32)
    assert cli("sample", coco_run, "--features", path, *SHORT) == (
        0, "".join(f"{row}\ta a a\t-3.50\n" for row in range(3)), ""
    )  # fmt: skip
    line = cli("sample", coco_run, "--features", path, "--json", "-n", "1", *SHORT).out
    assert json.loads(line) == {
        "image": "0", "caption": "a a a", "log_prob": pytest.approx(-3.4963, abs=1e-4), "references": [], "true": None
    }  # fmt: skip


ONE_INPUT = "photographs, --split (with or without --data) and --features exclude each other; use one of them"
INVALID = {
    "--features new.h5 --split train": ONE_INPUT,
    "a.png --split train": ONE_INPUT,
    "a.png --features new.h5": ONE_INPUT,
    "--data new.h5 --features new.h5": ONE_INPUT,
    "--data new.h5 a.png": ONE_INPUT,
    "new/070.png --overwrite": "--overwrite needs --write-sidecar, --coco or --attention",
    "a.png --coco no/results.json": "no/results.json: folder not found: no",
    "--write-sidecar .txt": "--write-sidecar, --encoder and --encoder-option need photographs",
    "--split train --encoder scenes": "--write-sidecar, --encoder and --encoder-option need photographs",
    "a.png --write-sidecar txt": "--write-sidecar txt: expected a suffix such as .txt",
    "a.png --write-sidecar .": "--write-sidecar .: expected a suffix such as .txt",
    **{
        f"a.png --write-sidecar {suffix} --overwrite": f"--write-sidecar {suffix}: expected a suffix such as .txt"
        for suffix in (".PNG", ".heic", ".HEIF", ".hif", ".cr2", ".NEF", ".dng", ".jxl", ".raw", ".tif")
    },
    "a.png --n-best 0": "Invalid value for '--n-best': 0 is not in the range 1<=x<=100; see captioner sample --help",
}

INVALID |= {
    "-o decode.suppress_words=a,dg": "decode.suppress_words: expected words of the vocabulary, got dg",
    "-o decode.top_k=5": (
        "-o decode.top_k=5: decode.top_k: has no effect without decode.method sampling "
        "(set that, or leave this at null)"
    ),
    "-o decode.min_length=31": "-o decode.min_length=31: decode.min_length: expected at most decode.max_length",
}


@pytest.mark.parametrize("words", INVALID)
def test_invalid_options(words: str, cli: Callable[..., Any], coco_run: Path) -> None:
    assert cli("sample", coco_run, *words.split()) == (2, "", f"captioner: {INVALID[words]}\n")


def test_references_of_several_lines_are_printed_in_one(
    cli: Callable[..., Any], tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions = [Caption("a\nb", "c", -1.0, ["two\n lines", "an\x1b[2J escape"], None, [("c", -1.0), ("d", -2.5)])]
    monkeypatch.setattr("captioner.inference.captioner.Captioner.caption_split", lambda *_: iter(captions))
    assert cli("sample", tiny_run).out.splitlines() == [
        r"a\nb	c	-1.00", "\td\t-2.50", "\t  two lines", "\t  an\\x1b[2J escape"
    ]  # fmt: skip


def test_constraints(cli: Callable[..., Any], coco_run: Path) -> None:
    def caption(*options: str) -> Any:
        words = [word for option in options for word in ("-o", f"decode.{option}")]
        return json.loads(cli("sample", coco_run, "-n", 1, "--json", *words).out)

    assert caption("no_repeat_ngram=1", "min_length=2")["caption"] == "a café"
    assert caption("suppress_words=a,猫", "min_length=2", "max_length=2")["caption"] == "café café"
    wide = caption("beam_width=3", "length_penalty=1.0", "max_length=4")
    assert (wide["caption"], wide["log_prob"]) == ("a a a a", pytest.approx(4 * -3.4963 / 3, abs=1e-3))


def test_an_ensemble_averages_word_probabilities(
    cli: Callable[..., Any], coco_run: Path, tiny_run: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(coco_run, tmp_path / "other"))
    saved = checkpoint.load(other / "best.h5")
    saved.params["b_vocab"][[4, 5]] = 0, 3
    checkpoint.save(other / "best.h5", saved)
    alone = [json.loads(cli("sample", run, "-n", 1, "--json", *SHORT).out) for run in (coco_run, other)]
    assert [one["caption"] for one in alone] == ["a a a", "café café café"]
    for names in ((coco_run, other), (other, coco_run / "best.h5")):
        done = cli("sample", "--ensemble", *names, "-n", 1, "--json", *SHORT).succeeded()
        both = json.loads(done.out)
        assert both["caption"] == "café café café"
        chances = 1 / (np.e + 6), np.exp(3) / (np.exp(3) + 6)
        assert both["log_prob"] == pytest.approx(3 * np.log(np.mean(chances)), abs=1e-4)
    cli("sample", "--ensemble", coco_run, tiny_run).failed(
        1, f"{tiny_run}/best.h5: vocabulary: expected the 7 words of {coco_run}/best"
    )


def test_several_runs_need_ensemble(cli: Callable[..., Any], tiny_run: Path) -> None:
    done = cli("sample", tiny_run, tiny_run / "last.h5")
    message = "captioner: got 2 runs; name one, or average their word probabilities with --ensemble\n"
    assert done == (2, "", message)


def test_a_split_of_another_data_set(cli: Callable[..., Any], photo_run: Path, tiny_run: Path, tmp_path: Path) -> None:
    data = photo_run.parent / "data.h5"
    done = cli("sample", tiny_run, "--data", data, "--split", "train", "-n", 2, "--json").succeeded()
    with h5py.File(data) as file:
        names, texts = file["train/images"][:2], file["train/texts"][:].tolist()
    records = [json.loads(line) for line in done.out.splitlines()]
    assert [record["image"] for record in records] == [name.decode() for name in names]
    assert all(reference.encode() in texts for record in records for reference in record["references"])
    cli("sample", photo_run, "--data", tmp_path).failed(
        2, f"{tmp_path}: expected a file written by `captioner prepare`, a folder"
    )


def test_coco_results(cli: Callable[..., Any], photo_run: Path, new_captions: dict[str, str]) -> None:
    shutil.move("new/071.png", "new/COCO_val2014_000000000071.png")
    Path("new/072.png").write_bytes(b"no photograph")
    done = cli("sample", photo_run, "new", "--coco", "results.json", "--write-sidecar", ".txt")
    assert done.code == 1, "results are written for the readable photographs"
    expected = [
        (image if "071" not in image else 71, text) for image, text in new_captions.items() if "072" not in image
    ]
    found = json.loads(Path("results.json").read_text())
    assert sorted(((one["image_id"], one["caption"]) for one in found), key=str) == sorted(expected, key=str)
    kept = cli("sample", photo_run, "new", "--coco", "results.json")
    assert kept == (
        2, "", "captioner: results.json: exists already; name another file, or replace it with --overwrite\n"
    )  # fmt: skip
    assert cli("sample", photo_run, "new/070.png", "--coco", "results.json", "--overwrite").code == 0
    assert json.loads(Path("results.json").read_text()) == [
        {"image_id": "new/070.png", "caption": new_captions["new/070.png"]}
    ]


def test_coco_results_need_unique_image_ids(
    cli: Callable[..., Any], photo_run: Path, new_captions: dict[str, str]
) -> None:
    names = [f"new/{number}_000000000007.png" for number in (1, 2)]
    for name in names:
        shutil.copy("new/070.png", name)
    done = cli("sample", photo_run, *names, "--coco", "results.json")
    assert (done.code, len(done.out.splitlines())) == (1, 2)
    assert done.err == "captioner: results.json: expected unique image ids, got 7 twice\n"
    assert not Path("results.json").exists()


def test_a_photograph_that_is_given_twice_has_one_coco_result(
    cli: Callable[..., Any], photo_run: Path, new_captions: dict[str, str]
) -> None:
    done = cli("sample", photo_run, "new/070.png", "./new/070.png", "--coco", "results.json")
    assert (done.code, done.err, len(done.out.splitlines())) == (0, "", 2)
    assert [entry["image_id"] for entry in json.loads(Path("results.json").read_text())] == ["new/070.png"]


def test_an_interruption_leaves_no_partial_results(
    cli: Callable[..., Any], tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Iterator[Caption]:
        yield Caption("x", "a", -1.0, [], None, [])
        raise KeyboardInterrupt

    monkeypatch.setattr("captioner.inference.captioner.Captioner.caption_split", interrupted)
    assert cli("sample", tiny_run, "--coco", tmp_path / "results.json").code == 130
    assert os.listdir(tmp_path) == []


def test_sidecars(cli: Callable[..., Any], photo_run: Path, new_captions: dict[str, str]) -> None:
    Path("new/072.txt").write_text("existing")
    done = cli("sample", photo_run, "new", "--write-sidecar", ".txt")
    assert done.code == 0
    assert done.err == ("captioner: 1 sidecar exists already, not replaced; --overwrite replaces existing files\n")
    assert by_image(done.out) == new_captions, "captions without a sidecar are printed too"
    for path, text in new_captions.items():
        expected = "existing" if "072" in path else f"{text}\n"
        assert Path(path).with_suffix(".txt").read_text() == expected
    kept = cli("sample", photo_run, "new", "--write-sidecar", ".txt")
    assert (kept.code, kept.out) == (0, done.out)
    assert kept.err == "captioner: 5 sidecars exist already, not replaced; --overwrite replaces existing files\n"
    cli("sample", photo_run, "new", "--write-sidecar", ".txt", "--overwrite").succeeded()
    assert Path("new/072.txt").read_text() == f"{new_captions['new/072.png']}\n"
    assert len(os.listdir("new")) == 10
    shutil.copy("new/070.png", "new/071.jpg")
    clash = cli("sample", photo_run, "new", "--write-sidecar", ".txt", "--overwrite")
    assert clash.code == 1
    assert clash.err == (
        "captioner: new/071.txt: new/071.jpg and new/071.png have the same sidecar; rename one of the photographs\n"
    )
    assert Path("new/071.txt").read_text() == f"{new_captions['new/070.png']}\n"
