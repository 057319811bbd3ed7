"""The libraries of the optional extras, and the commands that install them.

A command names the libraries as the metadata of the installed captioner declares them. It works for a wheel and for an
editable install, and needs no published captioner.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

# onnxruntime 1.29 and later send usage data to Microsoft and write to the user's cache. Its function that disables this
# comes too late: only the environment, before the import, prevents both.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

LIBRARIES: Mapping[str, str] = {
    "PIL": "images",
    "onnxruntime": "images",
    "pillow_heif": "heic",
    "tensorboardX": "tensorboard",
    "onnx": "export",
    "safetensors": "export",
    "mpi4py": "mpi",
    "jinja2": "report",
    "starlette": "web",
    "uvicorn": "web",
}
"""Modules that captioner imports only when they are needed, and their extras."""


def library_of(error: ImportError) -> str | None:
    """Return the module of an extra whose import failed, or None for any other module."""
    if error.name and error.name.partition(".")[0] in LIBRARIES:
        return error.name
    from traceback import walk_tb

    modules = (str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in walk_tb(error.__traceback__))
    return next((name for name in modules if name in LIBRARIES), None)


def install_command(extra: str = "images", *options: str) -> str:
    """Return the shell command that installs the libraries of an extra into the running Python."""
    return pip_command(*options, *_requirements(extra))


def pip_command(*arguments: str) -> str:
    """Return the shell command that installs packages into the running Python."""
    # a bare `pip` may be that of another Python; an environment of uv contains no pip
    of_uv = ("uv", "pip", "install", "--python", sys.executable)
    pip = (sys.executable, "-m", "pip", "install") if find_spec("pip") else of_uv
    return shlex.join([*pip, *arguments])


def _requirements(extra: str) -> list[str]:
    """Return the requirements of an extra without those for some versions of Python, or captioner's own folder."""
    from importlib import metadata

    try:
        declared = metadata.requires("captioner") or []
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return [f"{Path(__file__).parents[1]}[{extra}]"]
    pairs = [requirement.partition(";") for requirement in declared]
    return [library for library, _, marker in pairs if re.fullmatch(rf"\s*extra == ['\"]{extra}['\"]", marker)]
