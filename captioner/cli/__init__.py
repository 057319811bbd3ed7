"""The command line, one file per command: results on stdout, progress and messages on stderr.

Exceptions become messages and exit codes here: 0 done, 1 failed or a check failed, 2 invalid usage or config, 129, 130
and 143 stopped by a signal after saving.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import warnings
from collections.abc import Iterator

import click

import captioner
from captioner.cli import interrupts, output
from captioner.cli.lazy_group import LazyGroup
from captioner.errors import CaptionerError, MissingLibraryError, ProblemsError
from captioner.extras import library_of

DEBUG = "--debug"
COMPLETION = "_CAPTIONER_COMPLETE"
"""The environment variable with which a shell asks for completions."""
COMMANDS = {
    "card": "Print a model card.",
    "config": "List, write, print and check config files.",
    "data": "Check, summarize, show and merge data sets.",
    "distill": "Train a model on the captions of teachers.",
    "doctor": "Check the installation and describe the machine.",
    "evaluate": "Score captions against reference captions.",
    "export": "Write a model for other libraries.",
    "gradcheck": "Check the gradients of every layer and of the configured model.",
    "import": "Make a checkpoint of exported parameters.",
    "inspect": "Analyze a trained model.",
    "models": "List the installed models.",
    "monitor": "Monitor a training run in the browser.",
    "package": "Write a model as a Python package.",
    "prepare": "Build a data set from photographs and captions.",
    "report": "Write an HTML report of runs.",
    "sample": "Write captions for images.",
    "serve": "Caption photographs on a local web page.",
    "train": "Train a captioning model.",
}
"""The commands, each in the module of its name, and the first sentence of their help."""


@click.group(
    cls=LazyGroup,
    summaries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  captioner train                          # train on generated scenes
  captioner sample runs/scenes -n 10       # caption ten validation images
""",
)
@click.version_option(captioner.__version__, prog_name="captioner")
@click.option(
    DEBUG, is_flag=True, expose_value=False, help="Print the traceback of an error; also accepted after the command."
)
def cli() -> None:
    """Train recurrent image captioners in pure NumPy and caption images."""


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with its exit code."""
    output.open_closed_streams()
    warnings.showwarning = output.warn
    if args is None:
        sys.unraisablehook = interrupts.raise_again
        # Matrix products use one BLAS thread each; starting others would add 20 ms to the import of NumPy.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks must not end the program.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if COMPLETION in os.environ:
        importlib.import_module("captioner.cli.completion")  # registers the shells
    words, debug = _without_debug(sys.argv[1:] if args is None else args)
    with contextlib.nullcontext() if args is None else _restored():
        code = _run(words, debug)
    if args is None:
        # During shutdown, Python would print a traceback for an interrupt.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if code:
            interrupts.exit_at_once(code)
    sys.exit(code)


@contextlib.contextmanager
def _restored() -> Iterator[None]:
    """Restore what `ranks.joined` sets until the end of the process, whose message and exit need it."""
    program, before_exit, hook = output.PROGRAM[:], interrupts.BEFORE_EXIT[:], sys.excepthook
    try:
        yield
    finally:
        output.PROGRAM[:], interrupts.BEFORE_EXIT[:], sys.excepthook = program, before_exit, hook


def _without_debug(args: list[str]) -> tuple[list[str], bool]:
    """Remove `--debug` from anywhere before a `--`; return the other words, and whether it was there."""
    options = args[: args.index("--")] if "--" in args else args
    return [word for word in options if word != DEBUG] + args[len(options) :], DEBUG in options


def _run(args: list[str], debug: bool) -> int:
    try:
        code = cli.main(args=args, prog_name="captioner", standalone_mode=False)
        with output.ignoring_a_closed_pipe():
            output.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "captioner"
        from captioner.cli import suggestions

        message = suggestions.message(error, args)
        output.problem(f"{message}{'' if message.endswith('?') else ';'} see {command} --help")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        output.problem("interrupted")
        return 128 + signal.SIGINT
    except (BrokenPipeError, SystemExit):
        # The reader closed the pipe; click raises SystemExit for it.
        output.discard(sys.stdout.fileno())
        return 0
    except (CaptionerError, ImportError, OSError, MemoryError) as error:
        failure = _failure(error)
        if failure is None:
            raise
        if isinstance(failure, output.OutputError):
            output.discard(sys.stdout.fileno())
        if debug:
            import traceback

            output.note(*traceback.format_exc().splitlines())
        else:
            for problem in failure.problems if isinstance(failure, ProblemsError) else (failure,):
                output.problem(problem)
        return failure.exit_code


def _raised_in(error: BaseException) -> str:
    """Return the name of the module that raised an exception."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else str(trace.tb_frame.f_globals["__name__"])


def _failure(error: BaseException) -> CaptionerError | None:
    """Convert an exception to a CaptionerError, or return None for a bug."""
    match error:
        case CaptionerError():
            return error
        case ImportError():
            return MissingLibraryError(error) if library_of(error) else None
        case MemoryError():
            return CaptionerError(
                "not enough memory; "
                "try a smaller train.batch_size, decode.beam_width, data.memory_mib or data.scenes.train"
            )
        case OSError(filename=None):
            if _raised_in(error) == "click.utils":  # printing the help failed
                return output.OutputError(f"output: {error.strerror}")
            return CaptionerError(f"a system call failed: {error.strerror or error}; try --debug for the traceback")
        case OSError():
            return CaptionerError(f"{os.fsdecode(error.filename)}: {error.strerror or error}")
        case _:
            return None
