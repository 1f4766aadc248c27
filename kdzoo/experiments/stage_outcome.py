"""What a stage yields for one seed: named products, each in a file, and what its row says."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kdzoo.experiments.run_json_files import RESERVED
from kdzoo.graph import model_saving
from kdzoo.teacher_cache import fingerprints
from kdzoo.utils import atomic_path, digest_of_file, is_number, shown

if TYPE_CHECKING:
    import keras

MODEL = "model"  # The product that other stages learn or start from.


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a stage yields for one seed.

    Attributes:
        products: Name -> a model, which is saved as `NAME.keras`; a NumPy array, which is saved as
            `NAME.npy`; or the path of the file of that name that the stage wrote into its
            directory. `"model"`, a model, is what other stages learn or start from; they reach the
            others by `StageContext.product`.
        measured: What the row says of it, JSON-able; `"test_accuracy"` is among it.
        history: The history of its training: a dictionary of lists of numbers, or of such
            dictionaries, one for each training.
        seconds: How long it took; None for what the engine measured.
    """

    products: Mapping[str, Any]
    measured: Mapping[str, Any]
    history: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float | None = None

    def check(self, directory: pathlib.Path, reserved: Iterable[str] = ()) -> None:
        """Raises `ValueError` unless it can be kept whole; nothing is written.

        Args:
            directory: The directory of the stage.
            reserved: Further names in a row that what is measured cannot have.
        """
        for field in ("products", "measured", "history"):
            if not isinstance(getattr(self, field), Mapping):
                value = shown(getattr(self, field))
                raise ValueError(f"Expected {field} as a dictionary. Received: {field}={value}")
        model = self.products.get(MODEL)
        if not model_saving.is_model(model):
            raise ValueError(
                f"Expected a keras.Model as the product {MODEL!r} of a stage. Received: "
                f"{shown(model)} among {shown(sorted(map(str, self.products)))}"
            )
        files = [_checked_file(name, product, directory) for name, product in self.products.items()]
        if len(set(files)) < len(files):
            raise ValueError(f"Expected products in files of their own. Received: {files}")
        accuracy: Any = self.measured.get("test_accuracy")
        if not is_number(accuracy) or not 0 <= accuracy <= 1:
            raise ValueError(
                "Expected the fraction of test images that are classified right among what is "
                f"measured. Received: test_accuracy={shown(accuracy)}"
            )
        for name in self.measured:
            if name in (*RESERVED, *reserved):
                raise ValueError(
                    f"Expected another name of what is measured. Received: {name!r}, by which a "
                    "row says what it is"
                )

    def save(self, directory: pathlib.Path) -> dict[str, str]:
        """Saves the products; returns name -> SHA-256: of a model's weights, else of the file."""
        hashes = {}
        for name, product in self.products.items():
            path = directory / _file(name, product)
            if model_saving.is_model(product):
                model_saving.save_model(product, path)
                hashes[name] = fingerprint(product)
                continue
            if isinstance(product, np.ndarray):
                with atomic_path(path) as unfinished, open(unfinished, "wb") as file:
                    np.save(file, product, allow_pickle=False)
            hashes[name] = digest_of_file(path)
        return hashes


def product_path(directory: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the file of a product, by its name: that of a file, of a model or of an array."""
    paths = [directory / f"{name}{suffix}" for suffix in ("", ".keras", ".npy")]
    return next((path for path in paths if path.is_file()), paths[0])


def fingerprint(model: "keras.Model") -> str:
    """Returns the SHA-256 of a model's weights in half precision.

    So a model that was published in float16 and restored is still the one that was trained.
    """
    return fingerprints.fingerprint_of_model(model, "float16")


def _file(name: str, product: Any) -> str:
    if model_saving.is_model(product):
        return f"{name}.keras"
    return f"{name}.npy" if isinstance(product, np.ndarray) else name


def _checked_file(name: Any, product: Any, directory: pathlib.Path) -> str:
    """The name of the file of a product, if it can be kept under that name."""
    is_name = isinstance(name, str) and name == pathlib.PurePath(name).name and name[:1] != "."
    if not is_name or name in ("result.json", "seconds.json", "precisions.json"):
        raise ValueError(f"Expected products by names that files may have. Received: {shown(name)}")
    path = directory / name
    if isinstance(product, np.ndarray):
        if product.dtype.hasobject:
            raise ValueError(
                f"Expected arrays of numbers. Received: objects in the product {name!r}"
            )
    elif not model_saving.is_model(product):
        is_path = isinstance(product, str | pathlib.Path)
        if not is_path or pathlib.Path(product).absolute() != path.absolute():
            raise ValueError(
                f"Expected a model, an array or the path of {path} as the product {name!r}. "
                f"Received: {shown(product)}"
            )
        if not path.is_file():
            raise ValueError(f"Expected the stage to write {path}. Received: no such file there")
    return _file(name, product)
