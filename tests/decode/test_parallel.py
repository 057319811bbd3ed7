"""Decoding with a thread pool, also from several threads at a time."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from captioner.decode import greedy
from captioner.decode.parallel import parallel_decoder
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes, initial_params
from captioner.parallel.thread_pool import ThreadPool


@pytest.mark.parametrize("workers", [1, 2])
def test_several_threads_may_use_one_decoder(workers: int) -> None:
    """The workers reuse their buffers, so concurrent calls must not overlap."""
    rng = np.random.default_rng(0)
    sizes = Sizes(vocab=500, feature=6, wordvec=8, hidden=64)
    model = CaptioningRNN(sizes, initial_params(sizes, rng.standard_normal))
    run = parallel_decoder(model, ThreadPool(workers))
    decode = partial(greedy, start=1, end=2, null=0, max_length=30)
    batches = [rng.standard_normal((20, 6)).astype(np.float32) for _ in range(6)]
    alone = [run(decode, features) for features in batches]
    with ThreadPoolExecutor(len(batches)) as threads:
        together = [*threads.map(partial(run, decode), batches)]
    for (tokens, scores), (tokens_alone, scores_alone) in zip(together, alone, strict=True):
        np.testing.assert_array_equal(tokens, tokens_alone)
        np.testing.assert_array_equal(scores, scores_alone)
