"""Distillation: teachers, captions of an earlier distillation, and the command."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import assert_same_arrays, contents, history, summary

from captioner.cli.progress import show
from captioner.config.yaml_io import parse
from captioner.data.corpus import Corpus
from captioner.data.vocabulary import Vocab
from captioner.errors import CaptionerError, CheckpointError, ConfigError, UsageError
from captioner.inference.caption import CaptionOptions
from captioner.inference.captioner import Captioner
from captioner.inference.load import open_corpus, open_run
from captioner.inference.reranker_index import build_index, index_rows
from captioner.inference.restore import Restored
from captioner.storage import checkpoint
from captioner.training import distill as distillation
from captioner.training import teacher_captions
from captioner.training.distill import distill
from captioner.training.events import Captioned
from captioner.training.resume import resume
from captioner.training.run_folder import RunFolder
from captioner.training.solver import Step
from captioner.training.teacher_captions import build_training_corpus
from captioner.training.train import train

BEAM = ("decode.beam_width=6", "decode.consensus=300", "decode.max_length=8")
STUDENT = ("train.batch_size=16", "train.log_every=1", "train.epochs=2", "validate.score_every=null")
STUDENT += ("validate.best_metric=loss",)


def randomize(run: Path, seed: int = 0, scale: float = 1) -> Path:
    """Give a run large random parameters, so that the captions of images differ."""
    saved, rng = checkpoint.load(run / "best.h5"), np.random.default_rng(seed)
    for array in saved.params.values():
        array[...] = scale * rng.standard_normal(array.shape)
    saved.params["b_vocab"][2] += 3 * scale  # <END>
    checkpoint.save(run / "best.h5", saved)
    return run


@pytest.fixture
def teacher(own_run: Path) -> Path:
    """The folder of a teacher whose captions differ."""
    return randomize(own_run)


@pytest.fixture
def student(teacher: Path, tmp_path: Path) -> Callable[..., Path]:
    """Distills a student in a new folder, by default from `teacher`, and returns the folder."""

    def run(name: str, *overrides: str, teachers: Sequence[Path] = (), **arguments: Any) -> Path:
        arguments.setdefault("teacher_overrides", () if arguments.get("captions") else BEAM)
        list(distill(teachers or [teacher], tmp_path / name, (*STUDENT, *overrides), **arguments))
        return tmp_path / name

    return run


def captions_of(run: Path, vocab: Vocab) -> list[list[str]]:
    """The teacher captions of each image, best first."""
    a = teacher_captions.load(run / "captions.h5").arrays
    words = iter(np.split(a["words"], np.cumsum(a["lengths"])[:-1]))
    return [[" ".join(vocab.decode(next(words).tolist())) for _ in range(count)] for count in a["counts"]]


def test_the_run_records_its_teachers_and_trains_like_any_other(
    student: Callable[..., Path], teacher: Path, cli: Callable[..., Any]
) -> None:
    run = student("student")
    assert open_run(run).config.train.init_from == teacher
    digest = (teacher / "best.h5").read_bytes().partition(b"\n")[0].split()[-1].decode()
    (recorded,) = summary(run)["teachers"]
    assert (recorded["name"], recorded["checkpoint"], recorded["decode"]["beam_width"]) == ("run", digest, 6)
    assert str(teacher).encode() not in (run / "captions.h5").read_bytes()
    evaluated = cli("evaluate", run, "--json")
    assert evaluated.code == 0
    assert json.loads(evaluated.out).keys() >= {"bleu4", "cider_d"}


def test_captions_of_an_earlier_distillation_are_used_again(
    student: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = student("first")
    monkeypatch.setattr(teacher_captions, "generate", lambda *_: pytest.fail("generated again"))
    for captions in (first, first / "captions.h5"):
        again = student("again", "distill.captions_per_image=5", captions=captions, overwrite=True)
        assert (again / "captions.h5").read_bytes() == (first / "captions.h5").read_bytes()
    student("first", "train.epochs=1", overwrite=True)  # in the same folder without --captions
    list(resume(again, ["train.epochs=3"]))


def test_an_ensemble_of_two_writes_its_own_captions(
    student: Callable[..., Path], teacher: Path, tmp_path: Path
) -> None:
    other = randomize(Path(shutil.copytree(teacher, tmp_path / "other-teacher")), seed=1)
    alone, both = student("alone"), student("both", teachers=[teacher, other])
    vocab = open_run(alone).vocab
    assert captions_of(alone, vocab) != captions_of(both, vocab)
    assert [recorded["name"] for recorded in summary(both)["teachers"]] == ["run", "other-teacher"]
    student("again", captions=both)  # one of the teachers is enough
    with pytest.raises(CheckpointError, match=r"expected captions of .*other-teacher/best.h5, got those of run; name"):
        student("wrong", teachers=[other], captions=alone)


@pytest.mark.parametrize(
    "options",
    [
        ("model.decoder=rnn", "model.image_input=first"),
        ("model.decoder=gru", "model.image_input=every", "data.standardize=true"),
        ("model.attention=adaptive", "model.attention_dim=8", "train.captions_per_image=3"),
    ],
)
def test_every_model_can_teach_itself(options: Sequence[str], small: Sequence[str], tmp_path: Path) -> None:
    list(train(parse("", "", [*small, *options, "train.max_steps=2"]), tmp_path / "run"))
    teacher = randomize(tmp_path / "run", scale=0.1)
    for name, more in (("same", ()), ("new", ("train.init_from=null", "model.decoder=lstm", "model.attention=none"))):
        list(distill([teacher], tmp_path / name, (*STUDENT, *more, "train.max_steps=2"), BEAM))
        list(resume(tmp_path / name, ["train.max_steps=3"]))


def test_prepared_photographs(photo_run: Path, tmp_path: Path) -> None:
    list(distill([photo_run], tmp_path / "student", ["train.max_steps=2"], ["decode.beam_width=3"]))
    assert (tmp_path / "student" / "best.h5").exists()


def test_images_of_another_training_split_are_recognized_by_their_features(student: Callable[..., Path]) -> None:
    run = student("student", "data.max_train=9")
    assert 1 <= teacher_captions.load(run / "captions.h5").total <= 9


def test_the_whole_command(teacher: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    run = tmp_path / "student"
    options = [f"--set={option}" for option in STUDENT]
    done = cli("distill", teacher, "--run", run, "--teacher-set", "decode.beam_width=4", *options)
    assert done.code == 0
    assert done.err.splitlines()[:2] == [
        "teacher run: 40 training images to caption, 0 done; beam width 4",
        "scenes: train 40 images 120 captions, val 10 images 50 captions, test 5 images 25 captions, heldout 5 images "
        "25 captions; 41 words",
    ]
    assert done.err.count("perplexity are those of the reference captions") == 1
    resumed = cli("train", "--resume", run)
    assert resumed.code == 0
    assert "nothing left to do" in resumed.err
    again = cli("distill", teacher, "--run", run)
    assert (again.code, again.err) == (
        2,
        "captioner: distill.captions_per_image: expected at most the beam width of run, 1, got 3; "
        "try --teacher-set decode.beam_width=10, or -o distill.captions_per_image=1\n",
    )


def test_progress_of_the_teachers(capsys: pytest.CaptureFixture[str]) -> None:
    show(iter([Captioned(Path("run"), n, 4, ["a", "b"], 10) for n in (0, 2, 4)]))
    show(iter([Captioned(Path("run"), 4, 4, ["a"], 10)]))
    assert capsys.readouterr().err.splitlines() == [
        "teacher a, b: 4 training images to caption, 0 done; beam width 10",
        "teacher a: 4 training images captioned already; beam width 10",
    ]


def test_the_captions_are_the_distinct_candidates_of_the_beam(student: Callable[..., Path], teacher: Path) -> None:
    options = tuple(option for option in BEAM if "consensus" not in option)
    run = student("student", teacher_overrides=options)
    loaded = open_run(teacher, options)
    data = open_corpus(loaded)
    captions = captions_of(run, data.vocab)
    assert len(captions) == 40
    assert all(len(set(texts)) == len(texts) > 0 and "" not in texts for texts in captions)
    decoded = Captioner(loaded).decode(data.split("train").features, CaptionOptions(6))
    assert captions == [list(dict.fromkeys(text for text, _ in image.candidates if text)) for image in decoded]


def test_the_captions_of_an_image_take_no_part_in_its_consensus(reranked_run: Restored, corpus: Corpus) -> None:
    """Plant references that are exactly the candidates: the image's own must not be recognized."""
    split = corpus.split("train")
    captioner = Captioner(reranked_run)
    candidates = next(captioner.search(split.features, np.array([3]))).tokens[0]
    vocab, target = corpus.vocab, candidates[-1]  # the worst candidate of the model itself
    planted = np.full((len(split.captions), len(target) + 1), vocab.null, np.int32)
    planted[:, :3] = vocab.start, vocab.word_to_idx["a"], vocab.end

    def best(features: np.ndarray, with_target: Sequence[int], rows: np.ndarray | None) -> list[int]:
        captions = planted.copy()
        captions[np.isin(split.image_idxs, with_target), 1:] = target
        plant = dataclasses.replace(split, captions=captions, features=features)
        index = build_index(dataclasses.replace(corpus, splits={**corpus.splits, "train": plant}))
        # the weights of the consensus outweigh the log-probabilities
        config = dataclasses.replace(
            reranked_run.config, decode=dataclasses.replace(reranked_run.config.decode, consensus=1000)
        )
        judged = Captioner(dataclasses.replace(reranked_run, config=config), index.reranker())
        return next(judged.search(features, np.array([3]), index_rows=rows)).tokens[0, 0].tolist()

    own_rows, nobody = index_rows(split), np.full(len(split.features), -1)
    unlike = np.array(split.features)
    unlike[np.arange(len(unlike)) != 3] = -np.array(split.features)[3]  # its only neighbour is itself
    assert best(unlike, [3], nobody) == target.tolist(), "its own captions decide if they take part"
    assert best(unlike, [3], own_rows) != target.tolist()
    copied = unlike.copy()
    copied[4] = copied[3]
    assert best(copied, [3, 4], own_rows) == target.tolist(), "another image takes part, even a copy"
    assert best(copied, [3, 4], None) != target.tolist(), "unlike in the evaluation of a photograph"


