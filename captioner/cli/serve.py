"""captioner serve: caption photographs on a local web page."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.processes import stop_signals
from captioner.cli.shared_options import example_override_option, examples, recipe_options, run_argument
from captioner.errors import UsageError, install_command
from captioner.serve.security import MAX_PIXELS, Limits

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
    "--max-bytes", type=click.IntRange(1, 1 << 30), default=Limits.max_bytes, metavar="N",
    help="Maximum bytes of a photograph.",
)  # fmt: skip
@click.option(
    "--max-pixels", type=click.IntRange(1, MAX_PIXELS), default=Limits.max_pixels, metavar="N",
    help="Maximum pixels of a photograph.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1, 64), default=Limits.workers, metavar="N",
    help="Caption N photographs at the same time.",
)  # fmt: skip
@click.option(
    "--queue", type=click.IntRange(1, 10_000), default=Limits.queue, metavar="N",
    help="Maximum number of photographs that wait.",
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(0.1, 3600), default=Limits.seconds, metavar="SECONDS",
    help="Maximum time from a photograph to its caption.",
)  # fmt: skip
@recipe_options
@example_override_option("decode.beam_width=5")
def serve(
    run: Path, host: str, port: int, allow_host: tuple[str, ...], max_bytes: int, max_pixels: int, workers: int,
    queue: int, timeout: float, encoder: str | None, encoder_option: dict[str, str], overrides: tuple[str, ...],
) -> int:  # fmt: skip
    """Caption photographs on a local web page.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is used, a checkpoint file, or an installed model
    (`captioner models`). The address of the page is printed on stdout. POST /caption returns the caption of a
    photograph as JSON, with the fields of `captioner sample --json`. Photographs are not written to disk. Ctrl-C stops
    the server.

    By default, only this machine can reach the server. With another --host, everyone on the network can. Needs the
    extras images and web.
    """
    if missing := [library for library in NEEDED if find_spec(library) is None]:
        extras = ",".join(sorted({NEEDED[library] for library in missing}))
        raise UsageError(f"needs {', '.join(missing)}: not installed; try {install_command(extras)}")

    from captioner.inference.load import captioner_of, open_runs
    from captioner.inference.photographs import open_encoder_of, photo_warning
    from captioner.serve import server
    from captioner.serve.app import Site
    from captioner.serve.security import is_loopback
    from captioner.serve.service import Service

    limits = Limits(max_bytes, max_pixels, workers, queue, timeout)
    server.check_names(allow_host)
    with server.bind(host, port) as sock, stop_signals() as caught:
        loaded = open_runs([run], overrides)
        opened = open_encoder_of(loaded, encoder, encoder_option)
        captioner = captioner_of(loaded)
        output.warnings(filter(None, (*captioner.warnings, photo_warning(loaded))))
        if not is_loopback(host):
            output.warnings([f"--host {host}: everyone who can reach this machine can use the server, unencrypted"])
        service = Service(captioner, opened, run.resolve().name, limits)
        site = Site(service, output.failure)
        output.result(server.page_url(host, sock.getsockname()[1]))
        output.flush()
        output.note("Ctrl-C stops the server")
        server.run(site, sock, host, allow_host, lambda: bool(caught))
    return 128 + caught[0] if caught else 0
