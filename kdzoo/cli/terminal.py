"""What every command shares: tables, a sign of life, and Keras without TensorFlow's chatter."""

import contextlib
import logging
import os
import re
import sys

from kdzoo.utils import without_chatter

# glog's lines, and what stands before them: "I0000 00:00:1795.9 93 port.cc:153] oneDNN ...";
# and what the LiteRT interpreter says of itself.
_CHATTER = re.compile(
    rb"WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d:|To enable the following instr|"
    rb"INFO: "
)


def table(*columns, title=None):
    """Returns an empty `rich.table.Table`; a column whose name starts with ">" is right-aligned."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for place, column in enumerate(columns):
        right = column.startswith(">")
        # What stands first is a name, which may be copied: whole, however narrow the terminal, as
        # numbers are.
        made.add_column(
            column.lstrip(">"),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=right or place == 0,
        )
    return made


def show(renderable):
    """Prints a table to standard output, unbroken where that is no terminal.

    A terminal that is too narrow for names and numbers breaks the lines itself: nothing is cut.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.measure import Measurement

    for column in getattr(renderable, "columns", ()):
        if column.no_wrap:
            column.min_width = max(cell_len(str(each)) for each in (column.header, *column.cells))
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    console = Console(width=width, highlight=False, markup=False)
    least = Measurement.get(console, console.options.update(width=10_000), renderable).minimum
    console.width = max(console.width, least)
    console.print(renderable)


@contextlib.contextmanager
def working(text):
    """Shows `text` and a spinner on standard error, in a terminal, while the block runs."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    # A descriptor of its own: the block may hold back standard error.
    with os.fdopen(os.dup(2), "w") as file, Console(file=file).status(f"{text} ..."):
        yield


def quiet():
    """Returns a context in which TensorFlow and LiteRT keep their chatter to themselves."""
    return without_chatter(_CHATTER)


def start_keras(training=False):
    """Imports Keras and the classes that saved models need, without TensorFlow's start-up lines.

    Args:
        training: Whether models will be trained: Keras imports TensorFlow, where it is installed,
            on any backend as soon as a seed is set.
    """
    if "kdzoo.distillation.distiller" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with working("Starting Keras"), quiet():
        import keras

        import kdzoo.compression
        import kdzoo.distillation.distiller
        import kdzoo.losses
        import kdzoo.models.ensemble  # noqa: F401

        if training:
            keras.utils.set_random_seed(0)
    # Its warnings are for those who write TensorFlow: that several models are traced, for example.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def percent(share, digits=1):
    """Returns a share in [0, 1] as e.g. `"97.5 %"`."""
    return f"{100 * share:.{digits}f} %"


def mean_and_std(summary):
    """Returns `{"mean": 0.975, "std": 0.002, ...}` as e.g. `"97.5 ± 0.2 %"`."""
    return f"{100 * summary['mean']:.1f} ± {100 * summary['std']:.1f} %"


def architecture(name, arguments):
    """Returns a name and what its builder is also given: `"wide_resnet_16_1 (depth=10)"`."""
    given = ", ".join(f"{key}={value}" for key, value in arguments.items())
    return f"{name} ({given})" if given else name
