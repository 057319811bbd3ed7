"""captioner caption: lines and records of photographs and folders, unreadable files, encoders and ensembles."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx_models import model
from scene_photos import by_image


def test_a_model_of_scenes_warns_once_about_photographs(
    cli: Callable[..., Any], tiny_run: Path, new_folder: Path
) -> None:
    done = cli("caption", "new", "--model", tiny_run)
    assert (done.code, len(done.out.splitlines())) == (0, 5)
    assert done.err == (
        f"captioner: warning: {tiny_run}/best.h5 was trained on generated scenes of coloured shapes, so its captions "
        "do not describe photographs; train on photographs with captions: captioner prepare --help\n"
    )


@pytest.mark.smoke
def test_a_folder_is_captioned_in_order(cli: Callable[..., Any], photo_run: Path, new_captions: dict[str, str]) -> None:
    done = cli("caption", "new", "--model", photo_run).succeeded()
    assert list(by_image(done.out).items()) == list(new_captions.items())
    several = cli("caption", "new/074.png", "new", "new/070.png", "--model", photo_run)
    assert [line.split("\t")[0] for line in several.out.splitlines()] == ["new/074.png", *[*new_captions][:4]], (
        "each once"
    )
    assert list(by_image(cli("caption", "new", "--model", photo_run, "-n", 2).out)) == list(new_captions)[:2]
    for name in (
        "new/a10.png",
        "new/a2.png",
        "new/a2b.png",
        "new/b٣.png",
        "new/b12.png",
        "new/10/1.png",
        "new/9/2.png",
    ):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copy("new/070.png", name)
    ordered = ["new/9/2.png", "new/10/1.png", *new_captions, "new/a2.png", "new/a2b.png", "new/a10.png"]
    assert list(by_image(cli("caption", "new", "--model", photo_run, "-n", 10).out)) == ordered


def test_an_unreadable_photograph_is_skipped(
    cli: Callable[..., Any], photo_run: Path, new_captions: dict[str, str]
) -> None:
    Path("new/072.png").write_bytes(b"no photograph")
    Path("empty").mkdir()
    done = cli("caption", "empty", "new", "no\n.png", "--model", photo_run)
    assert done.code == 1
    assert list(by_image(done.out).items()) == [
        (path, text) for path, text in new_captions.items() if "072" not in path
    ]
    lines = done.err.splitlines()
    assert len(lines) == 4
    assert lines[0] == "captioner: empty: expected photographs in this folder, got none"
    assert lines[1].startswith("captioner: new/072.png: expected a photograph")
    assert lines[2] == rf"captioner: no\n.png: not found; expected a photograph; relative names start at {Path.cwd()}"
    assert lines[3] == r"captioned: 4; unreadable: 3 (empty, new/072.png, no\n.png)"


def test_unusual_names_are_escaped(cli: Callable[..., Any], photo_run: Path, new_captions: dict[str, str]) -> None:
    names = ["new/a\nb.png", "new/a\tb.png", "new/\x1b[2J.png", "new/\udcff.png", "new/猫 .png", "new/ a.png"]
    for name in names:
        shutil.copy("new/070.png", name)
    done = cli("caption", *names, "--model", photo_run).succeeded()
    shown = [r"new/a\nb.png", r"new/a\tb.png", r"new/\x1b[2J.png", r"new/\udcff.png", *names[4:]]
    assert by_image(done.out) == dict.fromkeys(shown, new_captions["new/070.png"])
    lines = cli("caption", *names, "--model", photo_run, "--json").out.splitlines()
    assert [json.loads(line)["image"] for line in lines] == names


def test_candidates_follow_the_caption(cli: Callable[..., Any], photo_run: Path, new_folder: Path) -> None:
    command = ("caption", "new", "--model", photo_run, "--n-best", 3)
    done = cli(*command)
    assert done.code == 0
    lines = done.out.splitlines()
    records = [json.loads(line) for line in cli(*command, "--json").out.splitlines()]
    assert len(lines) == 3 * len(records) == 15
    for record, first, *others in zip(records, lines[::3], lines[1::3], lines[2::3], strict=True):
        candidates = record["candidates"]
        assert candidates[0] == {"caption": record["caption"], "log_prob": record["log_prob"]}
        assert [one["log_prob"] for one in candidates] == sorted((one["log_prob"] for one in candidates), reverse=True)
        best, *less = [one["caption"] for one in candidates]
        assert first == f"{record['image']}\t{best}"
        assert others == [f"\t{text}\trank {rank}" for rank, text in enumerate(less, 2)]
    assert "candidates" not in json.loads(cli("caption", "new/070.png", "--model", photo_run, "--json").out)


def test_an_ensemble_captions_photographs(
    cli: Callable[..., Any], photo_run: Path, new_captions: dict[str, str]
) -> None:
    done = cli("caption", "new", "--ensemble", "--model", photo_run, "--model", photo_run / "best.h5").succeeded()
    assert list(by_image(done.out).items()) == list(new_captions.items())


def test_photographs_given_to_sample_are_an_error_with_the_command_that_captions_them(
    cli: Callable[..., Any], photo_run: Path, new_folder: Path
) -> None:
    cli("sample", photo_run, "new", "a b.jpg").failed(2, f"captioner caption new 'a b.jpg' --model {photo_run}\n")
    models = f"--model {photo_run} --model {photo_run}/best.h5 --ensemble\n"
    cli("sample", "--ensemble", photo_run, photo_run / "best.h5", "a.HEIC").failed(2, f"caption a.HEIC {models}")
    cli("sample", "a.png").failed(2, "captioner caption a.png\n")


@pytest.mark.smoke
def test_a_users_onnx_encoder(
    cli: Callable[..., Any], small_model: tuple[str, ...], album: Callable[..., Path], new_folder: Path
) -> None:
    """The ONNX file is found beside the data set from any current folder."""
    home = Path("home")
    table = album(home / "photos")
    (home / "net.onnx").write_bytes(model(shape=("n", 3, 8, 8)))
    net = ("--encoder", "onnx:home/net.onnx:mean=127.5:scale=127.5", "--min-count", "1")
    assert cli("prepare", table, "--output", "home/birds.h5", *net).code == 0
    trained = cli("train", "--data", "home/birds.h5", *small_model, "-o", "train.epochs=1")
    assert trained.code == 0
    done = cli("caption", "new", "--model", "runs/birds").succeeded()
    assert len(by_image(done.out)) == 5
    (home / "net.onnx").rename("moved.onnx")
    cli("caption", "new", "--model", "runs/birds").failed(
        2, "runs/birds/best.h5: encoder onnx:net.onnx not found; try --encoder onnx:FILE"
    )
