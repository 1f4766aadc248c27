"""Checkpoints of earlier versions: `model.weights.h5` of Keras and `seeds.npz`, without hashes.

HDF5 can point at other files, declare any size and inflate what is compressed. Only what Keras
itself writes is read: arrays that are stored in the file as they are, of the model's shapes.
"""

import io
import pathlib
import zipfile

import h5py
import numpy as np

from kdzoo.training.checkpoints.files import Damaged, check_finite, most_bytes, read_or_damaged
from kdzoo.training.checkpoints.state import SEED, State, is_seed, join_name, split_name
from kdzoo.utils import read_bytes

WEIGHTS = "model.weights.h5"
SEEDS = "seeds.npz"
_MOST_HEADER = 1 << 10


def read_arrays(directory: pathlib.Path, expected: State) -> dict[str, np.ndarray]:
    """Returns name -> array of a checkpoint without hashes.

    Args:
        directory: The directory of the checkpoint.
        expected: The `State` of the model that will take the arrays.

    Raises:
        Damaged: If a file is missing, of another format, or holds anything but finite numbers in
            the shapes of the model.
    """
    weights = {name: array for name, array in expected.arrays.items() if not is_seed(name)}
    seeds = {name: array for name, array in expected.arrays.items() if is_seed(name)}
    return {
        **_read_weights(directory / WEIGHTS, weights, expected.own),
        **_read_seeds(directory / SEEDS, seeds),
    }


def _read_weights(path, expected, own):
    def read():
        content, arrays = read_bytes(path, most_bytes(expected)), {}
        with h5py.File(io.BytesIO(content), "r") as file:
            for layer in dict.fromkeys(split_name(name)[0] for name in own):
                for place in _places(_group(path, file, f"{layer}/vars"), set()):
                    arrays[join_name(layer, place)] = None
            arrays.update({name: array for name, array in expected.items() if name not in own})
            return dict(_bounded(path, file, arrays, 2 * len(content)))

    arrays = read_or_damaged(path, read)
    check_finite(path, arrays, {*arrays} - {*expected} | own)
    return arrays


def _bounded(path, file, wanted, most):
    """Names and arrays, of at most `most` bytes in all: many names may lead to one array."""
    for name, expected in wanted.items():
        array = _array(path, file, name, expected)
        most -= array.nbytes
        if most < 0:
            raise Damaged(path, "one array under many names")
        yield name, array


def _group(path, file, name):
    """A group of an HDF5 file that lies in the file, whatever links there are."""
    place = file
    for group in filter(None, name.split("/")):
        place = _linked(path, place, group, name, h5py.Group)
    return place


def _places(group, seen, before=""):
    """The names under which a layer saved arrays itself; a slash in a name is a group."""
    address = h5py.h5o.get_info(group.id).addr
    if address in seen:  # Groups may contain one another in a circle.
        return
    seen.add(address)
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.HardLink) and isinstance(group[name], h5py.Group):
            yield from _places(group[name], seen, f"{before}{name}/")
        else:
            yield f"{before}{name}"


def _array(path, file, name, expected):
    """An array of an HDF5 file, if the file stores it as it is.

    An array that a layer saves itself, for which `expected` is None, has any shape.
    """
    layer, place = split_name(name)
    name = f"{layer}/vars/{place}".lstrip("/")
    above, _, last = name.rpartition("/")
    found = _linked(path, _group(path, file, above), last, name, h5py.Dataset)
    if expected is not None and found.shape != expected.shape:
        raise Damaged(path, f"{name!r} of shape {found.shape}, not {expected.shape}")
    plan = found.id.get_create_plist()
    is_plain = plan.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
    if not is_plain or plan.get_nfilters() or plan.get_external_count():
        raise Damaged(path, f"{name!r} that is compressed, in parts or in another file")
    if found.dtype.kind not in "fiubV" or found.dtype.itemsize > 8:
        raise Damaged(path, f"{name!r} that is not of numbers")
    if found.id.get_storage_size() != found.size * found.dtype.itemsize:
        raise Damaged(path, f"{name!r} without its values")
    array = found[()]
    if array.dtype.kind == "V":  # How Keras writes bfloat16, the upper half of a float32.
        bits = np.frombuffer(array.tobytes(), "<u2").astype("uint32") << 16
        array = bits.view("float32").reshape(found.shape)
    if expected is None:
        return array
    kinds = ("f", "iu", "b")
    if not any({array.dtype.kind, expected.dtype.kind} <= set(kind) for kind in kinds):
        raise Damaged(path, f"{name!r} of {array.dtype.name}, not {expected.dtype.name}")
    return np.asarray(array, expected.dtype)


def _linked(path, place, name, whole, kind):
    """The object that a name in a group leads to, if it lies in this file."""
    link = place.get(name, getlink=True)
    found = place[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, kind):
        raise Damaged(path, f"no {whole!r}")
    return found


def _read_seeds(path, expected):
    """The seeds of an `.npz` file, if NumPy would write arrays of these shapes like it."""
    most = sum(seed.nbytes + _MOST_HEADER for seed in expected.values()) + _MOST_HEADER

    def read():
        with zipfile.ZipFile(io.BytesIO(read_bytes(path, most))) as archive:
            return {name: _seed(path, archive, name, seed) for name, seed in expected.items()}

    return read_or_damaged(path, read)


def _seed(path, archive, name, expected):
    entry = f"seed_{name.removeprefix(SEED)}.npy"
    if entry not in archive.namelist():
        raise Damaged(path, f"no {entry!r}")
    buffer = io.BytesIO()
    np.save(buffer, expected)
    usual = buffer.getvalue()
    info, header = archive.getinfo(entry), usual[: len(usual) - expected.nbytes]
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != len(usual):
        raise Damaged(path, f"{entry!r} of another size")
    content = archive.read(entry)
    if not content.startswith(header):
        raise Damaged(path, f"{entry!r} of another shape or type")
    return np.frombuffer(content[len(header) :], expected.dtype).reshape(expected.shape)
