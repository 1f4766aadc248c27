"""What every command shares: tables, a sign of life, and Keras without TensorFlow's chatter."""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence

import keras

from kdzoo.utils import without_chatter

if typing.TYPE_CHECKING:
    from rich.table import Table

# glog's lines, and what stands before them: "I0000 00:00:1795.9 93 port.cc:153] oneDNN ...";
# and what the LiteRT interpreter says of itself.
_CHATTER = re.compile(
    rb"WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d:|To enable the following instr|"
    rb"INFO: "
)


def table(*columns: str, title: str | None = None) -> "Table":
    """Returns an empty table.

    Args:
        *columns: The names of its columns; one that starts with ">" is right-aligned.
        title: What stands above it; nothing when None.
    """
    from rich import box
    from rich.table import Table

    empty = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for position, column in enumerate(columns):
        right = column.startswith(">")
        # Names stand first and may be copied: like numbers they stay whole, however narrow the
        # terminal is.
        empty.add_column(
            column.lstrip(">"),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=right or position == 0,
        )
    return empty


def show(table: "Table") -> None:
    """Prints a table to standard output, unbroken where that is no terminal.

    A terminal that is too narrow for names and numbers breaks the lines itself: nothing is cut.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.measure import Measurement

    title, table.title = table.title, None  # It would be broken in the middle of words.
    for column in table.columns:
        if column.no_wrap:
            column.min_width = max(cell_len(str(cell)) for cell in (column.header, *column.cells))
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    console = Console(width=width, highlight=False, markup=False)
    least = Measurement.get(console, console.options.update(width=10_000), table).minimum
    console.width = max(console.width, least)
    if title:
        console.print(title, style="table.title", soft_wrap=True)
    console.print(table)


_spins = True  # Not while something else is drawn on the terminal.


def show_spinners(shown: bool) -> None:
    """Says whether `working` shows its spinner.

    Args:
        shown: False while something else is drawn on the terminal.
    """
    global _spins
    _spins = shown


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """Shows `text` and a spinner on standard error, in a terminal, while the block runs."""
    if not (_spins and sys.stderr.isatty()):
        yield
        return
    from rich.console import Console

    # A descriptor of its own: the block may hold back standard error.
    with os.fdopen(os.dup(2), "w") as file, Console(file=file).status(f"{text} ..."):
        yield


def quiet() -> contextlib.AbstractContextManager[None]:
    """Returns a context in which TensorFlow and LiteRT keep their chatter to themselves."""
    return without_chatter(_CHATTER)


class QuietTensorFlow(importlib.abc.MetaPathFinder):
    """Lets TensorFlow start without its lines where Keras imports it later, on another backend.

    Keras does so as soon as it saves or loads a model.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns the specification of TensorFlow with a loader that is quiet, else None."""
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:  # Some only ask whether TensorFlow is there.
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return spec
        usual = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            with quiet():
                usual(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def start_keras(training: bool = False) -> None:
    """Imports Keras and the classes that saved models need, without TensorFlow's start-up lines.

    Args:
        training: Whether models will be trained: Keras imports TensorFlow, where it is installed,
            on any backend as soon as a seed is set.
    """
    if sys.modules.get("keras.src"):
        _run_imports()
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with working("Starting Keras"), quiet():
        _run_imports()
        if training:
            keras.utils.set_random_seed(0)
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, QuietTensorFlow())
    # Its warnings are for those who write TensorFlow: that several models are traced, for example.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _run_imports():
    """Runs the modules that `kdzoo_command` put off; here, and not in two threads at once."""
    keras.version()  # Once Keras runs, no module is put off any more.
    for name, module in list(sys.modules.items()):
        if name.startswith("kdzoo."):
            module.__doc__  # noqa: B018


def percent(fraction: float, digits: int = 1) -> str:
    """Returns a fraction in [0, 1] as e.g. `"97.5 %"`."""
    return f"{100 * fraction:.{digits}f} %"


def mean_and_std(summary: Mapping[str, float]) -> str:
    """Returns `{"mean": 0.975, "std": 0.002, ...}` as e.g. `"97.5 ± 0.2 %"`."""
    return f"{100 * summary['mean']:.1f} ± {100 * summary['std']:.1f} %"


def architecture(name: str, arguments: Mapping[str, object]) -> str:
    """Returns a name and what its builder is also given: `"wide_resnet_16_1 (depth=10)"`."""
    given = ", ".join(f"{key}={value}" for key, value in arguments.items())
    return f"{name} ({given})" if given else name
