"""The command line: one file a command. Results go to stdout, talk to stderr.

Only here errors become lines and exit codes: 0 done, 1 failed or a check failed, 2 usage or config, 129, 130 and
143 stopped by a signal after saving.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import click

import captioner
from captioner.cli.cards import one_line
from captioner.cli.config import config
from captioner.cli.data import data
from captioner.cli.evaluate import evaluate
from captioner.cli.gradcheck import gradcheck
from captioner.cli.inspect import inspect
from captioner.cli.prepare import prepare
from captioner.cli.sample import sample
from captioner.cli.train import train
from captioner.errors import CaptionerError, ConfigError, MissingLibraryError

EXTRAS = ("PIL", "onnxruntime")
"""What only photographs need."""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  captioner train                          # learn to describe generated pictures
  captioner sample runs/scenes -n 10       # what it says of ten of them
""",
)
@click.version_option(captioner.__version__, prog_name="captioner")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Train recurrent image captioners, written by hand in NumPy, and let them describe images."""


for command in (prepare, train, sample, evaluate, data, gradcheck, inspect, config):
    cli.add_command(command)


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        # A word that the terminal's encoding lacks must not end the program.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = _run(sys.argv[1:] if args is None else args)
    if args is None:
        # Python is about to shut down, where it takes an interrupt for a fault of its own.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def _run(args: list[str]) -> int:
    debug = "--debug" in args
    try:
        code = cli.main(args=args, prog_name="captioner", standalone_mode=False)
        if sys.stdout:
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "captioner"
        click.echo(f"captioner: {error.format_message().rstrip('.')}; see {command} --help", err=True)
        return error.exit_code
    except CaptionerError as error:
        if debug:
            raise
        for problem in error.problems if isinstance(error, ConfigError) else (error,):
            click.echo(f"captioner: {one_line(problem)}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("captioner: interrupted", err=True)
        return 128 + signal.SIGINT
    except (BrokenPipeError, SystemExit):
        # The reader has seen enough; click makes a SystemExit of it. Python must not complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as missing:
        if debug or missing.name not in EXTRAS:
            raise
        told = MissingLibraryError(missing)
        click.echo(f"captioner: {told}", err=True)
        return told.exit_code
    except OSError as error:
        if debug:
            raise
        click.echo(one_line(f"captioner: {error.filename or 'output'}: {error.strerror or error}"), err=True)
        return 1
    except MemoryError:
        click.echo(
            "captioner: not enough memory; try a smaller train.batch_size, decode.beam or data.memory_mib", err=True
        )
        return 1
