"""The logits of a teacher that ran elsewhere: an `.npz` file of paths and logits."""

import pathlib
import unicodedata
from collections.abc import Iterable

import numpy as np

from kdzoo.data.split import Split
from kdzoo.graph.predictions import look_like_probabilities
from kdzoo.utils import check_path, first_line, open_regular
from kdzoo.utils.types import PathLike

_NAMED = 3  # Images that an error names.
_EXAMPLE = "`np.savez(file, paths=np.array(paths), logits=logits)` writes such a file"


class LogitsFile:
    """What a teacher gave for the images of a folder, by their paths in it.

    Args:
        path: An `.npz` file with the arrays `paths`, strings (n,), relative to the folder, and
            `logits`, numbers (n, classes).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds something else, a path twice, numbers that are not finite, or
            probabilities.
    """

    def __init__(self, path: PathLike):
        self.path = check_path("teacher_logits", path)
        paths, self.logits = _read(self.path)
        names = [_canonical(str(name)) for name in paths]
        self._places = {name: place for place, name in enumerate(names)}
        if len(self._places) < len(names):
            twice = next(name for place, name in enumerate(names) if self._places[name] != place)
            raise self._wrong(f"{twice!r} twice")
        if look_like_probabilities(self.logits, "classes"):
            raise self._wrong("probabilities, which sum to 1; take their logarithm")

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.logits.shape[1]

    def has(self, split: Split) -> bool:
        """Whether there are logits for all images of a split."""
        return split.paths is not None and not self._missing(split.paths)

    def of(self, split: Split) -> np.ndarray:
        """Returns the logits of all images of a split, float32 (n, classes).

        Raises:
            ValueError: If the split is of no folder, or some are missing; the error names them.
        """
        if split.paths is None:
            raise ValueError(
                f"Expected images of a folder, which have paths, for the logits in {self.path}. "
                f"Received: {split!r}"
            )
        missing = self._missing(split.paths)
        if missing:
            more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
            raise self._wrong(f"none for {', '.join(missing[:_NAMED])}{more}")
        return self.logits[[self._places[_canonical(name)] for name in split.paths]]

    def _missing(self, paths: Iterable[str]) -> list[str]:
        return [name for name in paths if _canonical(name) not in self._places]

    def _wrong(self, what: str) -> ValueError:
        return ValueError(
            f"Expected the logits of each image, once, in {self.path}. Received: {what}"
        )


def _canonical(name: str) -> str:
    """A path as both sides may have written it: on Windows, or on macOS with accents apart."""
    name = name.replace("\\", "/").removeprefix("./")
    return unicodedata.normalize("NFC", name)


def _read(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """The arrays of a file: paths, (n,), and logits in float32, (n, classes)."""
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as content:
            found = {name: content[name] for name in ("paths", "logits") if name in content.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # A damaged file leads NumPy to any exception.
        raise ValueError(
            f"Expected an .npz file with the arrays 'paths' and 'logits'; {_EXAMPLE}. Received: "
            f"{path}, of which is said: {first_line(error)}"
        ) from error
    paths, logits = found.get("paths"), found.get("logits")
    if paths is None or logits is None or not _are_right(paths, logits):
        raise ValueError(
            f"Expected strings 'paths' (n,) and finite numbers 'logits' (n, classes); {_EXAMPLE}. "
            f"Received: {path} with {_in_words(found)}"
        )
    return paths, logits.astype("float32")


def _are_right(paths: np.ndarray, logits: np.ndarray) -> bool:
    """Whether there are strings, and as many rows of finite numbers."""
    are_numbers = logits.dtype.kind in "fiu" and logits.ndim == 2 and logits.shape[1] > 1
    is_each = paths.dtype.kind == "U" and paths.shape == logits.shape[:1]
    return are_numbers and is_each and bool(np.isfinite(logits).all())


def _in_words(arrays: dict[str, np.ndarray]) -> str:
    """What arrays are there, by their types and shapes."""
    words = [f"{name!r} of {array.dtype} {array.shape}" for name, array in arrays.items()]
    return " and ".join(words) or "neither"
