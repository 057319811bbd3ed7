"""The teacher's page: five submissions are graded as it says, by its commands, and its own exercise is one."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pages import COURSE, blocks, page_commands

(PAGE,) = (page for page in COURSE if page.name == "teaching.md")
PLAIN = (PAGE.parent / "plain.py").read_text()
ORDERED = PLAIN.replace("a_i, a_f, a_o, a_g = ", "a_f, a_i, a_o, a_g = ").replace("[da_i, da_f,", "[da_f, da_i,")
SUBMISSIONS = {
    "perfect": PLAIN,
    "half": PLAIN.replace("dWh = prev_h.T @ da", "dWh = x.T @ da").replace("da_f = dc *", "da_f = -dc *"),
    "order": ORDERED,
    "exits": "exit(0)\n",
    "imports": "from captioner.cs231n import *\n",
}
COMMANDS = [words for words in page_commands(PAGE) if words[0] == "captioner"]
COMMANDS += [shlex.split(block) for block in blocks(PAGE, "text") if block.startswith("captioner ")]
Grade = Callable[[list[str]], subprocess.CompletedProcess[str]]


@pytest.fixture
def grade(tmp_path: Path, shell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Grade:
    """Run a command of the page in a folder with the submissions."""
    monkeypatch.chdir(tmp_path)
    for name, text in SUBMISSIONS.items():
        (tmp_path / "submissions" / name).mkdir(parents=True)
        (tmp_path / "submissions" / name / "cell.py").write_text(text)

    def run(words: list[str]) -> subprocess.CompletedProcess[str]:
        files = sorted(map(str, Path().glob(words[-1])))
        done: subprocess.CompletedProcess[str] = shell(*words[1:-1], *files)
        return done

    return run


def test_five_submissions_have_the_grades_of_the_page(grade: Grade) -> None:
    done = grade(COMMANDS[0])
    assert done.returncode == 1, done.stderr
    assert done.stdout in blocks(PAGE, "text")
    records = [json.loads(line) for line in Path("grades.jsonl").read_text().splitlines()]
    scores = {Path(record["extra_data"]["file"]).parent.name: record["score"] for record in records}
    assert scores == {"exits": 0, "half": 3, "imports": 0, "order": 2, "perfect": 6}
    for record in records:
        assert record["score"] == sum(test["score"] for test in record["tests"])
        assert [test["max_score"] for test in record["tests"]] == [1, 1, 2, 2]
        assert all(("FAIL" in test["output"]) == (test["status"] == "failed") for test in record["tests"])
    (table,) = (block for block in blocks(PAGE, "text") if block.startswith("import json"))
    printed = subprocess.run([sys.executable, "-c", table], check=True, capture_output=True, text=True).stdout
    assert printed.splitlines() == [f"{name},{float(score)}" for name, score in sorted(scores.items())]
    assert "rnn_step_backward" in Path("submissions/half/feedback.txt").read_text()


def test_another_gate_order_makes_published_code_wrong(grade: Grade) -> None:
    (cases,) = blocks(PAGE, "python")
    Path("cases.py").write_text(cases)
    loop = ORDERED[ORDERED.index("\ndef lstm_forward") : ORDERED.index("\ndef affine_forward")]
    Path("submissions/imports/cell.py").write_text(f"import numpy as np\nfrom captioner.cs231n import *\n{loop}")
    done = grade(COMMANDS[-1])
    points = {line.split("/")[1]: line.split()[1] for line in done.stdout.splitlines() if line.startswith("submi")}
    assert points == {"exits": "0/4", "half": "0/4", "imports": "0/4", "order": "4/4", "perfect": "0/4"}
    passed = grade([*("lstm" if word == "lstm_step,lstm" else word for word in COMMANDS[-1][:-1]), "*/imports/cell.py"])
    assert passed.returncode == 0, passed.stdout  # the steps that it imports have the other order, too


@pytest.mark.parametrize(("name", "score"), [("perfect", 6), ("order", 2)])
def test_the_script_for_gradescope_writes_its_results(name: str, score: int, grade: Grade, tmp_path: Path) -> None:
    (script,) = (block for block in blocks(PAGE, "text") if block.startswith("#!"))
    (tmp_path / "submissions" / name).rename(tmp_path / "submission")
    (tmp_path / "results").mkdir()
    script = script.replace("/opt/lab/bin/captioner", f"{shlex.quote(sys.executable)} -m captioner")
    done = subprocess.run(["bash", "-c", script.replace("/autograder", str(tmp_path))], check=True, capture_output=True)
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results["score"] == score, done.stderr
    assert {test["status"] for test in results["tests"]} <= {"passed", "failed"}