def test_the_generation_leaves_each_image_out(
    reranked_run: Restored, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    captioner = Captioner(reranked_run, build_index(corpus).reranker())
    search = captioner.search

    def spied(*args: Any, index_rows: np.ndarray, **more: Any) -> Any:
        seen.append(index_rows)
        return search(*args, index_rows=index_rows, **more)

    monkeypatch.setattr(captioner, "search", spied)
    parts = list(teacher_captions.generate(captioner, corpus, done=7))
    np.testing.assert_array_equal(np.concatenate([part["images"] for part in parts]), np.arange(7, 40))
    np.testing.assert_array_equal(seen[0], np.arange(40))


def test_index_rows_are_the_places_of_the_images(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.inference.reranker_index.MAX_IMAGES", 7)
    split = corpus.split("train")
    kept = np.flatnonzero(split.image_idxs != 5)
    train_split = dataclasses.replace(split, captions=split.captions[kept], image_idxs=split.image_idxs[kept])
    rows = index_rows(train_split)
    index = build_index(dataclasses.replace(corpus, splits={"train": train_split}))
    assert rows[5] == -1
    assert sorted(rows[rows >= 0]) == list(range(7))
    weights = index.reranker().weights(np.array(split.features))
    own_weights = [weights[image, row] for image, row in enumerate(rows.tolist()) if row >= 0]
    assert own_weights == [0] * 7, "recognized by their features too"


def test_the_student_trains_on_the_best_captions_and_some_references(student: Callable[..., Path]) -> None:
    run = student("student", "distill.captions_per_image=2", "distill.references=1")
    restored = open_run(run)
    data = open_corpus(restored)
    split = build_training_corpus(restored.config, data, run / "captions.h5").split("train")
    captions, original = captions_of(run, data.vocab), data.split("train")
    assert split.features is original.features
    for image in range(40):
        texts = [split.text(row, data.vocab) for row in split.caption_rows(image)]
        reference = original.captions[original.caption_rows(image)[0]]
        assert texts == [*captions[image][:2], " ".join(data.vocab.decode(reference.tolist()))]


def test_captions_of_other_rows_are_rejected(student: Callable[..., Path], tmp_path: Path) -> None:
    file = student("run1") / "captions.h5"
    captions = teacher_captions.load(file)
    for change in (1, 10**6):
        images = captions.arrays["images"] + np.int32(change)
        moved = dataclasses.replace(captions, arrays={**captions.arrays, "images": images})
        teacher_captions.save(tmp_path / "moved.h5", moved)
        with pytest.raises(CheckpointError, match="expected captions of the first of 40 training images"):
            student(f"moved-{change}", captions=tmp_path / "moved.h5")
    twice = dataclasses.replace(captions.provenance, teachers=["a", "b"])
    teacher_captions.save(tmp_path / "twice.h5", dataclasses.replace(captions, provenance=twice))
    with pytest.raises(CheckpointError, match="expected one checkpoint of each teacher"):
        teacher_captions.load(tmp_path / "twice.h5")


def test_wrong_input_is_one_line(
    student: Callable[..., Path], teacher: Path, coco_run: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    def problem(error: type[CaptionerError], *overrides: str, **arguments: Any) -> str:
        with pytest.raises(error) as caught:
            student("wrong", *overrides, **arguments)
        assert not (tmp_path / "wrong").exists()
        assert str(caught.value).count("\n") == 0
        return str(caught.value)

    assert "not found; expected a run folder" in problem(CheckpointError, teachers=[tmp_path / "none"])
    assert "an ensemble needs one shared vocabulary" in problem(CheckpointError, teachers=[teacher, coco_run])
    assert "got 7; try --teacher-set decode.beam_width=10" in problem(ConfigError, "distill.captions_per_image=7")
    sampling = problem(ConfigError, teacher_overrides=["decode.method=sampling"])
    assert sampling.startswith("decode.method: expected beam for a teacher, got sampling in ")
    assert "(train.init_from), got 9; try -o model.hidden_dim=" in problem(ConfigError, "model.hidden_dim=9")
    another = (f"data.root={coco_run.parent / 'data'}", "data.source=cs231n", "train.init_from=null")
    assert "vocabulary: expected the 45 words of the checkpoint" in problem(CheckpointError, *another)
    assert "not found; expected a teacher caption set from `captioner distill`" in problem(
        CheckpointError, captions=tmp_path / "none"
    )
    assert "not a captioner teacher caption set" in problem(CheckpointError, captions=teacher / "best.h5")
    assert "--teacher-set has no effect with --captions" in problem(
        UsageError, captions=teacher, teacher_overrides=["decode.beam_width=3"]
    )
    with pytest.raises(ConfigError, match="distillation needs a teacher; try `captioner distill TEACHER`"):
        list(train(parse("", "", ["train.objective=distillation"]), tmp_path / "wrong"))
    missing = cli("distill", coco_run, "--run", tmp_path / "wrong", "-o", "data.root=nowhere")
    assert missing.err.count("\n") == 1
    assert "nowhere: data set not found; if it has moved, try -o data.root=NEW" in missing.err
    for words, message in (
        (["-o", "train.objective=cross_entropy"], "train.objective has no effect on distill"),
        (["--teacher-set", "train.epochs=3"], "train.epochs has no effect on the teachers; it uses decode.*"),
    ):
        done = cli("distill", teacher, "--run", tmp_path / "wrong", *words)
        assert done.code == 2
        assert message in done.err


def test_other_captions_are_rejected(student: Callable[..., Path]) -> None:
    run, other = student("run1"), student("other", "data.max_train=60")
    file = run / "captions.h5"
    with pytest.raises(CheckpointError, match="expected captions for the training split of the data set"):
        student("third", captions=other)
    shutil.copy(student("narrow", teacher_overrides=["decode.beam_width=4"]) / "captions.h5", file)
    with pytest.raises(UsageError, match="the captions, images or splits have changed since training began"):
        list(resume(run, ["train.epochs=3"]))
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged: its content does not match its seal; `captioner distill --o"):
        list(resume(run, ["train.epochs=3"]))


@pytest.mark.parametrize("way", ["folder", "link", "checkpoint"])
def test_a_student_never_replaces_its_teacher(way: str, teacher: Path, tmp_path: Path) -> None:
    run = teacher
    (tmp_path / "link").symlink_to(run)
    folder = tmp_path / "link" if way == "link" else run
    before = contents(run)
    with pytest.raises(UsageError, match="is the folder of the teacher "):
        list(distill([run / "best.h5" if way == "checkpoint" else run], folder, overwrite=True))
    assert contents(run) == before


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
    assert history(killed, "step") == history(whole, "step")


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
def test_a_command_killed_before_its_first_save_can_be_repeated(
    student: Callable[..., Path], teacher: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    """The config and the history of the student exist then, and neither captions nor a checkpoint."""
    whole, killed = student("whole"), tmp_path / "killed"
    arguments = [teacher], killed, STUDENT, BEAM
    next(events := distill(*arguments))
    del events
    assert sorted(file.name for file in killed.iterdir()) == ["config.yaml", "history.jsonl"]
    resumed = cli("train", "--resume", killed)
    assert (resumed.code, resumed.err.partition("; ")[2]) == (
        1,
        "the run ended before its first checkpoint: repeat the command that started it\n",
    )
    with pytest.raises(UsageError, match="already contains a run; it has no last"):
        next(distill([teacher], killed, (*STUDENT, "seed=1"), BEAM))
    list(distill(*arguments))
    assert_same_arrays(killed, whole)
    assert (killed / "history.jsonl").read_bytes() == (whole / "history.jsonl").read_bytes()


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
    captions = teacher_captions.load(run / "captions.h5")
    assert captions.done == captions.total < 40


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
