"""The background thread of prefetching reads one batch ahead, and never delays the end of a process."""

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from recorded_batches import END, PATIENCE, RecordedBatches

from captioner.data.batches import PrefetchedBatches


def test_the_next_batch_is_read_in_the_background() -> None:
    batches = RecordedBatches(hold=1)
    with PrefetchedBatches(batches, END) as ahead:
        assert ahead.batch(0) == (0, 0)
        assert batches.began[1].wait(PATIENCE)
        batches.go_on.set()
        assert ahead.batch(1) == (1, 1)
        assert batches.began[2].wait(PATIENCE)
    assert batches.read == [0, 1, 2]


def test_one_background_thread_reads_all_batches() -> None:
    batches = RecordedBatches()
    with PrefetchedBatches(batches, END) as ahead:
        for step in (0, 1, 7, 8, 8, 3, 99):
            ahead.batch(step)
    (thread,) = batches.threads
    assert thread is not threading.current_thread()


def test_a_repeated_step_keeps_the_prefetched_batch() -> None:
    batches = RecordedBatches()
    with PrefetchedBatches(batches, END) as ahead:
        for step in (0, 1, 1, 2):
            ahead.batch(step)
        assert batches.began[3].wait(PATIENCE)
    assert batches.read == [0, 1, 2, 1, 3]


@pytest.mark.parametrize("end", [1, 2, 5])
def test_nothing_is_prefetched_beyond_the_end(end: int) -> None:
    batches = RecordedBatches()
    with PrefetchedBatches(batches, end) as ahead:
        for step in range(end):
            ahead.batch(step)
        (thread,) = batches.threads
        ahead.close()
        thread.join(PATIENCE)
        assert batches.read == list(range(end))
    with PrefetchedBatches(batches, end) as ahead:
        assert ahead.batch(end + 1) == (end + 1, end + 1)


def closed(ahead: PrefetchedBatches) -> None:
    ahead.close()


def failed(ahead: PrefetchedBatches) -> None:
    with pytest.raises(KeyboardInterrupt), ahead:
        raise KeyboardInterrupt


@pytest.mark.parametrize("leave", [closed, failed])
def test_close_ends_the_thread_without_blocking(leave: Callable[[PrefetchedBatches], None]) -> None:
    batches = RecordedBatches(hold=1)
    ahead = PrefetchedBatches(batches, END)
    ahead.batch(0)
    assert batches.began[1].wait(PATIENCE)
    leave(ahead)
    (thread,) = batches.threads
    assert thread.is_alive()
    batches.go_on.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert batches.read == [0, 1]
    with pytest.raises(RuntimeError):
        ahead.batch(2)


def test_garbage_collection_ends_the_thread() -> None:
    batches = RecordedBatches()
    PrefetchedBatches(batches, END).batch(0)
    (thread,) = batches.threads
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_close_can_be_called_from_the_background_thread() -> None:
    """As the garbage collector does, which runs in any thread."""

    class Closing(RecordedBatches):
        def batch(self, step: int) -> tuple[int, int]:
            ahead.close()
            return super().batch(step)

    ahead = PrefetchedBatches(Closing(), 1)
    assert ahead.batch(0) == (0, 0)


ENDS = {
    "forgotten": ("pass", 0, ""),
    "an exception": ("raise ValueError('planted')", 1, "ValueError: planted"),
    "an exception inside": ("with ahead: raise ValueError('planted')", 1, "ValueError: planted"),
    "exit": ("import sys; sys.exit(3)", 3, ""),
    "Ctrl-C": ("import signal; signal.raise_signal(signal.SIGINT)", -2, "KeyboardInterrupt"),
    "SIGTERM": ("import signal; signal.raise_signal(signal.SIGTERM)", -15, ""),
}
PROCESS = """
import threading, time
from captioner.data.batches import PrefetchedBatches

class Slow:
    def batch(self, step):
        if step:
            began.set()
            time.sleep(seconds)
        return step, step

seconds, began = {seconds}, threading.Event()
ahead = PrefetchedBatches(Slow(), 100)
assert ahead.batch(0) == (0, 0)
assert began.wait({patience})
{end}
"""


@pytest.mark.parametrize("seconds", [0, 0.3], ids=["idle", "reading"])
@pytest.mark.parametrize("name", ENDS)
def test_a_process_exits_with_the_thread_running(name: str, seconds: float, shell: Callable[..., Any]) -> None:
    end, code, message = ENDS[name]
    done = shell(code=PROCESS.format(seconds=seconds, patience=PATIENCE, end=end), timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (code, "")
    assert (done.stderr.splitlines() or [""])[-1] == message
