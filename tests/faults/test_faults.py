"""Run every part of the fault suite at a small size: no fault escapes, and disabled safeguards are detected."""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import faults.__main__ as program
from captioner.errors import ConfigError, DataError
from captioner.storage import hdf5 as h5
from faults import (
    costs,
    disks,
    killed,
    materials,
    numbers,
    photographs,
    replaced,
    report,
    resealed,
    sealed,
    stopped,
    texts,
    users,
    versions,
    watch,
)
from faults.session import ROOT, Session, row
from faults.watch import ESCAPED, Outcome, Tally, classify

IN_PROCESS = (
    "sealed",
    "resealed",
    "users",
    "texts",
    "captions",
    "tensors",
    "models",
    "photographs",
    "numbers",
    "resumed",
)
"""Parts that start no command-line subprocess."""


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path, share=0.005)


@pytest.mark.parametrize("part", IN_PROCESS)
def test_no_fault_escapes(part: str, session: Session) -> None:
    rows = [found for found in program.PARTS[part](session) if "fault" in found]
    assert rows
    for found in rows:
        assert found["trials"] > 0
        assert found["escaped"] == 0, found["notes"]


def test_killed_and_stopped_runs_resume_bit_identical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopped, "PROMPT", 60.0)  # the real bound is for `make faults` on an idle machine
    rng = np.random.default_rng(0)
    expected = killed.uninterrupted(tmp_path / "uninterrupted", killed.STEPS)
    assert {outcome.kind for outcome in killed.one_run(tmp_path / "killed", expected, rng)} <= {"resumed bit-identical"}
    expected = stopped.uninterrupted(tmp_path / "again", stopped.STEPS, stopped.SELDOM)
    for outcome in (
        stopped.stop_and_resume(tmp_path / "stopped", expected, rng),
        stopped.stop_at_the_end(tmp_path / "e", rng),
    ):
        assert outcome.kind not in ESCAPED, outcome


@pytest.mark.parametrize("name", [name for name, case in disks.CASES.items() if case is not disks.full_disk])
def test_disk_failure_is_reported_in_one_line(name: str, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == 0 and folder != Path("/tmp"):
            folder.chmod(0o755)  # an unprivileged user must be able to reach the run folder
    outcome = disks.CASES[name](tmp_path / "run", np.random.default_rng(1))
    assert outcome.kind == "reported, checkpoint valid", outcome


def test_backwards_clock_does_not_change_the_result(tmp_path: Path) -> None:
    expected = disks.uninterrupted(tmp_path / "uninterrupted", 12)
    assert disks.backwards(tmp_path / "back", expected) == Outcome("bit-identical")


def test_file_system_without_locks_does_not_change_the_result(tmp_path: Path) -> None:
    expected = disks.uninterrupted(tmp_path / "uninterrupted", 12)
    assert disks.without_locks(tmp_path / "unlocked", expected) == Outcome("one warning, bit-identical")


@pytest.mark.parametrize("how", replaced.CASES)
def test_replaced_run_folder_stops_training(how: str, tmp_path: Path) -> None:
    expected = replaced.uninterrupted(tmp_path / "uninterrupted", replaced.STEPS, (*replaced.OPTIONS, replaced.SECOND))
    outcome = replaced.replaced(how, tmp_path / "run", expected, 1, np.random.default_rng(0))
    assert outcome.kind == "stopped, files not mixed", outcome


HERE = Path(sys.executable)


@pytest.mark.parametrize("files", ["checkpoints", "interrupted prepare, encoder onnx"])
def test_files_are_readable_in_another_environment(files: str, tmp_path: Path) -> None:
    album = versions.make_album(tmp_path / "album")
    assert versions.trial(files, HERE, HERE, album, tmp_path / "run") == Outcome("read by the other")


# Tests of the suite itself: it detects failures.


@dataclass(frozen=True)
class Bad:
    """A trial whose outcome depends on its number."""

    def __call__(self, number: int) -> Outcome:
        match number:
            case 1:
                import os

                os._exit(3)
            case 3:
                time.sleep(60)
            case 4:
                raise RuntimeError("a bug in the suite")
            case 5:
                return Outcome("refused", str(bytearray(600 << 20)[:1]))
        return Outcome("refused")


def test_crashes_hangs_and_high_memory_are_counted_and_other_trials_run() -> None:
    tally = watch.run(Bad(), 8, workers=2, patience=2.0)
    assert tally.counts == {"crashed": 1, "hung": 1, "traceback": 1, "greedy": 1, "refused": 4}
    assert tally.escaped == 4
    assert len(tally.notes) == 4


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> object:
        raise error

    return act


def with_invalid_message(error: Exception) -> Exception:
    """Give the error a two-line message, which captioner never produces."""
    error.args = ("a: two\nlines",)
    return error


def test_a_decoder_that_raises_other_errors_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "decode", lambda *_: raising(ValueError("of a decoder"))())
    assert photographs.Damaged(("PNG",), 0)(1).kind == "traceback"


