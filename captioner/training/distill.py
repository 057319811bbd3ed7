"""Sequence-level knowledge distillation: train a student on the captions that teachers write for the training images.

loss = -1/N Σ_n log P_student(w_n | image of w_n),   N training captions w_n: the k best candidates for every image

Source: Kim and Rush 2016, "Sequence-Level Knowledge Distillation", section 3.2; with the k best candidates instead of
one, ranked by consensus re-ranking.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from captioner.arrays import Array
from captioner.config.options import Config
from captioner.config.yaml_io import dump, parse
from captioner.data.corpus import Corpus, Split
from captioner.errors import CheckpointError, ConfigError, UsageError
from captioner.evaluation.evaluate import short_names
from captioner.inference.captioner import Captioner
from captioner.inference.load import Run, captioner_of, check_root, ensemble_of, open_run
from captioner.inference.reranker_index import origin_of
from captioner.inference.restore import LoadedModel, Restored, check_corpus, is_training_split
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.preparation.load_corpus import build_corpus
from captioner.storage import sealed
from captioner.training import teacher_captions
from captioner.training.events import Captioned, Event, Warned
from captioner.training.run_folder import RunFolder
from captioner.training.teacher_captions import Provenance, TeacherCaptions, check_beam, check_data, check_images
from captioner.training.train import new_training

STUDENT = (
    "train.objective=distillation",
    "train.epochs=5",
    "train.max_steps=null",
    "train.learning_rate=1e-3",
    "train.warmup_steps=50",
    "train.label_smoothing=0",
    "train.ema_decay=0.99",
    "validate.every=1",
    "validate.score_every=1",
    "validate.best_metric=cider_d",  # the perplexity of the references gets worse while the captions get better
    "decode.method=beam",
    "decode.beam_width=10",
    "decode.consensus=0",
)
"""Options of a student that are not its first teacher's."""

SAVE_SECONDS = 30.0
"""Time between two saves of the captions during their generation."""


def distill(
    teachers: Sequence[Run],
    folder: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    teacher_overrides: Sequence[str] = (),
    captions: Path | None = None,
    overwrite: bool = False,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = SINGLE_PROCESS,
) -> Iterator[Event]:
    """Caption the training images with the teachers, an ensemble if several, and train a student on the captions.

    The student has the options of the first teacher, `STUDENT` and `overrides`, and its initial parameters.
    `teacher_overrides` are decoding options of the teachers. With `captions`, a run or a file, the captions of an
    earlier distillation are used. Captions in the run folder are used too, if they have the same teachers, decoding
    options and data set; so repeating an interrupted call continues it. `ranks` share the images to caption too.

    Raises: as `train`.
    """
    if captions is not None and teacher_overrides:
        raise UsageError("--teacher-set has no effect with --captions, which are generated already; remove one of them")
    models = [open_run(teacher, teacher_overrides) for teacher in teachers]
    teacher = ensemble_of(models)
    file = captions and (RunFolder(captions).captions if captions.is_dir() else captions)
    earlier = None if file is None else (file, teacher_captions.load(file))
    if earlier is not None:
        _check_teachers(*earlier, models)
    elif teacher.config.decode.method != "beam":
        raise ConfigError(
            [
                f"decode.method: expected beam for a teacher, got {teacher.config.decode.method} in {teacher.path}; "
                "try --teacher-set decode.method=beam --teacher-set decode.beam_width=10"
            ]
        )
    config, run = student_config(teacher, teachers[0], overrides), RunFolder(Path(folder), ranks)
    for model in models:
        if os.path.realpath(run.path) == os.path.realpath(model.path.parent):
            raise UsageError(f"{run.path}: is the folder of the teacher {model.path}; choose another folder with --run")
    check_root(config)
    training = new_training(config, run)
    data, train_split, captioner = training.corpus, training.corpus.split("train"), None
    if earlier is not None:
        check_data(*earlier, data)
        written = earlier[1]
    else:
        captioner, data = _open_teacher(teacher, models, config, data)
        names, decode = short_names([model.path for model in models]), dataclasses.asdict(teacher.config.decode)
        digests = [sealed.digest(model.path) for model in models]
        provenance = Provenance(names, digests, decode, origin_of(data))
        written = TeacherCaptions.empty(provenance, train_split)
    check_beam(config, written.provenance)
    reusable = _reusable(run, written.provenance, train_split, overwrite)
    if earlier is None and reusable is not None:
        written = reusable
    training.create(overwrite or _is_unfinished(run))
    _save(run, written)
    yield _progress(run, written, written.done)
    if captioner is not None and written.done < written.total:
        written = yield from _generate(captioner, data, run, written, stop)
        if written.done < written.total:
            return
    training.recorder.fingerprint = training.training_corpus.fingerprint()
    yield from training.events(stop)


