"""captioner serve: caption photographs on a local web page."""

from __future__ import annotations

from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.processes import stop_signals
from captioner.cli.shared_options import example_override_option, examples, recipe_option, run_argument
from captioner.config.overrides import Values
from captioner.errors import UsageError, install_command

NEEDED = {"PIL": "images", "starlette": "web", "uvicorn": "web", "jinja2": "web"}
"""Libraries without which there is no server, and their extras."""


@click.command(
    epilog=examples(
        "serve runs/birds", "serve runs/birds --port 8080 -o decode.beam_width=5 -o decode.length_penalty=0.7"
    )
)
@run_argument
@click.option("--host", default="127.0.0.1", metavar="HOST", help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, metavar="N", help="Port to listen on; 0 is any free one."
)
@click.option(
    "--allow-host", multiple=True, metavar="NAME",
    help="Accept requests to the host NAME, such as that of a reverse proxy; may be repeated.",
)  # fmt: skip
@click.option(
    "--max-bytes", type=click.IntRange(1, 1 << 30), default=20_000_000, metavar="N",
    help="Maximum bytes of a photograph.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1, 64), default=2, metavar="N", help="Caption N photographs at the same time."
)
@click.option(
    "--queue", type=click.IntRange(1, 10_000), default=32, metavar="N",
    help="Maximum number of photographs that are received, wait or are captioned at the same time.",
)  # fmt: skip
@recipe_option
@example_override_option("decode.beam_width=5")
def serve(
    run: Path, host: str, port: int, allow_host: tuple[str, ...], max_bytes: int, workers: int, queue: int,
    encoder: str | None, overrides: Values,
) -> int:  # fmt: skip
    """Caption photographs on a local web page.

    RUN_OR_MODEL is a run folder, whose best checkpoint is used, or a model file. The address of the page is printed on
    stdout. POST /caption returns the caption of a photograph as JSON, with the fields of `captioner sample --json`.
    Photographs are not written to disk. Ctrl-C stops the server.

    By default, only this machine can reach the server. With another --host, everyone on the network can. Needs the
    extras images and web.
    """
    if missing := [library for library in NEEDED if find_spec(library) is None]:
        extras = ",".join(sorted({NEEDED[library] for library in missing}))
        raise UsageError(f"needs {', '.join(missing)}: not installed; try {install_command(extras)}")

    from captioner.captioning.captioner import Captioner
    from captioner.captioning.checks import check_reads_data
    from captioner.captioning.load import open_runs
    from captioner.captioning.photographs import open_encoder_of, photo_warning
    from captioner.serve import server
    from captioner.serve.app import Limits, Site
    from captioner.serve.guard import Guard, check_host_names, is_loopback

    check_host_names(allow_host)
    with server.bind(host, port) as sock, stop_signals() as caught:
        loaded = open_runs([run], overrides)
        check_reads_data(loaded, overrides)
        opened = open_encoder_of(loaded, encoder)
        captioner = Captioner(loaded)
        output.warnings(filter(None, (*captioner.warnings, photo_warning(loaded))))
        if not is_loopback(host):
            output.warnings([f"--host {host}: everyone who can reach this machine can use the server, unencrypted"])
        limits = Limits(max_bytes, workers, queue)
        with closing(Site(captioner, opened, run.resolve().name, limits, output.failure)) as site:
            output.result(server.page_url(host, sock.getsockname()[1]))
            output.flush()
            output.note("Ctrl-C stops the server")
            server.run(Guard(site.app(), (host, *allow_host), not is_loopback(host)), sock, lambda: bool(caught))
    return 128 + caught[0] if caught else 0
