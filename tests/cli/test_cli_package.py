"""captioner package, card and models."""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from packaged import bird_package, birds, install

from captioner.errors import pip_command
from captioner.inference.find_checkpoint import find_checkpoint

__all__ = ["bird_package", "birds"]
ROOT = Path(__file__).parents[2]


@pytest.mark.smoke
def test_a_packaged_model_captions_photographs_by_name(
    cli: Callable[..., Any], photo_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("package", photo_run, "--output", "birds", "--name", "my-birds", "--version", "1.2")
    assert done.code == 0
    assert done.out.startswith("birds: my-birds 1.2, ")
    assert done.err == f"try: {pip_command('birds')} && captioner sample my-birds photo.jpg\n"
    photo = photo_run.parent / "photos" / "000.png"
    expected = cli("sample", photo_run, photo)
    assert cli("sample", "birds", photo) == expected
    monkeypatch.syspath_prepend(tmp_path / "site")
    install(tmp_path / "birds", tmp_path / "site")
    assert cli("sample", "my-birds", photo) == expected
    ensemble = cli("sample", "--ensemble", "my-birds", photo_run, photo)
    assert (ensemble.code, ensemble.out.split("\t")[0]) == (0, str(photo))
    listed = json.loads(cli("models", "--json").out)
    assert (listed["name"], listed["version"], listed["encoder"]) == ("my-birds", "1.2", "scenes-1")
    assert listed["size"] == find_checkpoint(Path("birds")).stat().st_size


@pytest.fixture
def install_run(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Package a run as the model `birds`, and install it; the current folder is temporary."""
    monkeypatch.chdir(tmp_path)

    def call(run: Path, *options: str) -> None:
        cli("package", run, "--output", "model", "--name", "birds", *options)
        monkeypatch.syspath_prepend(tmp_path / "site")
        install(tmp_path / "model", tmp_path / "site")

    return call


def test_an_installed_model_is_evaluated_on_a_data_set(
    cli: Callable[..., Any], photo_run: Path, install_run: Callable[..., None]
) -> None:
    install_run(photo_run)
    data = photo_run.parent / "data.h5"
    done = cli("evaluate", "birds", "--data", data, "--json")
    record, of_run = json.loads(done.out), json.loads(cli("evaluate", photo_run, "--json").out)
    assert (record["name"], record["bleu1"]) == ("birds", of_run["bleu1"])
    assert cli("evaluate", "birds", "-o", f"data.root={data}", "--json").out == done.out
    assert cli("inspect", "gradients", "birds", "-o", f"data.root={data}", "--word", "2").code == 0
    for command in ("evaluate", "sample"):
        cli(command, "birds").failed(1, "models have no data set; name it with --data FILE, or give photographs\n")


def test_models_are_listed(cli: Callable[..., Any], birds: Path) -> None:
    done = cli("models").succeeded()
    name, version, encoder, size, description = done.out.rstrip("\n").split("\t")
    assert (name, version, encoder, size) == ("birds", "1.0.0", "scenes-1", "0.0 MB")
    assert description.startswith("LSTM image captioner; ")
    (birds / "model.json").write_text("{}")
    cli("models").failed(1, "captioner: model birds: ")


def test_without_models_the_list_is_empty(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.inference.find_checkpoint.installed_names", list)
    done = cli("models")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("no models are installed; ")


def test_the_card_of_a_package_is_printed_as_packaged(cli: Callable[..., Any], birds: Path) -> None:
    done = cli("card", "birds").succeeded()
    assert done.out == (birds / "card.md").read_text()
    message = "birds: a model package has its card; to change it, use captioner package"
    cli("card", "birds", "--license", "mit").failed(2, message)
    (birds / "card.md").unlink()
    cli("card", "birds").failed(1, "card.md: not found")


def test_options_of_a_card_and_blank_ones(cli: Callable[..., Any], tiny_run: Path, tmp_path: Path) -> None:
    plain = cli("card", tiny_run).succeeded()
    assert cli("card", tiny_run, "--data-terms", "", "--dataset", " ") == plain
    (tmp_path / "commands.txt").write_text("captioner train --run runs/birds\n")
    card = cli("card", tiny_run, "--data-terms", "CC BY 4.0", "--made-with", tmp_path / "commands.txt").out
    assert "Terms: CC BY 4.0" in card
    assert "```console\ncaptioner train --run runs/birds\n```" in card


def test_overrides_of_decoding_are_packaged_and_others_refused(
    cli: Callable[..., Any], tiny_run: Path, tmp_path: Path
) -> None:
    words = ("package", tiny_run, "--output", tmp_path / "model")
    cli(*words, "-o", "model.decoder=rnn").failed(2, "model.decoder has no effect on package")
    done = cli(*words, "-o", "decode.beam_width=4", "-o", "decode.consensus=3")
    assert done.code == 0
    assert done.err.startswith("captioner: warning: decode.consensus: set to 0 (was 3); ")
    assert "beam search of width 4" in cli("card", tmp_path / "model").out


def test_an_unknown_name_is_answered_in_one_line(cli: Callable[..., Any], birds: Path) -> None:
    for words in (("sample", "birdz"), ("evaluate", "birdz"), ("card", "birdz"), ("package", "birdz", "--output", "x")):
        cli(*words).failed(1, "or an installed model (birds); did you mean birds?\n")


def make(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "--silent", "caption", *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_caption_installs_the_package_and_captions_the_photograph(bird_package: Path, tmp_path: Path) -> None:
    done = make("--dry-run", f"MODEL={bird_package}", "PHOTO=my photo.jpg", f"VENV={tmp_path / 'venv'}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    first, second = (line for line in lines if "pip install" in line)
    assert first.endswith("--editable '.[images,web]'")
    assert second.endswith('"$(realpath "$MODEL")"')
    assert lines[-2].endswith(f'esac; {tmp_path / "venv"}/bin/captioner sample "$MODEL" "$PHOTO" ')
    assert any(line.startswith('echo "make: installing in ') for line in lines)
    assert "log-probability" in lines[-3]
    assert "next: make caption PHOTO=FOLDER" in lines[-1]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_caption_prints_keywords_of_the_model_of_the_repository(tmp_path: Path) -> None:
    lines = make("--dry-run", "PHOTO=my.jpg", f"VENV={tmp_path / 'venv'}").stdout.splitlines()
    assert lines[-2].endswith(" --keywords 3")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected a photograph; try make caption PHOTO=my.jpg"),
        (["PHOTO=nowhere.jpg"], "nowhere.jpg: not found; expected a photograph or a folder of photographs"),
        (["PHOTO=README.md", "MODEL=nowhere"], "nowhere: not found; expected the folder of a model package"),
    ],
)
def test_make_caption_checks_its_arguments_first(words: list[str], message: str, tmp_path: Path) -> None:
    done = make(f"VENV={tmp_path / 'venv'}", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_run_can_start_from_an_installed_model(
    cli: Callable[..., Any], small_options: Sequence[str], tiny_run: Path, install_run: Callable[..., None]
) -> None:
    install_run(tiny_run, "--license", "cc-by-nc-4.0")
    done = cli("train", *small_options, "-otrain.max_steps=2", "-otrain.init_from=birds", "--run", "fine")
    assert done.code == 0, done.err
    assert "initialized from " in done.err
    packaged = cli("package", "fine", "--output", "shop", "--license", "mit")
    assert (
        "made from birds (license: cc-by-nc-4.0; terms: not stated): their licenses and terms apply too" in packaged.err
    )
    card = cli("card", "fine").out
    assert "Made, directly or through other models, from: birds (license: cc-by-nc-4.0; terms: not stated)." in card
    Path("birds").mkdir()  # an existing path takes precedence, also if it is no model
    failed = cli("train", *small_options, "-otrain.init_from=birds", "--run", "other")
    failed.failed(1, "birds: no checkpoint found")
