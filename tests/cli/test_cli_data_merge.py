"""captioner prepare --shard and captioner data merge."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.data.prepared import SEAL, prepared

SCENES = ("--encoder", "scenes", "--min-count", 1, "--val", 0.25)


@pytest.fixture(autouse=True)
def _here(album: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has a folder of photographs with captions."""
    monkeypatch.chdir(tmp_path)
    album(Path("photos"))


def prepare_shards(cli: Callable[..., Any], parts: int, *options: object) -> list[str]:
    names = [f"part{number}.h5" for number in range(1, parts + 1)]
    for number, name in enumerate(names, 1):
        shard = ("--shard", f"{number}/{parts}")
        assert cli("prepare", "photos/captions.csv", "--output", name, *SCENES, *shard, *options).code == 0
    return names


@pytest.mark.smoke
def test_merged_shards_are_the_whole(cli: Callable[..., Any]) -> None:
    names = prepare_shards(cli, 3)
    whole = cli("prepare", "photos/captions.csv", "--output", "whole.h5", *SCENES)
    done = cli("data", "merge", *reversed(names), "--output", "all.h5")
    assert (done.code, done.err) == (0, "next: captioner train -c photos --data all.h5\n")
    assert done.out == whole.out.replace("whole.h5", "all.h5")
    assert Path("all.h5").read_bytes() == Path("whole.h5").read_bytes()
    again = cli("data", "merge", *names, "--output", "all.h5", "--overwrite", "--json")
    assert json.loads(again.out) == json.loads(cli("data", "summary", "whole.h5", "--json").out)


def test_a_shard_is_described(cli: Callable[..., Any]) -> None:
    done = cli("prepare", "photos/captions.csv", "--output", "part.h5", *SCENES, "--shard", "2/2")
    assert "  shard 2/2 of the photographs; join all with captioner data merge\n" in done.out
    assert done.err.splitlines()[-1] == "next: prepare all shards from 1/2 to 2/2, then captioner data merge"
    assert cli("data", "summary", "part.h5").out == done.out


@pytest.mark.parametrize("shard", ["0/4", "5/4", "x", "1/", "/4", ""])
@pytest.mark.parametrize("command", ["prepare photos/captions.csv --output x.h5", "sample runs/none photos"])
def test_invalid_shards(command: str, shard: str, cli: Callable[..., Any]) -> None:
    cli(*command.split(), "--shard", shard).failed(
        2, f"--shard {shard}: expected I/N with I from 1 to N, such as 2/4 for the second of four parts"
    )


def test_more_shards_than_photographs(cli: Callable[..., Any]) -> None:
    done = cli("prepare", "photos/captions.csv", "--output", "x.h5", *SCENES, "--shard", "9/9")
    assert (done.code, done.err) == (
        2, "captioner: --shard 9/9: expected at most one shard per image, got 8 images; use fewer shards\n"
    )  # fmt: skip
    assert not Path("x.h5").exists()


def test_problems_are_one_line_each(cli: Callable[..., Any]) -> None:
    first, *_ = prepare_shards(cli, 4)
    done = cli("data", "merge", first, "absent.h5", "photos/captions.csv", "--output", "all.h5")
    assert (done.code, done.out) == (1, "")
    absent, table, missing = done.err.splitlines()
    assert absent.startswith("captioner: absent.h5: not found; expected a data set from `captioner prepare`; ")
    assert table.startswith("captioner: photos/captions.csv: not a captioner data set; expected a file that ")
    assert missing == "captioner: expected all shards from 1/4 to 4/4; missing: 2/4, 3/4, 4/4"
    nothing = cli("data", "merge", "--output", "all.h5")
    assert (nothing.code, nothing.err) == (
        2,
        "captioner: Missing argument 'FILE...'; see captioner data merge --help\n",
    )


def test_complete_data_sets(cli: Callable[..., Any], album: Callable[..., Path]) -> None:
    album(Path("more"), 4, first=20)
    Path("more/023.png").write_bytes(Path("photos/000.png").read_bytes())
    for folder, name in (("photos", "a.h5"), ("more", "b.h5")):
        assert cli("prepare", f"{folder}/captions.csv", "--output", name, *SCENES, "--regions").code == 0
    done = cli("data", "merge", "a.h5", "b.h5", "--output", "all.h5")
    assert (done.code, done.err) == (0, "next: captioner train -c photos-attention --data all.h5\n")
    assert done.out.splitlines()[-1] == "  photographs that are in two files: 1 (a.h5: 000.png = b.h5: 023.png)"
    assert sum(len(split.image_ids) for split in prepared("all.h5").splits.values()) == 12


def test_words_that_are_not_known_are_a_warning(cli: Callable[..., Any]) -> None:
    for number, name in enumerate(("a", "b")):
        sentences = [{"raw": "A rare-bird", "tokens": ["a", "rare", "bird"]}, {"raw": "a dog"}, {"raw": "a dog"}]
        images = [{"filename": f"00{number}.png", "split": "train", "imgid": 0, "sentences": sentences}]
        Path(f"photos/{name}.json").write_text(json.dumps({"images": images}))
        options = ("--output", f"{name}.h5", "--encoder", "scenes", "--min-count", 2)
        assert cli("prepare", f"photos/{name}.json", *options).code == 0
    done = cli("data", "merge", "a.h5", "b.h5", "--output", "all.h5")
    assert done.code == 0
    assert done.err.startswith("captioner: warning: 2 captions keep <UNK>: their caption file had tokens, and a data ")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_an_interruption_leaves_no_file(cli: Callable[..., Any], tmp_path: Path) -> None:
    names = prepare_shards(cli, 2)
    code = (
        "import os, signal, sys\nfrom captioner.data import read_back\nfrom captioner.cli import main\n"
        "add = read_back.VerifyingWriter.add_rows\n"
        "def interrupted(*args):\n    add(*args)\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "read_back.VerifyingWriter.add_rows = interrupted\nmain(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, "data", "merge", *names, "--output", "all.h5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, "\ncaptioner: interrupted\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part1.h5", "part2.h5", "photos"]
    assert SEAL.matches("part1.h5")
