"""Files that open but fail to read (EIO, EAGAIN): one line names them, and other photographs are still processed."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BROKEN = Path("/proc/self/mem")
"""A regular file of size 0; reading its first byte fails with EIO."""


@pytest.fixture(autouse=True)
def _here(photo_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(photo_run.parent, tmp_path / "all")
    monkeypatch.chdir(tmp_path / "all")
    for name in ("broken.h5", "broken.jpg", "broken.csv", "broken.json", "broken.yaml", "photos/003.png"):
        Path(name).unlink(missing_ok=True)
        Path(name).symlink_to(BROKEN)
    Path("broken").mkdir()
    Path("broken/coco2014_vocab.json").symlink_to(BROKEN)
    for name in ("captions.h5", "train2014_vgg16_fc7_pca.h5", "val2014_vgg16_fc7_pca.h5"):
        Path("broken", name.replace("captions", "coco2014_captions")).symlink_to(BROKEN)


INPUTS = (
    "sample broken.h5",
    "caption photos --model run --encoder onnx:broken.h5",
    "evaluate --captions broken.json --references photos/captions.csv",
    "train --data broken.h5 --run new",
    "train -o data.source=cs231n -o data.root=broken --run new",
    "prepare photos/captions.csv --output new.h5 --list val=broken.csv",
    "prepare photos/captions.csv --output new.h5 --features broken.h5",
    "config show -c broken.yaml",
)


@pytest.mark.parametrize("command", INPUTS)
def test_an_unreadable_file_is_named(command: str, cli: Callable[..., Any]) -> None:
    done = cli(*command.split())
    (name,) = set(re.findall(r"broken[.\w]*", command))
    done.failed(done.code, "broken/coco2014_vocab.json" if name == "broken" else name)
    assert done.code in (1, 2)
    assert re.search("Input/output error|Invalid argument", done.err)  # HDF5 seeks the end first
    assert not done.err.startswith("captioner: output")


def test_an_unreadable_history_is_named(cli: Callable[..., Any]) -> None:
    Path("run/history.jsonl").unlink()
    Path("run/history.jsonl").symlink_to(BROKEN)
    done = cli("train", "--resume", "run", "-o", "train.max_steps=3")
    assert done == (1, "", "captioner: run/history.jsonl: cannot be read: Input/output error\n")


def test_the_other_photographs_are_prepared(cli: Callable[..., Any]) -> None:
    done = cli("prepare", "photos/captions.csv", "--output", "new.h5", "--encoder", "scenes", "--min-count", "1")
    assert done.code == 1
    assert "unreadable photographs: 1" in done.out
    assert "captioner: photos/003.png: cannot be read: Input/output error" in done.err.splitlines()
    assert Path("new.h5").exists()


@pytest.mark.parametrize(
    "name",
    [str(BROKEN), "/proc/self/attr/current", "/sys/kernel/notes", "/dev/null", "/proc/self/clear_refs"],
)
def test_special_files_are_no_photographs_and_others_are_captioned(name: str, cli: Callable[..., Any]) -> None:
    done = cli("caption", name, "photos/000.png", "--model", "run")
    assert done.code == 1
    assert [line.split("\t")[0] for line in done.out.splitlines()] == ["photos/000.png"]
    *errors, count = done.err.splitlines()
    assert all(line.startswith(f"captioner: {name}") for line in errors)
    assert (count, len(errors)) == (f"captioned: 1; unreadable: 1 ({name})", 1)
