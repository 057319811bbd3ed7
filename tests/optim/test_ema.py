"""The exponential moving average of parameters equals its formula."""

import numpy as np
import pytest

from captioner.optim.update_rules import CHUNK, Shard, update_ema

SIZES = [(3, 5), (2 * CHUNK + 7,), (4,), (0, 3), (CHUNK,)]


@pytest.mark.parametrize("size", [1, 3])
def test_ema_is_its_formula(size: int) -> None:
    rng = np.random.default_rng(0)
    params = {str(k): rng.standard_normal(size) for k, size in enumerate(SIZES)}
    ema = {name: w.copy() for name, w in params.items()}
    expected = {name: w.copy() for name, w in params.items()}
    for t in range(1, 8):
        for w in params.values():
            w += rng.standard_normal(w.shape)
        decay = min(0.4, t / (t + 9))
        expected = {name: decay * a + (1 - decay) * params[name] for name, a in expected.items()}
        for worker in range(size):
            update_ema(params, ema, 0.4, t, Shard(worker, size))
    for name, a in expected.items():
        np.testing.assert_allclose(ema[name], a, rtol=1e-12)
