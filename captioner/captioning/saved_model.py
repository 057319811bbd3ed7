"""Open a model from a file: read it, take its config, build the model, and check that its parts fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path

import numpy as np

from captioner.arrays import Params
from captioner.captioning.find_checkpoint import BEST, LAST
from captioner.captioning.training_summary import TrainingSummary, summary_from
from captioner.config.checks import FIXED
from captioner.config.options import Config
from captioner.config.overrides import NONE, Values, differences, from_record, override
from captioner.data.features import MIN_STD
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.decode.agreement import CONTEXTS
from captioner.errors import CaptionerError, CheckpointError, ConfigError
from captioner.files import checkpoint
from captioner.files.checkpoint import Card, Checkpoint, Meta
from captioner.model.build import DECODERS, Standardizers, assemble_model, build_sizes, parameter_shapes
from captioner.model.captioning_model import CaptioningModel, ModelOrEnsemble
from captioner.model.image_input import Standardizer
from captioner.model.parameters import Sizes
from captioner.optim import EMA


@dataclass(frozen=True)
class LoadedModel:
    """A model or an ensemble, ready to caption, with its config, vocabulary and checkpoint metadata.

    `path` is the checkpoint file; of an ensemble, that of the first model. `warnings` are what a user should know
    about the choice of the checkpoint, and `checkpoint` names the file of the run and its step. `summary` is None for
    an ensemble of models with different training splits, and for a file without one. `changed` has the overrides.
    """

    path: Path
    config: Config
    vocab: Vocab
    model: ModelOrEnsemble
    meta: Meta
    warnings: tuple[str, ...] = field(default=(), kw_only=True)
    checkpoint: str = field(default="", kw_only=True)
    summary: TrainingSummary | None = field(default=None, kw_only=True)
    changed: Values = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class SavedModel(LoadedModel):
    """One model with its checkpoint, whose parameters are of the type of the config.

    `model` has the moving average (EMA) of the parameters if training kept one; those of `saved` are the trained ones.
    Its slots are complete if the model was opened for training.
    """

    model: CaptioningModel
    saved: Checkpoint

    @property
    def card(self) -> Card:
        """The card, without scores of captions if the decoding options are not those of the file."""
        is_same = from_record(self.meta.config).decode == self.config.decode
        return self.meta.card if is_same else replace(self.meta.card, scores={})


def open_checkpoint(path: Path, overrides: Values = NONE, for_training: bool = True) -> SavedModel:
    """Open a model from a file; `overrides` change its config, except options in `FIXED`.

    The parameters are of the type that the config states, or all float16, as `captioner export` writes them.

    Unless `for_training`, the optimizer's slots are not read, except the EMA: with Adam, they are two thirds of the
    file.

    Raises: CheckpointError for a file that is damaged or whose parts do not fit together; ConfigError for overrides.
    """
    saved = checkpoint.load(path, None if for_training else (EMA,))
    meta = saved.meta
    try:
        as_saved, vocab = from_record(meta.config), Vocab(meta.words)
    except CaptionerError as error:
        raise CheckpointError(f"{path}: meta: {'; '.join(str(error).splitlines())}") from error
    config = override(as_saved, overrides)
    check_fixed(path, as_saved, config)
    sizes = build_sizes(vars(config.model), len(vocab), meta.feature_dim, meta.region_dim)
    check_meta(path, meta, config, sizes)
    saved = replace(saved, params=checked_params(path, saved, sizes, config.model.dtype))
    standardizers, smoothing = standardizers_of(path, saved.standardizer, sizes), config.train.label_smoothing
    model = assemble_model(
        vars(config.model), sizes, saved.slots.get(EMA, saved.params), vocab.null, standardizers, smoothing
    )
    summary = summary_of(path, saved.summary, vocab, meta.feature_dim)
    is_best = meta.best is not None and meta.best["step"] == meta.step
    name = path.name if path.name in (BEST, LAST) else BEST if is_best else LAST
    checkpoint_name = f"{name} of step {meta.step:,}"
    parts = path, config, vocab, model, meta, saved
    return SavedModel(*parts, checkpoint=checkpoint_name, summary=summary, changed=overrides)


def check_fixed(path: Path, as_saved: Config, config: Config) -> None:
    """Raises: ConfigError for overrides of options that cannot change after training has started."""
    problems = [
        f"-o {option}: expected {attrgetter(option)(as_saved)} as in {path}, got {attrgetter(option)(config)}; start a "
        "new run to change it"
        for option in differences(as_saved, config)
        if option in FIXED
    ]
    if (as_saved.train.ema_decay is None) != (config.train.ema_decay is None):
        had = "no EMA" if as_saved.train.ema_decay is None else "an EMA"
        problems.append(f"-o train.ema_decay: the run in {path} has {had}; start a new run to change it")
    if problems:
        raise ConfigError(problems)


def check_meta(path: Path, meta: Meta, config: Config, sizes: Sizes) -> None:
    """Raises: CheckpointError for metadata that does not fit the config."""
    if meta.best is not None and config.validate.best_metric not in meta.best:
        raise CheckpointError(
            f"{path}: meta: best: expected the metric {config.validate.best_metric}, got {', '.join(meta.best)}"
        )
    if sizes.attends != (meta.region_dim > 0):
        expected = "at least 1" if sizes.attends else "0"
        raise CheckpointError(
            f"{path}: meta: region_dim: expected {expected} for model.attention {sizes.attention}, "
            f"got {meta.region_dim}"
        )


def checked_params(path: Path, saved: Checkpoint, sizes: Sizes, dtype: str) -> Params:
    """Check the parameters and slots of a checkpoint, and return the parameters in the type of the config.

    Raises: CheckpointError, as `check_arrays`.
    """
    is_half, shapes = all(w.dtype == np.float16 for w in saved.params.values()), parameter_shapes(sizes)
    check_arrays(path, "params", saved.params, shapes, "float16" if is_half else dtype)
    for slot, arrays in saved.slots.items():
        check_arrays(path, f"slots/{slot}", arrays, shapes, dtype)
    return {name: w.astype(dtype, copy=False) for name, w in saved.params.items()}


def check_arrays(
    path: Path, group: str, arrays: Params, shapes: Mapping[str, tuple[int, ...]], dtypes: str | Mapping[str, str]
) -> None:
    """Raises: CheckpointError for an array that is unknown or missing, or has another shape or type."""
    if extra := arrays.keys() - shapes.keys():
        raise CheckpointError(f"{path}: array {group}/{min(extra)}: unknown; expected {', '.join(shapes)}")
    for name, shape in shapes.items():
        array, dtype = arrays.get(name), dtypes if isinstance(dtypes, str) else dtypes.get(name, "float32")
        if array is None or array.shape != shape or array.dtype != np.dtype(dtype):
            got = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise CheckpointError(f"{path}: array {group}/{name}: expected {dtype} {shape}, got {got}")


def standardizers_of(path: Path, arrays: Params, sizes: Sizes) -> Standardizers:
    """Check and return the standardizers of a checkpoint.

    Raises: CheckpointError, as `check_arrays`, and for deviations below `MIN_STD`.
    """
    if not arrays:
        return None, None
    widths = {"": sizes.feature} | ({"region_": sizes.region} if sizes.attends else {})
    shapes = {f"{part}{name}": (width,) for part, width in widths.items() for name in ("mean", "std")}
    check_arrays(path, "standardizer", arrays, shapes, "float64")
    for name in shapes:
        if name.endswith("std") and not (arrays[name] >= MIN_STD).all():
            expected = f"expected numbers of at least {MIN_STD:g}, got {arrays[name].min():g}"
            raise CheckpointError(f"{path}: array standardizer/{name}: {expected}")
    features, *regions = (Standardizer(arrays[f"{part}mean"], arrays[f"{part}std"]) for part in widths)
    return features, regions[0] if regions else None


SUMMARY_DTYPES = {"projection": "float16", "words": "float16", "names": "uint8", "rare": "uint8"}
"""The types of the arrays of a training summary; those of the others are float32."""
MAX_SHARE = 1000.0
"""Expected shares are at most about 1; larger numbers than this are errors."""
MAX_IMAGES, MAX_COMPONENT = 1e12, 1.01


def summary_of(path: Path, arrays: Params, vocab: Vocab, width: int) -> TrainingSummary | None:
    """Check the arrays of the training summary of a checkpoint, and return it, if there is one.

    Raises: CheckpointError, as `check_arrays`, and for numbers that no training images have.
    """
    if not arrays:
        return None
    words, one = (len(vocab),), (1,)
    sized = "projection", "components", "residuals"
    rank, number, count = (len(np.atleast_1d(arrays.get(name, ()))) for name in sized)
    shapes = {"mean": (width,), "std": (width,), "projection": (rank, width), "words": (*words, rank)}
    shapes |= {"bias": words, "counts": words, "names": words, "rare": (*words, CONTEXTS), "images": one}
    if number or count:
        shapes |= {"components": (max(number, 1), width), "residuals": (max(count, 1),)}
    check_arrays(path, "summary", arrays, shapes, SUMMARY_DTYPES)
    images, counts, residuals = arrays["images"][0], arrays["counts"], arrays.get("residuals", np.zeros(0))
    summary, is_word = summary_from(arrays, vocab), [word not in SPECIAL for word in vocab.words]
    p = summary.regression
    most = np.abs(p.bias) + np.abs(p.words) @ np.linalg.norm(p.projection, axis=1)  # at least the absolute shares
    for name, is_valid, expected in (
        ("images", 1 <= images <= MAX_IMAGES and images % 1 == 0, f"a whole number from 1 to {MAX_IMAGES:g}"),
        ("counts", ((counts == 0) | (counts >= 1)) & (counts <= images), f"0, or 1 to the {images:.0f} images"),
        ("bias", np.abs(p.bias) <= MAX_SHARE, f"shares of at most {MAX_SHARE:g}"),
        ("words", most <= MAX_SHARE, f"shares of at most {MAX_SHARE:g} with projection and bias"),
        ("names", arrays["names"] <= is_word, "numbers of at most 1, and 0 for special tokens"),
        ("rare", arrays["rare"] <= 1, "numbers of at most 1"),
        ("components", np.abs(arrays.get("components", ())) <= MAX_COMPONENT, f"numbers of at most {MAX_COMPONENT:g}"),
        ("std", arrays["std"] >= MIN_STD, f"numbers of at least {MIN_STD:g}"),
        ("residuals", np.diff(residuals, prepend=0) >= 0, "numbers of at least 0 in ascending order"),
    ):
        if not np.all(is_valid):
            raise CheckpointError(f"{path}: array summary/{name}: expected {expected}")
    return summary


def model_properties(loaded: LoadedModel) -> dict[str, str]:
    """Describe a model by property. The encoder is untrusted text."""
    m, decode, model, side = loaded.config.model, loaded.config.decode, loaded.model, loaded.meta.photo_side
    sizes = build_sizes(vars(m), len(loaded.vocab), loaded.meta.feature_dim, loaded.meta.region_dim)
    familiarity = loaded.summary and loaded.summary.familiarity
    how = f"beam search of width {decode.beam_width}" if decode.beam_width > 1 else "greedy decoding"
    how = how if decode.method == "beam" else f"sampling with temperature {decode.temperature:g}"
    is_standardized = isinstance(model, CaptioningModel) and model.standardizer is not None
    return {
        **DECODERS[m.decoder].describe(sizes),
        "vocabulary": f"{len(loaded.vocab) - len(SPECIAL):,} words and {len(SPECIAL)} special tokens",
        "parameters": f"{model.parameter_count:,} ({m.dtype})",
        "image encoder": f"{loaded.meta.encoder} ({loaded.meta.feature_dim:,} dimensions)",
        **({"photographs": f"larger ones are shrunk to a shorter side of {side} pixels"} if side else {}),
        "features": "standardized" if is_standardized else "not standardized",
        "decoding": how,
        "familiarity": "unknown" if familiarity is None else f"percentile among {len(familiarity.residuals):,} images",
        "expected similarity": f"uncertain below {decode.uncertain_below:g}" if loaded.summary else "unknown",
    }
