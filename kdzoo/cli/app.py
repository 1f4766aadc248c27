"""The `kdzoo` command: its subcommands, and errors as one sentence instead of a traceback."""

import _thread
import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from kdzoo.cli import (
    benchmark,
    card,
    compress,
    create,
    data,
    demo,
    evaluate,
    export,
    list_names,
    load,
    pair,
    train,
)
from kdzoo.cli.help_texts import Command
from kdzoo.version import __version__

_EXPECTED = (ValueError, OSError, ImportError, RuntimeError, MemoryError)
_INTERRUPTED = 130  # What shells report for a process that Ctrl-C ended.

app = typer.Typer(
    name="kdzoo",
    help="Knowledge distillation and compression for Keras 3: from a big model that is right to a "
    "small one. `kdzoo COMMAND -h` explains a command.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # Plain help comes faster, and never cuts a name off.
    pretty_exceptions_enable=False,
)
app.command("list", cls=Command)(list_names.list_names)
app.command("card", cls=Command)(card.card)
app.command("pair", cls=Command)(pair.pair)
app.command("create", cls=Command)(create.create)
app.command("load", cls=Command)(load.load)
app.command("train", cls=Command)(train.train)
app.command("evaluate", cls=Command)(evaluate.evaluate)
app.command("compress", cls=Command)(compress.compress)
app.command("export", cls=Command)(export.export)
app.command("benchmark", cls=Command)(benchmark.benchmark)
app.add_typer(data.app, name="data")
app.command("demo", cls=Command)(demo.demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kdzoo {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    # Without it, TensorFlow logs about the processor whenever it starts.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: What would follow `kdzoo` in a terminal; the process's own when None.

    Returns:
        The exit status: 0, 1 for what went wrong, 2 for a wrong command, 130 for Ctrl-C. Errors
        that a user can mend are one sentence on standard error; with KDZOO_TRACEBACK=1 in the
        environment, and for any other error, the traceback is shown.
    """
    try:
        with _interrupts_raised_again():
            status = app(args=arguments, prog_name="kdzoo", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        status = _INTERRUPTED
    except Exception as error:
        if hasattr(error, "format_message"):  # How typer, and click before it, say "wrong command".
            return _fail(f"{error.format_message()} (see {_help_of(error)})", 2)
        if os.environ.get("KDZOO_TRACEBACK") or not isinstance(error, _EXPECTED):
            raise
        return _fail(_sentence(error), 1)
    if status == _INTERRUPTED:
        return _fail("Interrupted; trainings and recordings go on where they were.", status)
    return status if isinstance(status, int) else 0


@contextlib.contextmanager
def _interrupts_raised_again() -> Iterator[None]:
    """Context in which Ctrl-C counts also where Python drops what it raises.

    So it is within a callback of the garbage collector, such as JAX's.
    """
    usual = sys.unraisablehook

    def raise_again(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            # Soon, as what is raised in here is dropped, too.
            threading.Timer(0.05, _thread.interrupt_main).start()
        else:
            usual(unraisable)

    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        sys.unraisablehook = usual


def _sentence(error: Exception) -> str:
    """Returns what an expected error says."""
    if isinstance(error, MemoryError):
        found = f": {error}" if str(error) else ""
        return (
            f"Expected data and a model that memory has room for. Received: more{found}; take "
            "fewer or smaller images (--image-size)"
        )
    return str(error) or type(error).__name__


def _help_of(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f"`{context.command_path if context else 'kdzoo'} --help`"


def _fail(message: str, status: int) -> int:
    """Writes a message as one line and returns the exit status."""
    sys.stderr.write(f"kdzoo: {' '.join(message.split())}\n")
    return status