ATTEMPTS = {
    "refused": raising(DataError("a: one line")),
    "messy": raising(with_invalid_message(DataError())),
    "traceback": raising(ValueError("of a library")),
    "silent": lambda: "changed",
    "harmless": lambda: "same",
}


@pytest.mark.parametrize("kind", ATTEMPTS)
def test_outcome_is_classified(kind: str) -> None:
    assert classify(ATTEMPTS[kind], lambda value: value == "same", DataError).kind == kind


def test_unexpected_error_type_is_a_traceback() -> None:
    assert classify(ATTEMPTS["refused"], lambda value: True, ConfigError).kind == "traceback"


def test_disabled_seal_check_is_detected(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = session.folder("files")
    one, other = (materials.make_prepared(folder / f"{seed}.h5", seed) for seed in (0, 1))
    read, content, _ = sealed.READERS["data set"]
    trial = sealed.Damaged("data set", one, (other,), content(read(one)), 0)
    monkeypatch.setattr("captioner.storage.sealed.Seal.raise_damaged", lambda seal, path: None)
    assert "silent" in {trial(number).kind for number in range(60)}


def test_disabled_external_storage_check_is_detected(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h5, "_check_storage", lambda plan, where: h5.h5d.CHUNKED + 1)
    monkeypatch.setattr(h5, "_check_whole", lambda *_: None)
    assert users.Hostile(session.scratch, 0)(list(users.CHANGES).index("external storage")).kind == "silent"


def test_misread_yaml_integer_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.config.values.INTEGER", texts.re.compile(r"[-+]?[0-9]+"))
    assert texts.attempt(b"seed: 017", tmp_path / "a.yaml").kind == "silent"


@pytest.mark.parametrize(
    ("name", "check", "disabled"),
    [
        ("a gradient", "_not_finite", lambda arrays: ""),
        ("a parameter", "_not_finite", lambda arrays: ""),
        ("a parameter", "check_finite", lambda *arguments: None),
        ("a feature", "_diagnosis", lambda step, *_: f"step {step}: diverged; try"),
    ],
)
def test_missing_divergence_check_or_message_is_detected(
    name: str, check: str, disabled: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"captioner.training.solver.{check}", disabled)
    assert numbers.Planted(tmp_path, 0)(list(numbers.PLANTS).index(name)).kind in ESCAPED


NO_LOCK_CHECK = """
from captioner.training.folder_lock import FolderLock
FolderLock.check_not_moved = lambda *_: None
from captioner.cli import main
main()
"""


def test_disabled_folder_lock_check_is_detected(tmp_path: Path) -> None:
    expected = replaced.uninterrupted(tmp_path / "uninterrupted", replaced.STEPS, (*replaced.OPTIONS, replaced.SECOND))
    every = replaced.SAVE_EVERY[-1]
    outcome = replaced.replaced("moved", tmp_path / "run", expected, every, np.random.default_rng(0), NO_LOCK_CHECK)
    assert outcome.kind in ESCAPED, outcome


def cut_short(written: versions.Written) -> versions.Written:
    written.path.write_bytes(written.path.read_bytes()[:-9])
    return written


def without_encodings(written: versions.Written) -> versions.Written:
    written.path.with_name(f"{written.path.name}.part").unlink()
    return written


CHANGED: dict[str, tuple[str, Callable[[versions.Written], versions.Written], str]] = {
    "cut short": ("checkpoints", cut_short, "damaged"),
    "other content": ("checkpoints", lambda written: written._replace(content="other"), "other content"),
    "encodings missing": ("interrupted prepare, encoder scenes", without_encodings, "was encoded again"),
    "file missing": ("data sets, encoder scenes", lambda w: w._replace(path=w.path.with_name("no.h5")), "not found"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_unreadable_file_of_another_environment_is_detected(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, change, message = CHANGED[name]
    write, read = versions.FILES[files]
    monkeypatch.setattr(versions, "FILES", {files: (lambda *args: change(write(*args)), read)})
    outcome = versions.trial(files, HERE, HERE, versions.make_album(tmp_path / "album"), tmp_path / "run")
    assert outcome.kind == "wrong"
    assert message in outcome.note


def test_failed_pip_install_is_noted(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"INDEX_URL": "http://127.0.0.1:9/", "RETRIES": "0", "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    assert list(versions.measure(session)) == []
    (note,) = session.notes
    assert note.startswith("versions: not tried, since pip could not install numpy, click, h5py, ")


def test_minimum_versions_are_parsed_from_setup_cfg(tmp_path: Path) -> None:
    lowest = versions.lowest_versions(versions.declared())
    core, photographs = {"numpy", "click", "h5py", "tqdm", "pyyaml"}, {"pillow", "onnxruntime", "threadpoolctl"}
    assert lowest.keys() == {*core, *photographs, "jinja2", "starlette", "uvicorn"}
    (tmp_path / "setup.cfg").write_text(
        "[options]\ninstall_requires =\n    a-b>=1.10\n    a-b>=1.9; python_version >= '3.13'\n"
        "[options.extras_require]\nimages =\n    c >= 3\n    c>=3.5; python_version >= '3.13'\n    d==4\n"
        "report =\nweb =\n"
    )
    requirements = versions.declared(tmp_path / "setup.cfg")
    assert versions.lowest_versions(requirements, "3.11") == {"a-b": "1.10", "c": "3"}
    assert versions.lowest_versions(requirements, "3.13") == {"a-b": "1.10", "c": "3.5"}


def test_every_hostile_change_modifies_the_file(session: Session) -> None:
    folder = session.folder("files")
    files = {
        "checkpoint": materials.make_run(folder / "run") / "last.h5",
        "data set": materials.make_prepared(folder / "d.h5"),
    }
    for kind, whole in files.items():
        image = whole.read_bytes()[resealed.SIZE :]
        for name, (change, floats) in resealed.CHANGES[kind].items():
            made = resealed.hostile.apply(image, change, np.random.default_rng(0), str(folder / "victim"), floats)
            assert made != image, name
        again = folder / "again.h5"
        same = resealed.hostile.apply(image, lambda target: None, np.random.default_rng(0), "")
        again.write_bytes(resealed.sealed(same, resealed.SEALS[kind]))
        read, content, _ = sealed.READERS[kind]
        assert content(read(again)) == content(read(whole)), "resealing without a change must preserve the content"


# Report and exit code


def test_reliability_page_matches_the_results() -> None:
    results = json.loads((ROOT / "faults" / "results.json").read_text())
    page = (ROOT / "docs" / "reliability.md").read_text()
    assert f"{report.BEGIN}\n{report.render(results)}\n{report.END}" in page, "run `make faults`"
    assert results["share"] == 1
    assert not report.escaped(results)


@pytest.mark.parametrize(("kind", "code"), [("refused", 0), ("silent", 1)])
def test_exit_code_is_1_if_a_fault_escapes(
    kind: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = Tally()
    tally.add(7, Outcome(kind, "so"))
    monkeypatch.setitem(program.PARTS, "sealed", lambda session: iter([row("a", "b", tally)]))
    output = tmp_path / "results.json"
    done = CliRunner().invoke(program.main, ["--only", "sealed", "--share", "0.01", "--output", str(output)])
    assert done.exit_code == code
    assert json.loads(output.read_text())["rows"][0]["trials"] == 1
    assert ("Escaped: a: trial 7: silent: so" in done.output) == bool(code)


def test_figure_above_its_bound_is_reported() -> None:
    figure = {"what": "a", "got": 2.0, "most": 1.0, "unit": "s"}
    assert report.escaped({"rows": [figure]})
    assert "**missed**" in report.line(figure)  # type: ignore[arg-type]


def test_cost_figures_are_positive(session: Session) -> None:
    figures = list(costs.measure(session))
    assert [figure["got"] > 0 for figure in figures] == [True] * 3
