"""captioner data: check, card and show, of captions as they are and of data sets."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from captioner.cli.data_summary import card_lines
from captioner.data.prepared import prepared, write_prepared
from captioner.data.summary import card


@pytest.fixture(autouse=True)
def _here(photo_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_coco: Callable[..., Path]) -> None:
    """The current folder has photographs and their captions, the data set made of them, and the assignment's folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photo_run.parent / "photos", "photos")
    shutil.copy(photo_run.parent / "data.h5", "birds.h5")
    write_coco(Path("coco"))


@pytest.fixture
def small_config(small: tuple[str, ...]) -> Path:
    """A config whose scenes are few."""
    lines = [override.removeprefix("data.scenes.").replace("=", ": ") for override in small if "scenes" in override]
    Path("small.yaml").write_text("data:\n  scenes:\n" + "".join(f"    {line}\n" for line in lines))
    return Path("small.yaml")


def masked(text: str) -> str:
    return re.sub(r"scenes-\d+", "scenes-#", text)


# --- check


def test_check_of_captions(cli: Callable[..., Any], golden: Callable[..., None]) -> None:
    done = cli("data", "check", "photos/captions.csv", "--min-count", 1)
    assert (done.code, done.err) == (0, "")
    Path("photos/003.png").unlink()
    with open("photos/captions.csv", "a") as table:
        table.write('003.png,\n"0\n01.png",a dog\n')
    flawed = cli("data", "check", "photos/captions.csv", "--min-count", 1)
    assert flawed.code == 1
    golden("data_check.txt", done.out + flawed.err + flawed.out)


def test_check_as_json(cli: Callable[..., Any]) -> None:
    Path("photos/003.png").unlink()
    done = cli("data", "check", "photos/captions.csv", "--json")
    assert (done.code, done.err) == (1, "captioner: photos/003.png: photograph not found\n")
    told = json.loads(done.out)
    assert told["counts"]["missing"] == 1
    assert sum(split["images"] for split in told["splits"].values()) == 7
    absent = cli("data", "check", "photos/captions.csv", "--images", "nofolder", "--min-count", 1)
    assert (absent.code, absent.err) == (
        1, "captioner: nofolder: folder not found; name the folder of the photographs with --images\n"
    )  # fmt: skip
    assert "photographs missing: 8" in absent.out


@pytest.mark.parametrize("source", ["birds.h5", "coco"])
def test_check_of_a_data_set_is_its_card(source: str, cli: Callable[..., Any]) -> None:
    done = cli("data", "check", source)
    assert (done.code, done.err) == (0, "")
    assert done.out == cli("data", "card", source).out


def test_a_folder_of_photographs_is_no_table(cli: Callable[..., Any]) -> None:
    done = cli("data", "check", "photos")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("captioner: photos: expected a caption file, got a folder; name the file in it ")
    card = cli("data", "card", "photos")
    assert (card.code, card.out) == (2, "")
    assert card.err.endswith("; to check caption files, use `captioner data check`\n")


def test_check_of_a_damaged_file(cli: Callable[..., Any]) -> None:
    content = bytearray(Path("birds.h5").read_bytes())
    content[len(content) // 2] ^= 1
    Path("birds.h5").write_bytes(content)
    for command in (("check",), ("card",), ("show",)):
        done = cli("data", *command, "birds.h5")
        assert (done.code, done.out) == (1, "")
        assert re.fullmatch(r"captioner: \S*birds.h5: damaged: its content does not match its seal; .*\n", done.err)


# --- card


def test_card_of_a_prepared_file(cli: Callable[..., Any], golden: Callable[..., None]) -> None:
    done = cli("data", "card", "birds.h5")
    assert (done.code, done.err) == (0, "")
    golden("data_card.txt", masked(done.out))
    counts = json.loads(cli("data", "card", "birds.h5", "--json").out)
    assert counts.pop("counts")["min_count"] == 1
    assert counts == card(prepared("birds.h5"))


def test_card_of_other_data_sets(cli: Callable[..., Any], small_config: Path) -> None:
    coco = cli("data", "card", "coco", "--json")
    assert (coco.code, coco.err) == (0, "")
    assert {name: split["images"] for name, split in json.loads(coco.out)["splits"].items()} == {"train": 4, "val": 2}
    for source in (["scenes"], []):
        done = cli("data", "card", *source, "-c", small_config)
        assert (done.code, done.err) == (0, "")
        assert re.search(r"\n  images +40 +10 +5 +5\n", done.out)
    assert done.out.startswith("the config's data set\n")


def test_card_of_what_is_no_data_set(cli: Callable[..., Any]) -> None:
    done = cli("data", "card", "photos/captions.csv")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "captioner: photos/captions.csv: expected a file written by `captioner prepare`, a folder of CS231n's "
        "assignment 3, or scenes; to check caption files, use `captioner data check`\n"
    )
    absent = cli("data", "card", "absent.h5")
    assert (absent.code, absent.out) == (1, "")
    assert absent.err == f"captioner: {Path.cwd() / 'absent.h5'}: cannot open the data set: No such file or directory\n"


def test_a_card_of_hostile_names_is_plain_lines(tmp_path: Path, cli: Callable[..., Any]) -> None:
    whole = prepared("birds.h5")
    odd = type(whole)(whole.vocab, whole.splits, "x\n\x1b[2J")
    write_prepared(tmp_path / "odd.h5", odd, {"counts": {"cut": "x"}})
    done = cli("data", "card", "odd.h5")
    assert (done.code, done.err) == (0, "")
    assert all(line.isprintable() for line in done.out.splitlines())
    assert r"by x\n\x1b[2J" in done.out


