"""captioner serve: caption photographs on a local web page."""

from __future__ import annotations

import contextlib
import signal
from importlib.util import find_spec
from pathlib import Path

import click

from captioner.captioning.find_checkpoint import DEFAULT_MODEL
from captioner.cli import output
from captioner.cli.processes import exit_code_of
from captioner.cli.shared_options import PATH, example_override_option, examples, recipe_option
from captioner.config.overrides import Values
from captioner.errors import UsageError, install_command

NEEDED = {"PIL": "images", "starlette": "web", "uvicorn": "web", "jinja2": "web"}
"""Libraries without which there is no server, and their extras."""


@click.command(
    epilog=examples("serve", "serve runs/birds --port 8080 -o decode.beam_width=5 -o decode.length_penalty=0.7")
)
@click.argument("run", type=PATH, default=DEFAULT_MODEL, metavar="[RUN_OR_MODEL]")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, metavar="N", help="Port to listen on; 0 is any free one."
)
@recipe_option
@example_override_option("decode.beam_width=5")
def serve(run: Path, port: int, encoder: str | None, overrides: Values) -> int:
    """Caption photographs on a local web page.

    RUN_OR_MODEL is a run folder, whose best checkpoint is used, or a model file; without it, the default model is
    used. The address of the page is printed on stdout; only this machine can reach it. POST /caption returns the
    caption of a photograph as JSON, with the fields of `captioner caption --json`. Photographs are not written to disk.
    Ctrl-C stops the server.

    Needs the extras images and web.
    """
    if missing := [library for library in NEEDED if find_spec(library) is None]:
        extras = ",".join(sorted({NEEDED[library] for library in missing}))
        raise UsageError(f"needs {', '.join(missing)}: not installed; try {install_command(extras)}")

    from captioner.captioning.checks import photo_warnings
    from captioner.captioning.load import open_runs
    from captioner.photos.captioner import PhotoCaptioner
    from captioner.photos.serve import ADDRESS, Site, listen, run_app

    with listen(port) as sock:
        loaded = open_runs([run], overrides)
        captioner = PhotoCaptioner(loaded, encoder)
        _ = captioner.encoder  # opened now, not by the first request
        site = Site(captioner, run.resolve().name, output.failure)
        output.warnings((*captioner.warnings, *photo_warnings(loaded)))
        output.note("Ctrl-C stops the server")
        with contextlib.suppress(KeyboardInterrupt):  # SIGTERM ends the process
            output.result(f"http://{ADDRESS}:{sock.getsockname()[1]}/")
            output.flush()
            run_app(site.app(), sock)
    return exit_code_of(signal.SIGINT)
