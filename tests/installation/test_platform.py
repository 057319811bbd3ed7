"""On another system than Linux, the command and the API end with one message."""

from collections.abc import Callable
from typing import Any

WINDOWS = """
import signal, sys
from importlib.metadata import entry_points
(command,) = entry_points(group="console_scripts", name="captioner")
sys.platform = "win32"
sys.modules.update(dict.fromkeys(["fcntl", "resource"]))
del signal.SIGHUP
"""
API = """
import captioner
try:
    captioner.load()
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""
MESSAGE = "needs Linux, got win32; try a Linux container or, on Windows, WSL\n"


def test_another_system_is_one_line(shell: Callable[..., Any]) -> None:
    for code, name in (("command.load()()", "captioner"), (API, "UsageError")):
        done = shell("--version", code=WINDOWS + code)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{name}: {MESSAGE}")