def _open_teacher(
    teacher: LoadedModel, models: Sequence[Restored], config: Config, corpus: Corpus
) -> tuple[Captioner, Corpus]:
    """Return the teacher with the student's threads, and the data set, with regions if the teacher attends to them.

    Raises: CheckpointError for a data set that does not fit a model, DataError for a damaged re-ranking index.
    """
    if teacher.meta.region_dim and not corpus.region_dim:  # the student has no attention
        corpus = build_corpus(config, corpus.vocab, regions=True)
    for model in models:
        check_corpus(model, corpus)
    teacher_config = dataclasses.replace(teacher.config, threads=config.threads)
    index_corpus = corpus if is_training_split(teacher, corpus) else None
    return captioner_of(dataclasses.replace(teacher, config=teacher_config), index_corpus), corpus


def student_config(teacher: LoadedModel, path: Run, overrides: Sequence[str]) -> Config:
    """Return the config of a student. Raises: ConfigError for overrides."""
    initial = f"train.init_from={os.path.join('.', path)}"  # null and ~ have other meanings in a config
    return parse(dump(teacher.config), f"the config in {teacher.path}", (*STUDENT, initial, *overrides))


def _reusable(run: RunFolder, provenance: Provenance, train_split: Split, overwrite: bool) -> TeacherCaptions | None:
    """Return the captions in the run folder, which keeps them, or None if there are none with this provenance.

    Raises: UsageError when others would be lost that no run was trained on; CheckpointError for other images.
    """
    captions = _captions_in(run)
    if captions is None:
        return None
    if captions.provenance == provenance:
        check_images(run.captions, captions, train_split)
        run.reused = (run.captions,)
        return captions
    if _is_unfinished(run) and not overwrite:
        raise UsageError(
            f"{run.captions}: contains captions of other teachers, decoding options or data; "
            "choose another folder with --run, or replace them with --overwrite"
        )
    return None


def _generate(
    captioner: Captioner, data: Corpus, run: RunFolder, captions: TeacherCaptions, stop: Callable[[], bool]
) -> Generator[Event, None, TeacherCaptions]:
    """Generate the missing captions, and save all at intervals, when stopped, and at the end; return them."""
    yield from (Warned(0, warning) for warning in captioner.warnings)
    parts: list[dict[str, Array]] = []
    saved = run.ranks.on_rank_0(time.perf_counter)
    for part in teacher_captions.generate(captioner, data, captions.done, run.ranks):
        parts.append(part)
        done = captions.done + sum(len(part["images"]) for part in parts)
        should_stop, seconds = stop(), run.ranks.on_rank_0(time.perf_counter) - saved
        if should_stop or seconds >= SAVE_SECONDS:
            captions, parts, saved = captions.extended(parts), [], saved + seconds
            _save(run, captions)
        yield _progress(run, captions, done)
        if should_stop:
            return captions
    captions = captions.extended(parts)
    _save(run, captions)
    return captions


def _progress(run: RunFolder, captions: TeacherCaptions, done: int) -> Captioned:
    provenance = captions.provenance
    return Captioned(run.path, done, captions.total, provenance.teachers, int(provenance.decode["beam_width"]))


def _save(run: RunFolder, captions: TeacherCaptions) -> None:
    def write() -> None:
        with run.writing(run.captions) as check:
            teacher_captions.save(run.captions, captions, check)

    if captions.done:
        run.ranks.on_rank_0(write)


def _check_teachers(path: Path, captions: TeacherCaptions, models: Sequence[Restored]) -> None:
    """Raises: CheckpointError when a model is not one of the teachers of the captions."""
    for model in models:
        if sealed.digest(model.path) not in captions.provenance.checkpoints:
            raise CheckpointError(
                f"{path}: expected captions of {model.path}, got those of {', '.join(captions.provenance.teachers)}; "
                "name one of these as the teacher (-o train.init_from sets other initial parameters)"
            )


def _captions_in(run: RunFolder) -> TeacherCaptions | None:
    """Return the captions in a run folder; None if there are none, or if they are damaged."""
    try:
        return teacher_captions.load(run.captions)
    except CheckpointError:
        return None


def _is_unfinished(run: RunFolder) -> bool:
    """Whether a folder has captions, and the start of a run at most: an interrupted distillation."""
    return _captions_in(run) is not None and run.has_only_a_start(run.captions, run.previous)
