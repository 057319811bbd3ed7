"""captioner export and card, and the commands that accept a model file; make caption."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.smoke
def test_a_model_file_captions_photographs(
    cli: Callable[..., Any], photo_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("export", photo_run, "--output", "birds.h5", "--license", "mit", "--terms", " ").succeeded()
    assert re.fullmatch(r"birds\.h5: [\d,]+ parameters, 0\.\d MB\n", done.out)
    photo = photo_run.parent / "photos" / "000.png"
    assert cli("caption", photo, "--model", "birds.h5") == cli("caption", photo, "--model", photo_run)
    ensemble = cli("caption", photo, "--ensemble", "--model", photo_run, "--model", "birds.h5")
    assert (ensemble.code, ensemble.out.split("\t")[0]) == (0, str(photo))
    cli("caption", photo, "birds.h5").failed(2, f"did you mean captioner caption {photo} --model birds.h5?")
    card = cli("card", "birds.h5").succeeded().out
    assert "\ndecoder: lstm, 16 units\n" in card
    assert re.search(r"\nscores \(val\): perplexity [\d.]+.*\nlicense: mit\nterms: not stated; ask", card)


def test_a_model_file_is_evaluated_on_a_data_set_and_reported(
    cli: Callable[..., Any], photo_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("export", photo_run, "--output", "birds.h5").code == 0
    data = photo_run.parent / "data.h5"
    done = cli("evaluate", "birds.h5", "--data", data, "--json")
    record, of_run = json.loads(done.out), json.loads(cli("evaluate", photo_run, "--json").out)
    assert (record["name"], record["bleu1"]) == ("birds.h5", of_run["bleu1"])
    assert cli("evaluate", "birds.h5", "-o", f"data.root={data}", "--json").out == done.out
    for command in ("evaluate", "sample"):
        cli(command, "birds.h5").failed(
            1, "birds.h5: has no data set; set one with --data FILE, or name photographs for captioner caption\n"
        )
    cli("inspect", "gradients", "birds.h5").failed(1, "has no data set; set one with -o data.root=FILE\n")
    assert cli("inspect", "gradients", "birds.h5", "-o", f"data.root={data}", "--word", 2).code == 0


def test_a_run_can_start_from_a_model_file(
    cli: Callable[..., Any], small_options: Sequence[str], tiny_run: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert cli("export", tiny_run, "--output", "birds.h5", "--license", "cc-by-nc-4.0").code == 0
    done = cli("train", *small_options, "-otrain.max_steps=2", "-otrain.init_from=birds.h5", "--run", "fine")
    assert done.code == 0, done.err
    assert "starts from " in done.err
    shop = cli("export", "fine", "--output", "shop.h5", "--license", "mit")
    assert "warning: made from birds.h5 (license: cc-by-nc-4.0; terms: not stated): their licenses" in shop.err
    assert "\nmade from: birds.h5 (license: cc-by-nc-4.0; terms: not stated)\n" in cli("card", "fine").out


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("a.npz", "", "a.npz: expected a name that ends in .h5"),
        ("a.h5", "--license a|b", "--license a|b: expected an identifier such as cc-by-4.0"),
        ("a.h5", "-o model.decoder=rnn", "model.decoder has no effect on export; it uses decode.*"),
        ("a.h5", "-o decode.max_length=0", "expected an integer >= 1 and <= 1000, got 0"),
    ],
)
def test_wrong_exports(
    name: str, words: str, expected: str, tiny_run: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    cli("export", tiny_run, *words.split(), "--output", tmp_path / name).failed(2, expected)
    assert not (tmp_path / name).exists()


def make(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "--silent", "caption", *words], cwd=ROOT, capture_output=True, text=True)


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@needs_make
def test_make_caption_installs_first(tmp_path: Path) -> None:
    done = make("--dry-run", "PHOTO=my photo.jpg", f"VENV={tmp_path / 'venv'}")
    assert done.returncode == 0, done.stderr
    (install,) = (line for line in done.stdout.splitlines() if "pip install" in line)
    assert install.endswith("--editable '.[images,web]'")


TABLE = "next, a table with keywords, for spreadsheets: {1} -m captioner caption '{0}' --write captions.csv"
FAILED = "make caption: errors are reported above; the next line is from make"


@needs_make
@pytest.mark.parametrize(
    ("name", "hints"),
    [("my $a.jpg", ["next: make caption PHOTO=FOLDER, or make serve (a web page)"]), ("my folder", [TABLE]),
     ("bad folder", [TABLE, FAILED]), ("bad empty", [FAILED]), ("bad.jpg", [FAILED])],
)  # fmt: skip
def test_make_caption_shows_the_columns_and_what_to_do_next(name: str, hints: list[str], tmp_path: Path) -> None:
    """The Python of the environment prints its arguments, and fails for names with `bad`."""
    photo, program = tmp_path / name, tmp_path / "bin" / "python"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "[%s]" "$@"; echo\ncase "$4" in *bad*) exit 1; esac\n')
    program.chmod(0o755)
    (photo.touch if photo.suffix else photo.mkdir)()
    if "folder" in name:
        (photo / "a.jpg").touch()
    (tmp_path / "web").touch()  # newer than setup.cfg: nothing is installed
    done = make(f"PHOTO={photo}", f"VENV={tmp_path}")
    assert done.returncode == (2 if "bad" in name else 0)
    assert done.stdout == f"[-m][captioner][caption][{photo}][--album][none]\n"
    lines = [line for line in done.stderr.splitlines() if "***" not in line]
    assert lines == [line.format(photo, program) for line in ("photograph, caption, marks", *hints)]
    of_run = make(f"PHOTO={photo}", f"VENV={tmp_path}", f"MODEL={tmp_path}")
    assert of_run.stdout == f"[-m][captioner][caption][{photo}][--album][none][--model][{tmp_path}]\n"


@needs_make
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["PHOTO=no"], "no: not found; expected a photograph or a folder of photographs; quote names with spaces: "
         "PHOTO=\"my photo.jpg\"; in quotes, write $HOME for ~"),
        (["PHOTO=README.md", "MODEL=nowhere"], "nowhere: not found; expected a run folder or a model file"),
    ],
)  # fmt: skip
def test_make_caption_checks_its_arguments_first(words: list[str], message: str, tmp_path: Path) -> None:
    done = make(f"VENV={tmp_path / 'venv'}", *words)
    assert done.returncode == 2
    assert f"{message}; the next line is from make\n" in done.stderr
    assert not (tmp_path / "venv").exists()
