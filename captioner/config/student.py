"""The options of `captioner distill` for a student."""

from __future__ import annotations

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
