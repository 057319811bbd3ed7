"""captioner monitor: monitor a training run in the browser."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.completion import complete_run
from captioner.cli.options import PATH, images_option
from captioner.errors import UsageError

PORT = 8517
NICE = 10
"""The priority of training is higher by this number."""


@click.command(
    epilog="""\b
Examples:
  captioner monitor runs/scenes
  captioner monitor runs/birds --images photos --open
"""
)
@click.argument("run", type=PATH, metavar="RUN", shell_complete=complete_run)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    metavar="N",
    help="Port of the page on 127.0.0.1; 0 is any free port.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
@images_option("the captions")
def monitor(run: Path, port: int, open_browser: bool, images: Path | None) -> None:
    """Monitor a training run in the browser.

    RUN is a run folder that `captioner train` writes in another process or will create, or one whose training has
    ended. The page
    shows the progress, the remaining time, the curves, and the captions that the newest checkpoint writes for eight
    images of the validation split. It refreshes itself, and is readable on this machine only. Ctrl-C ends the command;
    training continues. Nothing in RUN is written or locked.
    """
    waiting = _check_folders(run, images)
    from captioner.monitor.page import MonitorPage
    from captioner.monitor.server import LocalServer

    page = MonitorPage(run, images)
    with LocalServer(port, page.paths()) as server:
        if hasattr(os, "nice"):
            os.nice(NICE)
        page.captions.follow()
        output.note(f"{run}: {server.url} (Ctrl-C to end)")
        if waiting:
            output.note(waiting)
        if open_browser and not webbrowser.open(server.url):
            output.problem("warning: no browser was found; open the page yourself")
        server.serve_forever()


def _check_folders(run: Path, images: Path | None) -> str:
    """Return a line for a run folder that does not exist yet, or an empty text.

    Raises: UsageError unless `run` is a run folder, or will be one: an empty folder, or a name in an existing folder.
    """
    from captioner.inference.find_checkpoint import nearest_runs
    from captioner.training.folder_lock import LOCK

    if images is not None and not os.path.isdir(images):
        raise UsageError(f"{images}: folder not found; name the folder of the photographs with --images")
    if os.path.isfile(run):
        remedy = f"; try captioner monitor {run.parent}" if _is_run(run.parent) else ""
        raise UsageError(f"{run}: expected a run folder, got a file{remedy}")
    hint = nearest_runs(run)
    if not os.path.isdir(run):
        if not os.path.isdir(run.parent):
            raise UsageError(f"{run}: folder not found; expected a run folder{hint}")
        return f"{run}: not found yet; waiting for a training run{hint}"
    if not _is_run(run) and set(os.listdir(run)) - {LOCK}:
        raise UsageError(f"{run}: expected a run folder from `captioner train`, got one with other files{hint}")
    return ""


def _is_run(path: Path) -> bool:
    """Return whether a folder has the files of a run, or the captions of a distillation that has not trained yet."""
    from captioner.training.detect_run import holds_run
    from captioner.training.run_folder import RunFolder

    files = RunFolder(path)
    return holds_run((files.last, files.best), files.history, files.config) or files.captions.exists()
