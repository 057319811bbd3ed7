"""The first signal stops a command at its next step, a second one at once, and handlers are restored."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from captioner.cli.processes import STOPPING, stop_signals


def test_the_first_signal_is_caught_and_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with stop_signals() as caught:
        signal.raise_signal(signal.SIGTERM)
        assert caught == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in STOPPING] == before


TWICE = """
import signal, sys
from captioner.cli.processes import stop_signals

first, second, blocked = map(int, sys.argv[1:])
with stop_signals() as caught:
    if blocked:  # both arrive before Python can handle either
        signal.pthread_sigmask(signal.SIG_BLOCK, {first, second})
    signal.raise_signal(first)
    signal.raise_signal(second)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {first, second})
print("continues", caught)
"""


@pytest.mark.parametrize("blocked", [0, 1])
@pytest.mark.parametrize(
    "pair",
    [("SIGINT", "SIGINT"), ("SIGINT", "SIGTERM"), ("SIGTERM", "SIGHUP"), ("SIGHUP", "SIGINT")],
)
def test_a_second_signal_terminates_at_once(pair: tuple[str, str], blocked: int, shell) -> None:
    first, second = (int(getattr(signal, name)) for name in pair)
    done = shell(first, second, blocked, code=TWICE)
    merged = blocked and first == second  # a pending signal is not queued twice
    assert done.returncode in ((0,) if merged else (-first, -second))
    assert done.stderr == ""


def test_handlers_are_restored_after_an_error(cli: Callable[..., Any]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert cli("train", "--resume", "nowhere").code == 1
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
