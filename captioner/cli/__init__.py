"""The command line, one file per group of commands: results on stdout, progress and messages on stderr.

Exceptions become messages and exit codes here: 0 done, 1 failed or a check failed, 2 invalid usage or config; a signal
has that of `processes.exit_code_of`, after `train` has saved.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import warnings
from collections import UserDict
from collections.abc import Mapping
from traceback import walk_tb
from typing import Any

import click

import captioner
from captioner.cli import output, processes
from captioner.errors import CaptionerError, MissingLibraryError, ProblemsError, library_of

DEBUG = "--debug"
COMMANDS: Mapping[str, Mapping[str, str]] = {
    "Photographs": {
        "caption": "Write captions and keywords for photographs.",
        "search": "Find captioned photographs by words.",
        "album": "Print what the album knows, and export, check or clean it.",
        "serve": "Show the album and caption photographs on a local web page.",
    },
    "Train and sample": {
        "train": "Train a captioning model.",
        "sample": "Write captions for the images of a data set.",
        "evaluate": "Score captions against reference captions.",
        "gradcheck": "Check the gradients of every layer and of the configured model.",
    },
    "Data sets": {"prepare": "Build a data set from photographs and captions."},
    "Share": {
        "export": "Write a trained model to a file for others.",
        "card": "Print what a model is, its scores, license and terms.",
    },
    "Look inside": {"report": "Write an HTML report of a run.", "inspect": "Analyze a trained model."},
    "Set up": {
        "config": "List, write and print config files.",
        "doctor": "Print versions, BLAS, cores and missing extras.",
    },
}
"""The headings of the help, and below each its commands with the first sentence of their help."""
MODULES = {
    **{name: f"captioner.photos.cli.{name}" for name in ("caption", "search", "album", "serve", "prepare")},
    "gradcheck": "captioner.teaching.cli",
    "card": "captioner.cli.export",
}
"""The module of each command that is not `captioner.cli.COMMAND`."""


class LazyCommands(UserDict[str, Any]):
    """Commands by name, each imported on first use from its module."""

    def __getitem__(self, name: str) -> click.Command:
        if self.data[name] is None:
            module = importlib.import_module(MODULES.get(name, f"captioner.cli.{name}"))
            self.data[name] = getattr(module, name)
        command: click.Command = self.data[name]
        return command


class LazyGroup(click.Group):
    """The commands of `COMMANDS` under their headings; the list of them imports none."""

    def __init__(self, **options: Any) -> None:
        names = (name for commands in COMMANDS.values() for name in commands)
        super().__init__(commands=LazyCommands(dict.fromkeys(names)), **options)

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of the commands in the order of the help."""
        return [*self.commands]

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings, with all summaries in one column."""
        width = max(map(len, self.commands))
        for heading, commands in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:<{width}}", summary) for name, summary in commands.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog="""\b
Examples:
  captioner caption photo.jpg holiday/     # write captions for photographs
  captioner train                          # train on generated scenes
  captioner sample runs/scenes -n 10       # caption ten validation images
""",
)
@click.version_option(captioner.__version__, prog_name="captioner")
@click.option(
    DEBUG, is_flag=True, expose_value=False, help="Print the traceback of an error; also accepted after the command."
)
@click.pass_context
def cli(context: click.Context) -> None:
    """Caption photographs, and train image captioners in pure NumPy."""
    if context.invoked_subcommand != "serve":  # it returns the memory of large photographs to the kernel
        from captioner.parallel.machine import use_huge_pages  # here, so that the list of commands imports no ctypes

        use_huge_pages()


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with its exit code."""
    output.open_closed_streams()
    warnings.showwarning = output.warn
    if args is None:
        # Matrix products use one BLAS thread each; starting others would add 20 ms to the import of NumPy.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks must not end the program.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    words, debug = _without_debug(sys.argv[1:] if args is None else args)
    code = _run(words, debug)
    if args is None:
        # During shutdown, Python would print a traceback for an interrupt.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if code:
            processes.exit_at_once(code)
    sys.exit(code)


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
        output.note(*error.format_message().splitlines())
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "captioner"
        message = error.format_message().rstrip(".").replace("\n\t", " ")  # click lists choices line by line
        if isinstance(error, click.NoSuchOption) and (path := _config_option(error)):
            message = f"No such option '{error.option_name}'; try -o {path}=VALUE"
        output.problem(f"{message}{'' if message.endswith('?') else ';'} see {command} --help")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        output.problem("interrupted")
        return processes.exit_code_of(signal.SIGINT)
    except (BrokenPipeError, SystemExit):
        # The reader closed the pipe; click raises SystemExit for it.
        output.discard(sys.stdout.fileno())
        return 0
    except (CaptionerError, ImportError, OSError, MemoryError, RuntimeError) as error:
        failure = _failure(error, args)
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


def _config_option(error: click.NoSuchOption) -> str | None:
    """Return the path of the config option that has the name of the unknown one, such as `--learning-rate`, or None."""
    context = error.ctx
    if context is None or all(parameter.name != "overrides" for parameter in context.command.params):
        return None
    from captioner.config.checks import is_used
    from captioner.config.option_table import OPTIONS

    name, command = error.option_name.lstrip("-").replace("-", "_"), context.command_path.partition(" ")[2]
    same = [path for path in OPTIONS if path.rpartition(".")[2] == name and is_used(path, command)]
    return min(same, key=lambda path: path.count("."), default=None)


def _failure(error: BaseException, args: list[str]) -> CaptionerError | None:
    """Convert an exception of the command `args` to a CaptionerError, or return None for a bug."""
    match error:
        case CaptionerError():
            return error
        case ImportError():
            return MissingLibraryError(error) if library_of(error) else None
        case MemoryError():
            decoding = dict.fromkeys(("caption", "sample", "evaluate", "report"), "decode.beam_width")
            option = {"train": "train.batch_size or data.memory_mib", **decoding}.get(args[0])
            return CaptionerError("not enough memory" + (f"; try a smaller {option}" if option else ""))
        case RuntimeError() if str(error) == "can't start new thread":
            return CaptionerError("cannot start a thread: not enough memory, or too many threads of this user")
        case OSError(filename=None):
            *_, (frame, _) = walk_tb(error.__traceback__)
            if frame.f_globals["__name__"] == "click.utils":  # its `echo` prints help and version
                return output.OutputError(f"output: {error.strerror or error}")
            return CaptionerError(f"a system call failed: {error.strerror or error}; try --debug for the traceback")
        case OSError():
            return CaptionerError(f"{os.fsdecode(error.filename)}: {error.strerror or error}")
        case _:
            return None
