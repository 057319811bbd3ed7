"""Sequence-level knowledge distillation: train a student on the captions that teachers write for the training images.

loss = -1/N Σ_n log P_student(w_n | image of w_n),   N training captions w_n: the k best candidates for every image

Source: Kim and Rush 2016, "Sequence-Level Knowledge Distillation", section 3.2; with the k best candidates instead of
one, ranked by consensus re-ranking.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from captioner.arrays import Array
from captioner.config.options import Config
from captioner.config.yaml_io import dump, parse
from captioner.errors import CheckpointError, ConfigError, UsageError
from captioner.evaluation.evaluate import short_names
from captioner.inference.load import Run, captioner_of, check_root, ensemble_of, open_run
from captioner.inference.reranker_index import origin_of
from captioner.inference.restore import LoadedModel, Restored, check_corpus, is_training_split
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.preparation.load_corpus import build_corpus
from captioner.storage import sealed
from captioner.training import teacher_captions
from captioner.training.events import Captioned, Event, Warned
from captioner.training.recorder import Recorder
from captioner.training.run_folder import RunFolder
from captioner.training.teacher_captions import Provenance, TeacherCaptions, check_beam, check_data, check_images
from captioner.training.train import Training, train

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
    kind = partial(Distilling, models=models, teacher=teacher, earlier=earlier, overwrite=overwrite)
    yield from train(config, folder, overwrite or _is_unfinished(run), stop, kind, ranks)


def student_config(teacher: LoadedModel, path: Run, overrides: Sequence[str]) -> Config:
    """Return the config of a student. Raises: ConfigError for overrides."""
    initial = f"train.init_from={os.path.join('.', path)}"  # null and ~ have other meanings in a config
    return parse(dump(teacher.config), f"the config in {teacher.path}", (*STUDENT, initial, *overrides))


class Distilling(Training):
    """Training that first captions the training images with the teachers, or uses captions of an earlier distillation.

    `earlier` are these captions and their file.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        models: Sequence[Restored],
        teacher: LoadedModel,
        earlier: tuple[Path, TeacherCaptions] | None,
        overwrite: bool,
    ) -> None:
        super().__init__(recorder)
        self._data = self.corpus
        if earlier is not None:
            check_data(*earlier, self.corpus)
            self.captions = earlier[1]
            check_beam(self.config, self.captions.provenance)
            self._reusable(self.captions.provenance, overwrite)
            return
        if teacher.meta.region_dim and not self.corpus.region_dim:  # the student has no attention
            self._data = build_corpus(self.config, regions=True)
        for model in models:
            check_corpus(model, self._data)
        config = dataclasses.replace(teacher.config, threads=self.config.threads)
        index_corpus = self._data if is_training_split(teacher, self._data) else None
        self._teacher = captioner_of(dataclasses.replace(teacher, config=config), index_corpus)
        names, decode = short_names([model.path for model in models]), dataclasses.asdict(teacher.config.decode)
        provenance = Provenance(names, _digests(models), decode, origin_of(self._data))
        check_beam(self.config, provenance)
        self.captions = self._reusable(provenance, overwrite) or TeacherCaptions.empty(
            provenance, self.corpus.split("train")
        )

    def _reusable(self, provenance: Provenance, overwrite: bool) -> TeacherCaptions | None:
        """Return the captions in the run folder, or None if there are none with this provenance.

        Raises: UsageError when others would be lost that no run was trained on; CheckpointError for other images.
        """
        captions = _captions_in(self.run)
        if captions is None:
            return None
        if captions.provenance == provenance:
            check_images(self.run.captions, captions, self.corpus.split("train"))
            self.run.reused = (self.run.captions,)
            return captions
        if _is_unfinished(self.run) and not overwrite:
            raise UsageError(
                f"{self.run.captions}: contains captions of other teachers, decoding options or data; "
                "choose another folder with --run, or replace them with --overwrite"
            )
        return None

    def _events(self, stop: Callable[[], bool]) -> Iterator[Event]:
        yield from self._generate(stop)
        if self.captions.done < self.captions.total:
            return
        self.recorder.fingerprint = self.training_corpus.fingerprint()
        yield from super()._events(stop)

    def _generate(self, stop: Callable[[], bool]) -> Iterator[Event]:
        """Generate the missing captions, and save the captions at intervals, when stopped, and at the end."""
        parts: list[dict[str, Array]] = []
        self._save(parts)
        yield self._progress(0)
        if self.captions.done == self.captions.total:
            return
        yield from (Warned(0, warning) for warning in self._teacher.warnings)
        saved = self.ranks.on_rank_0(time.perf_counter)
        for part in teacher_captions.generate(self._teacher, self._data, self.captions.done, self.ranks):
            parts.append(part)
            count = sum(len(part["images"]) for part in parts)
            should_stop, seconds = stop(), self.ranks.on_rank_0(time.perf_counter) - saved
            if should_stop or seconds >= SAVE_SECONDS:
                self._save(parts)
                parts, count, saved = [], 0, saved + seconds
            yield self._progress(count)
            if should_stop:
                return
        self._save(parts)

    def _progress(self, unsaved: int) -> Captioned:
        provenance = self.captions.provenance
        width = int(provenance.decode["beam_width"])
        return Captioned(self.run.path, self.captions.done + unsaved, self.captions.total, provenance.teachers, width)

    def _save(self, parts: Sequence[dict[str, Array]]) -> None:
        self.captions = self.captions.extended(parts)

        def write() -> None:
            with self.run.writing(self.run.captions) as check:
                teacher_captions.save(self.run.captions, self.captions, check)

        if self.captions.done:
            self.ranks.on_rank_0(write)


def _digests(models: Sequence[Restored]) -> list[str]:
    return [sealed.digest(model.path) for model in models]


def _check_teachers(path: Path, captions: TeacherCaptions, models: Sequence[Restored]) -> None:
    """Raises: CheckpointError when a model is not one of the teachers of the captions."""
    for model, digest in zip(models, _digests(models), strict=True):
        if digest not in captions.provenance.checkpoints:
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
    """Whether a folder has captions but no checkpoint: an interrupted distillation."""
    return not run.last.exists() and not run.best.exists() and _captions_in(run) is not None