def test_a_card_tells_what_may_be_wrong() -> None:
    split = {"images": 1, "captions": 2, "words": 30, "shortest": 1, "mean": 2.25, "longest": 9, "unk": 0.0501}
    told: dict[str, Any] = {
        "splits": {"train": split, "a very long name": {**split, "unk": 0.0}},
        "vocabulary": 12_345,
        "counts": {"different": 99_999, "min_count": 5, "cut": 3, "missing": 0, "left_out": 1_000},
        "duplicates": {"images": 4, "examples": [["train: a\n", "val: b"], *[["c", "d"]] * 9]},
    }
    lines = list(card_lines(told, "name"))
    assert lines[1].split() == ["train", "a", "very", "long"]
    assert lines[-6:] == [
        "  vocabulary: 12,345 words of 99,999 in train, seen 5 times or more",
        "  images left out, as they are in no list or their split is empty: 1,000",
        "  captions cut to the longest length: 3",
        "  split 'a very long name' is used by no command unless named",
        r"  the same photograph in two splits: 4 (train: a\n = val: b, c = d, c = d)",
        "  many words are too rare to learn: try a smaller --min-count, or more captions",
    ]
    told["counts"]["min_count"] = 1
    assert list(card_lines(told, "name"))[-1] == "  many words are too rare to learn: try more captions"


def test_a_refusal_is_one_line_whatever_the_name(cli: Callable[..., Any]) -> None:
    done = cli("data", "check", "no\n\x1b[2J\u2028.csv")
    assert done == (1, "", "captioner: no\\n\\x1b[2J\\u2028.csv: cannot be opened: No such file or directory\n")


# --- show


def test_show(cli: Callable[..., Any], golden: Callable[..., None]) -> None:
    done = cli("data", "show", "birds.h5", "-n", 2)
    assert (done.code, done.err) == (0, "")
    golden("data_show.txt", done.out)
    assert cli("data", "show", "birds.h5", "-n", 2, "--seed", 1).out != done.out
    whole = cli("data", "show", "birds.h5", "--split", "val", "-n", 99).out
    assert [line for line in whole.splitlines() if not line.startswith("\t")] == prepared("birds.h5").split(
        "val"
    ).image_ids


def test_show_of_odd_texts_is_one_line_each(cli: Callable[..., Any], tmp_path: Path) -> None:
    with h5py.File("birds.h5") as file:
        names = [name.decode() for name in file["val/images"]]
    whole = prepared("birds.h5")
    val = whole.split("val")
    odd = [f"two\n lines\x1b of {text}" for text in val.texts or ()]
    splits = {
        **whole.splits,
        "val": type(val)(val.captions, val.image_idxs, val.features, [f"{n}\t" for n in names], texts=odd),
    }
    write_prepared(tmp_path / "odd.h5", type(whole)(whole.vocab, splits, whole.encoder), {})
    lines = cli("data", "show", "odd.h5", "--split", "val").out.splitlines()
    assert lines[0] == rf"{names[0]}\t"
    assert lines[1].startswith(r"	two lines\x1b of ")
    assert len(lines) == 6


def test_show_of_other_data_sets(cli: Callable[..., Any], small_config: Path) -> None:
    coco = cli("data", "show", "coco", "-n", 1, "--seed", 0)
    assert (coco.code, coco.err) == (0, "")
    assert re.fullmatch(r"train-0000\d\n(\t.+\n){3}", coco.out)
    scenes = cli("data", "show", "scenes", "-c", small_config, "--split", "heldout", "-n", 1)
    assert re.fullmatch(r"heldout-0000\d\n(\t.+\n){5}", scenes.out)
    done = cli("data", "show", "coco", "--split", "dev")
    assert (done.code, done.err) == (1, "captioner: split 'dev': not found; this data set has train, val\n")


def test_a_page(cli: Callable[..., Any], small_config: Path) -> None:
    folder = str(prepared("birds.h5").about["images"])
    without = cli("data", "show", "birds.h5", "-n", 3, "--html", "without.html")
    told = f"3 of 3 photographs not found; name their folder with --images, as in --images {folder}"
    assert without == (0, "", f"captioner: {told}\nwithout.html: written\n")
    assert "data:image" not in Path("without.html").read_text()
    done = cli("data", "show", "birds.h5", "-n", 3, "--html", "birds.html", "--images", folder)
    assert done == (0, "", "birds.html: written\n")
    page = Path("birds.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 3
    again = cli("data", "show", "birds.h5", "--html", "birds.html")
    assert (again.code, again.err) == (
        2, "captioner: birds.html: exists already; name another file, or replace it with --overwrite\n"
    )  # fmt: skip
    assert Path("birds.html").read_text() == page
    moved = cli("data", "show", "birds.h5", "-n", 2, "--html", "birds.html", "--overwrite", "--images", "coco")
    assert moved == (
        0,
        "",
        "captioner: 2 of 2 photographs not found; name their folder with --images\nbirds.html: written\n",
    )
    assert Path("birds.html").read_text().count("the photograph is not there") == 2
    options = ("-o", "data.source=prepared", "-o", "data.root=birds.h5")
    assert cli("data", "show", *options, "-n", 3, "--html", "config.html", "--images", folder).code == 0
    assert Path("config.html").read_text().count("data:image/jpeg;base64,") == 3
    assert cli("data", "show", "scenes", "-c", small_config, "-n", 2, "--html", "scenes.html").code == 0
    assert Path("scenes.html").read_text().count("data:image/png;base64,") == 2
