"""captioner serve: caption photographs on a local web page."""

from __future__ import annotations

import contextlib
import signal
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import click

from captioner.captioning.find_checkpoint import DEFAULT_MODEL
from captioner.cli import output
from captioner.cli.processes import exit_code_of
from captioner.cli.shared_options import PATH, example_override_option, examples, recipe_option
from captioner.config.overrides import Values
from captioner.errors import UsageError, install_command
from captioner.photos.cli.album import IN_MEMORY, album_option, open_album

NEEDED = {"PIL": "images", "starlette": "web", "uvicorn": "web", "jinja2": "web"}
"""Libraries without which there is no server, and their extras."""


@click.command(
    epilog=examples("serve", "serve runs/birds --port 8080 -o decode.beam_width=5 -o decode.length_penalty=0.7")
)
@click.argument("run", type=PATH, default=DEFAULT_MODEL, metavar="[RUN_OR_MODEL]")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, metavar="N", help="Port to listen on; 0 is any free one."
)
@album_option
@recipe_option
@example_override_option("decode.beam_width=5")
def serve(run: Path, port: int, album_file: Path | None, encoder: str | None, overrides: Values) -> int:
    """Show the album and caption photographs on a local web page.

    On the page, the album is searched, and captions are corrected and confirmed. RUN_OR_MODEL is a run folder, whose
    best checkpoint is used, or a model file; without it, the default model is used. The address of the page is printed
    on stdout; only this machine can reach it, and the album needs the token in it. POST /caption returns the caption of
    a photograph as JSON, with the fields of `captioner caption --json`. Photographs that are sent are not written to
    disk. Ctrl-C stops the server.

    Needs the extras images and web.
    """
    if missing := [library for library in NEEDED if find_spec(library) is None]:
        extras = ",".join(sorted({NEEDED[library] for library in missing}))
        raise UsageError(f"needs {', '.join(missing)}: not installed; try {install_command(extras)}")

    from captioner.captioning.load import open_runs
    from captioner.photos.album import default_path
    from captioner.photos.album_site import AlbumSite
    from captioner.photos.captioner import PhotoCaptioner, photo_warnings
    from captioner.photos.serve import ADDRESS, Site, listen, run_app

    with listen(port) as sock, ExitStack() as stack:
        loaded = open_runs([run], overrides)
        captioner = PhotoCaptioner(loaded, encoder)
        _ = captioner.encoder  # opened now, not by the first request
        album = None
        if album_file != IN_MEMORY and (album_file or default_path().exists()):
            summary = loaded.summary
            album = AlbumSite(partial(open_album, album_file, must_exist=True), summary and summary.regression)
            stack.callback(album.close)
        site = Site(captioner, run.resolve().name, output.failure, album)
        output.warnings((*captioner.warnings, *photo_warnings(loaded)))
        output.note("Ctrl-C stops the server")
        with contextlib.suppress(KeyboardInterrupt):  # SIGTERM ends the process
            token = f"?token={album.token}" if album else ""
            output.result(f"http://{ADDRESS}:{sock.getsockname()[1]}/{token}")
            output.flush()
            run_app(site.app(), sock)
    return exit_code_of(signal.SIGINT)
