"""Checkpoints of earlier versions: `model.weights.h5` of Keras and `seeds.npz`, without hashes.

HDF5 can point at other files, declare any size and inflate what is compressed. Only what Keras
itself writes is read: arrays that lie in the file as they are, of the shapes that the model has.
"""

import io
import zipfile

import numpy as np

from kdzoo.checkpoints.files import Damaged, check_finite, guarded, most_bytes
from kdzoo.checkpoints.state import SEED
from kdzoo.utils import read_bytes

WEIGHTS = "model.weights.h5"
SEEDS = "seeds.npz"
_MOST_HEADER = 1 << 10


def read_arrays(directory, expected):
    """Returns name -> array of a checkpoint without hashes.

    Args:
        directory: The checkpoint's, a path.
        expected: Name -> array of the model that is to take them.

    Raises:
        Damaged: If a file is missing, is none of its format, or holds something else than finite
            numbers in the shapes of the model.
    """
    weights = {name: each for name, each in expected.items() if not name.startswith(SEED)}
    seeds = {name: each for name, each in expected.items() if name.startswith(SEED)}
    arrays = {
        **_read_weights(directory / WEIGHTS, weights),
        **_read_seeds(directory / SEEDS, seeds),
    }
    return {name: arrays[name] for name in expected}


def _read_weights(path, expected):
    import h5py

    def read():
        content = read_bytes(path, most_bytes(expected))
        with h5py.File(io.BytesIO(content), "r") as file:
            return {name: _array(path, file, name, each) for name, each in expected.items()}

    arrays = guarded(path, read)
    check_finite(path, arrays)
    return arrays


def _array(path, file, name, expected):
    """An array of an HDF5 file, once it is sure to lie in the file as it is."""
    import h5py

    *groups, last = name.split("/")
    place = file
    for group in groups:
        place = _linked(path, place, group, name, h5py.Group)
    found = _linked(path, place, last, name, h5py.Dataset)
    if found.shape != expected.shape:
        raise Damaged(path, f"{name!r} of shape {found.shape}, not {expected.shape}")
    plan = found.id.get_create_plist()
    is_plain = plan.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
    if not is_plain or plan.get_nfilters() or plan.get_external_count():
        raise Damaged(path, f"{name!r} that is compressed, in parts or in another file")
    if found.dtype.kind not in "fiubV" or found.dtype.itemsize > 8:
        raise Damaged(path, f"{name!r} that is not of numbers")
    if found.id.get_storage_size() != expected.size * found.dtype.itemsize:
        raise Damaged(path, f"{name!r} without its values")
    array = found[()]
    if array.dtype.kind == "V":  # How Keras writes bfloat16, the upper half of a float32.
        bits = np.frombuffer(array.tobytes(), "<u2").astype("uint32") << 16
        array = bits.view("float32").reshape(expected.shape)
    kinds = ("f", "iu", "b")
    if not any({array.dtype.kind, expected.dtype.kind} <= set(kind) for kind in kinds):
        raise Damaged(path, f"{name!r} of {array.dtype.name}, not {expected.dtype.name}")
    return np.asarray(array, expected.dtype)


def _linked(path, place, name, whole, kind):
    """What a name in a group leads to, if that lies in this file."""
    import h5py

    link = place.get(name, getlink=True)
    found = place[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, kind):
        raise Damaged(path, f"none of {whole!r}")
    return found


def _read_seeds(path, expected):
    """The seeds of an `.npz` file: what NumPy writes for arrays of these shapes, and no other."""
    most = sum(seed.nbytes + _MOST_HEADER for seed in expected.values()) + _MOST_HEADER

    def read():
        with zipfile.ZipFile(io.BytesIO(read_bytes(path, most))) as archive:
            return {name: _seed(path, archive, name, each) for name, each in expected.items()}

    return guarded(path, read)


def _seed(path, archive, name, expected):
    entry = f"seed_{name.removeprefix(SEED)}.npy"
    if entry not in archive.namelist():
        raise Damaged(path, f"none of {entry!r}")
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
