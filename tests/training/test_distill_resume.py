"""A student or a generation of captions that was interrupted continues and equals an uninterrupted one."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoint_arrays import assert_same_arrays
from distilling import BEAM, STUDENT, captions_of

from captioner.errors import CheckpointError, UsageError
from captioner.inference.load import open_run
from captioner.storage import checkpoint
from captioner.training import distill as distillation
from captioner.training import teacher_captions
from captioner.training.distill import distill
from captioner.training.resume import resume
from captioner.training.run_folder import RunFolder
from captioner.training.solver import Step


def stopper(calls: int) -> Callable[[], bool]:
    """A `stop` that is true from a number of calls on."""
    counts = iter(range(10**6))
    return lambda: next(counts) >= calls


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode a few images at a time, so that a generation can be interrupted."""
    monkeypatch.setattr("captioner.inference.captioner.BATCH", 24)


@pytest.mark.parametrize("calls", [2, 5])
def test_a_resumed_student_equals_an_uninterrupted_one(calls: int, student: Callable[..., Path], teacher: Path) -> None:
    whole = student("whole")
    stopped = student("stopped", stop=stopper(calls), captions=whole, teacher_overrides=())
    shutil.rmtree(teacher)
    list(resume(stopped))
    assert_same_arrays(stopped, whole)
    assert (stopped / "captions.h5").read_bytes() == (whole / "captions.h5").read_bytes()


def test_a_student_killed_between_checkpoints_equals_an_uninterrupted_one(
    student: Callable[..., Path], teacher: Path, tmp_path: Path
) -> None:
    whole, killed = student("whole", "train.save_every=2"), tmp_path / "killed"
    events = distill([teacher], killed, (*STUDENT, "train.save_every=2"), BEAM)
    for event in events:
        if isinstance(event, Step) and event.step == 5:
            events.close()  # type: ignore[attr-defined]
            break
    assert checkpoint.load(killed / "last.h5").meta.step == 4
    list(resume(killed))
    assert_same_arrays(killed, whole)
    steps = [[line for line in read_history(run) if line["kind"] == "step"] for run in (killed, whole)]
    assert steps[0] == steps[1]


def read_history(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("ending", ["stopped", "killed"])
def test_an_interrupted_generation_continues_with_the_same_command(
    ending: str, student: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = student("whole")
    if ending == "killed":
        monkeypatch.setattr(distillation, "SAVE_SECONDS", 0)
        monkeypatch.setattr(RunFolder, "discard_previous", lambda self: pytest.fail("no checkpoint yet"))
        with monkeypatch.context() as patch:
            real = teacher_captions.generate

            def killed(*args: Any) -> Iterator[Any]:
                yield from (part for part, _ in zip(real(*args), range(2), strict=False))
                raise KeyboardInterrupt

            patch.setattr(teacher_captions, "generate", killed)
            with pytest.raises(KeyboardInterrupt):
                student("other")
        monkeypatch.undo()
        monkeypatch.setattr("captioner.inference.captioner.BATCH", 24)
    else:
        student("other", stop=stopper(1))
    partial = teacher_captions.load(whole.parent / "other" / "captions.h5")
    assert 0 < partial.done < partial.total == 40
    with pytest.raises(CheckpointError, match=r"repeat that command to continue$"):
        list(resume(whole.parent / "other"))
    with pytest.raises(CheckpointError, match="expected the captions of all 40 training images, got "):
        student("third", captions=whole.parent / "other", teacher_overrides=())
    other = student("other")
    assert_same_arrays(other, whole)
    assert captions_of(other, open_run(whole).vocab) == captions_of(whole, open_run(whole).vocab)


@pytest.mark.usefixtures("small_batches")
def test_an_interrupted_generation_is_not_lost_to_other_options(student: Callable[..., Path]) -> None:
    run = student("other", stop=stopper(1))
    content = (run / "captions.h5").read_bytes()
    for change in (["data.max_train=60"], []):
        options = BEAM if change else ("decode.beam_width=4",)
        with pytest.raises(
            UsageError, match=r"captions\.h5: contains captions of other teachers, decoding options or da"
        ):
            student("other", *change, teacher_overrides=options)
        assert (run / "captions.h5").read_bytes() == content
    student("other", "data.max_train=60", overwrite=True)
    found = teacher_captions.load(run / "captions.h5")
    assert found.done == found.total < 40


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("earlier", ["interrupted", "finished"])
def test_a_kill_while_the_folder_is_prepared_again_loses_no_captions(
    earlier: str, student: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"overwrite": True} if earlier == "finished" else {}
    run = student("other") if options else student("other", stop=stopper(1))
    captions = teacher_captions.load(run / "captions.h5")
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write", lambda *_: pytest.fail("killed before config.yaml is written"))
        with pytest.raises(pytest.fail.Exception, match="killed"):
            student("other", **options)
    assert teacher_captions.load(run / "captions.h5").done == captions.done
    real = teacher_captions.generate

    def generate(teacher: Any, data: Any, done: int, ranks: Any) -> Iterator[Any]:
        assert done == captions.done
        yield from real(teacher, data, done, ranks)

    monkeypatch.setattr(teacher_captions, "generate", generate)
    student("other")
    assert (run / "best.h5").exists()
