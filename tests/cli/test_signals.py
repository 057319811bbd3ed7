"""Signals: the first stops a command at its next step or at once, a second one at once, and handlers are restored."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eventually import eventually

from captioner.cli.processes import STOPPING, stop_signals

BUSY = """
import sys, time
from pathlib import Path
from captioner.photos.encoders import ScenesEncoder

def encode(*args):
    Path("busy").touch()
    time.sleep(600)

ScenesEncoder.encode = encode
from captioner.cli import main
main()
"""


def test_ctrl_c_does_not_wait_for_busy_threads(
    album: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    album(Path("photos"), 3)
    command = ["prepare", "photos/captions.csv", "--output", "out.h5", "--encoder", "scenes", "--min-count", "1"]
    with subprocess.Popen([sys.executable, "-c", BUSY, *command], stderr=subprocess.PIPE, text=True) as process:
        eventually(lambda: Path("busy").exists() or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert err.endswith("captioner: interrupted\n")
    assert "Traceback" not in err
    assert not Path("out.h5").exists()


def test_ctrl_c_while_the_command_line_is_imported_prints_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)")
    command, env = [sys.executable, "-m", "captioner", "caption"], {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=env, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_the_first_signal_is_caught_and_handlers_are_restored(cli: Callable[..., Any]) -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with stop_signals() as caught:
        signal.raise_signal(signal.SIGTERM)
        assert caught == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in STOPPING] == before
    assert cli("train", "--resume", "nowhere").code == 1
    assert [signal.getsignal(number) for number in STOPPING] == before


IGNORED = """
import signal
from captioner.cli.processes import stop_signals

for number in (signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
with stop_signals() as caught:
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.raise_signal(number)
print(*map(int, caught))
"""


def test_sighup_stays_ignored_as_under_nohup_and_sigint_works_in_a_background_process(
    shell: Callable[..., Any],
) -> None:
    done = shell(code=IGNORED)
    assert (done.stdout, done.stderr) == ("2\n", "")


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
@pytest.mark.parametrize("pair", [("SIGINT", "SIGINT"), ("SIGTERM", "SIGHUP")])
def test_a_second_signal_terminates_at_once(pair: tuple[str, str], blocked: int, shell) -> None:
    first, second = (int(getattr(signal, name)) for name in pair)
    done = shell(first, second, blocked, code=TWICE)
    merged = blocked and first == second  # a pending signal is not queued twice
    assert done.returncode in ((0,) if merged else (-first, -second))
    assert done.stderr == ""
