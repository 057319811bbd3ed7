"""The assignment's `cs231n/captioning_solver.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from captioner.cs231n.classifiers.rnn import CaptioningRNN
from captioner.cs231n.coco_utils import sample_coco_minibatch
from captioner.cs231n.optim import UPDATES

__all__ = ["CaptioningSolver"]


class CaptioningSolver:
    """The assignment's training loop: batches sampled with replacement, learning rate decayed after every epoch.

    Raises: ValueError for an unknown keyword or update rule.
    """

    def __init__(
        self,
        model: CaptioningRNN,
        data: Mapping[str, Any],
        *,
        update_rule: str = "sgd",
        optim_config: Mapping[str, Any] | None = None,
        lr_decay: float = 1.0,
        batch_size: int = 100,
        num_epochs: int = 10,
        print_every: int = 10,
        verbose: bool = True,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise ValueError("Unrecognized arguments " + ", ".join(f'"{name}"' for name in unknown))
        if update_rule not in UPDATES:
            raise ValueError(f'Invalid update_rule "{update_rule}"')
        self.model = model
        self.data = data
        self.update_rule = UPDATES[update_rule]
        self.optim_config = dict(optim_config or {})
        self.lr_decay = lr_decay
        self.batch_size = batch_size
        self.num_epochs = num_epochs
        self.print_every = print_every
        self.verbose = verbose
        self.epoch = 0
        self.loss_history: list[float] = []
        self.optim_configs: dict[str, dict[str, Any]] = {name: dict(self.optim_config) for name in model.params}

    def train(self) -> None:
        """Run num_epochs * max(train captions // batch_size, 1) iterations."""
        per_epoch = max(len(self.data["train_captions"]) // self.batch_size, 1)
        iterations = self.num_epochs * per_epoch
        for t in range(iterations):
            self._step()
            if self.verbose and t % self.print_every == 0:
                print(f"(Iteration {t + 1} / {iterations}) loss: {self.loss_history[-1]:f}")
            if (t + 1) % per_epoch == 0:
                self.epoch += 1
                for config in self.optim_configs.values():
                    config["learning_rate"] *= self.lr_decay

    def _step(self) -> None:
        captions, features, _ = sample_coco_minibatch(self.data, self.batch_size, "train")
        loss, grads = self.model.loss(features, captions)
        self.loss_history.append(loss)
        params = self.model.params
        for name, w in params.items():
            params[name], self.optim_configs[name] = self.update_rule(w, grads[name], self.optim_configs[name])
