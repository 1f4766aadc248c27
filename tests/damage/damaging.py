"""Ways to damage files: by chance, with a seed, or as somebody would who knows the format."""

import io
import json
import math
import os
import pathlib
import shutil
import struct
import zipfile
import zlib

_DEEP = "@@deep@@"  # Stands for lists within lists, which `json.dumps` cannot write.
_LIES = ("-1", "0", "1", "x2", "x1000", "2**31", "2**40", "2**63", "+1", "-")
_CODE = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "config": {
        "name": "lambda",
        "function": {
            "class_name": "__lambda__",
            "config": {"code": "4wEAAAAAAAAAAAAAAAAAAAADAAAA", "defaults": None, "closure": None},
        },
    },
    "registered_name": None,
}
HOSTILE = (
    None,
    True,
    -1,
    0,
    2**31,
    10**30,
    10**400,
    0.5,
    1e308,
    float("inf"),
    float("nan"),
    "",
    "x",
    "0",
    "../../outside",
    "/etc/passwd",
    "\0",
    "\ud800",
    "x" * 5000,
    "int8",
    "object",
    [],
    {},
    [[[[None]]]],
    _DEEP,
    _CODE,
    {"class_name": "QuantizeAnnotate", "config": {}},
    {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "eval"},
)

NOT_FINITE = "not finite"  # Damage that a loader itself has to find, whatever the hash says.


class Damage:
    """What was done to a file.

    Attributes:
        how: In words.
        path: The file, relative to the directory of the case.
        resealed: Whether checksums were made to fit again, so that other values may load.
    """

    def __init__(self, how, path, resealed=False):
        self.how, self.path, self.resealed = how, path, resealed


def damage(root, files, rng):
    """Damages one of the files of a directory.

    Args:
        root: The directory, a path; beside it is `outside`.
        files: The files' names, relative to it.
        rng: A `random.Random`.

    Returns:
        A `Damage`.
    """
    name = rng.choice(files)
    path = root / name
    own = [way for suffix, ways in _OF_FORMAT.items() if path.name.endswith(suffix) for way in ways]
    ways = [truncate, flip, overwrite, replace] + 2 * own
    how, resealed = rng.choice(ways)(path, rng)
    return Damage(how, name, resealed)


def truncate(path, rng):
    content = path.read_bytes()
    size = rng.choice([0, 1, rng.randrange(len(content)), rng.randrange(len(content))])
    size = rng.choice([size, len(content) - 1])
    path.write_bytes(content[:size])
    return f"cut to {size} bytes", False


def flip(path, rng):
    content = bytearray(path.read_bytes())
    places = [rng.randrange(8 * len(content)) for _ in range(rng.choice([1, 1, 1, 8, 64]))]
    for place in places:
        content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    return f"bits flipped, the first {places[0]}", False


def overwrite(path, rng):
    content = bytearray(path.read_bytes())
    start = rng.randrange(len(content))
    count = min(rng.choice([1, 4, 64, 1000]), len(content) - start)
    fill = rng.choice([b"\0", b"\xff", None])
    content[start : start + count] = fill * count if fill else rng.randbytes(count)
    path.write_bytes(content)
    return f"{count} bytes from {start} set to {fill or 'chance'}", False


def replace(path, rng):
    """Puts something else in a file's place."""
    return rng.choice(_REPLACEMENTS)(path, rng), False


def _by_link(target):
    def make(path, rng):
        aim = target(path)
        path.unlink()
        path.symlink_to(aim)
        return f"a link to {aim}"

    return make


def _moved_outside(path):
    """The whole file, elsewhere."""
    outside = outside_of(path)
    shutil.copy(path, outside / path.name)
    return outside / path.name


def outside_of(path):
    """The directory beside the case's own in which nothing may be written."""
    for parent in path.parents:
        if (parent / "outside").is_dir():
            return parent / "outside"
    raise ValueError(f"Expected a directory of a case. Received: {path}")


def _pipe(path, rng):
    path.unlink()
    os.mkfifo(path)
    return "a pipe"


def _directory(path, rng):
    path.unlink()
    path.mkdir()
    return "a directory"


def _gone(path, rng):
    path.unlink()
    return "gone"


def _another_kind(path, rng):
    others = sorted(file for file in path.parent.rglob("*") if file.is_file() and file != path)
    samples = {
        "a pickle": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
        "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "an archive": b"PK\x03\x04" + bytes(100),
        "an array": b"\x93NUMPY\x01\x00",
        "a number": b"1",
        "null": b"null",
        "a list": b"[]",
        "an empty object": b"{}",
        "text": "ümläut\n".encode("latin-1"),
    }
    kind = rng.choice([*samples, *(["a file from beside it"] if others else [])])
    content = samples.get(kind) or rng.choice(others).read_bytes()
    path.write_bytes(content)
    return kind


_REPLACEMENTS = (
    _by_link(lambda path: path.parent / "nowhere"),
    _by_link(lambda path: path),
    _by_link(lambda path: path.parent),
    _by_link(_moved_outside),
    _by_link(lambda path: pathlib.Path("/dev/zero")),
    _pipe,
    _directory,
    _gone,
    _another_kind,
    _another_kind,
)


# JSON.


def change_json(path, rng):
    """Changes some values of a JSON file, which stays one."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return truncate(path, rng)
    content, said = mutated(content, rng)
    path.write_text(as_json(content), encoding="utf-8", errors="surrogatepass")
    return said, False


def reseal_json(path, rng):
    """Changes values of a JSON file and lets its own checksums, where it has some, fit again."""
    content = json.loads(path.read_bytes())
    content, said = mutated(content, rng)
    sealed = seal(content)
    path.write_text(as_json(sealed), encoding="utf-8", errors="surrogatepass")
    return f"{said}, sealed", True


def as_json(content):
    text = json.dumps(content, ensure_ascii=False)
    return text.replace(f'"{_DEEP}"', "[" * 50_000 + "]" * 50_000)


def seal(content):
    """Gives JSON of kdzoo the checksums that its content has, where it has any."""
    import hashlib

    def digest(value):
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

    if not isinstance(content, dict):
        return content
    if "model_sha256" in content and "model" in content:
        content["model_sha256"] = digest(content["model"])
    elif "models" in content and "sha256" in content:
        content["sha256"] = digest(content["models"])
    elif isinstance(content.get("sha256"), str):
        rest = {name: value for name, value in content.items() if name != "sha256"}
        content["sha256"] = digest(rest)
    return content


def mutated(content, rng):
    """Returns JSON with one to three values changed, and in words where."""
    said = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        content, words = _mutate_once(content, rng)
        said.append(words)
    return content, "; ".join(said)


def _mutate_once(content, rng):
    places = list(_places(content, ()))
    if not places:
        value = rng.choice(HOSTILE)
        return value, f"the whole is {_short(value)}"
    # Short paths as often as long ones, which are many.
    depth = rng.choice(sorted({len(place) for place in places}))
    *parents, key = rng.choice([place for place in places if len(place) == depth])
    holder = content
    for name in parents:
        holder = holder[name]
    where = ".".join(map(str, (*parents, key)))
    way = rng.choice(["delete", "hostile", "hostile", "number", "wrap", "double"])
    value = holder[key]
    if way == "delete":
        del holder[key]
        return content, f"no {where}"
    if way == "number" and isinstance(value, int | float):
        holder[key] = rng.choice([value + 1, value - 1, -value, value * 1000, value + 0.5])
    elif way == "wrap":
        holder[key] = rng.choice([[value], {"x": value}, str(value), [value, value]])
    elif way == "double" and isinstance(value, list):
        holder[key] = value + value
    else:
        holder[key] = rng.choice(HOSTILE)
    return content, f"{where} is {_short(holder[key])}"


def _places(content, prefix):
    """Yields the path of every value in JSON, a tuple of keys."""
    if isinstance(content, dict):
        items = list(content.items())
    else:
        items = list(enumerate(content)) if isinstance(content, list) else []
    for key, value in items:
        yield (*prefix, key)
        yield from _places(value, (*prefix, key))


def _short(value):
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


# Archives, arrays, weights.


def change_member(path, rng):
    """Changes a member of an archive, whose checksums fit again."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if not parts:
        return flip(path, rng)
    name = rng.choice(list(parts))
    if name.endswith(".json") and rng.random() < 0.8:
        content, said = mutated(json.loads(parts[name]), rng)
        parts[name] = as_json(content).encode("utf-8", "surrogatepass")
    else:
        parts[name], said = _changed_bytes(parts[name], rng)
    _write_archive(path, parts, rng.random() < 0.2)
    return f"{name}: {said}, sealed", True


def _changed_bytes(content, rng):
    content = bytearray(content)
    if not content or rng.random() < 0.2:
        return content[: rng.randrange(len(content) + 1)], "cut"
    if rng.random() < 0.2:
        start = rng.randrange(len(content))
        count = min(8, len(content) - start)
        content[start : start + count] = struct.pack("<q", rng.choice([-1, 2**31, 2**40]))[:count]
        return content, f"{count} bytes from {start} say a large number"
    place = rng.randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    return content, f"bit {place} flipped"


def _write_archive(path, parts, deflated=False):
    compression = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, bytes(content))
    path.write_bytes(file.getvalue())


def add_member(path, rng):
    """Adds a member to an archive, of a name or a size that nobody expects."""
    name = rng.choice(
        ["../outside", "/tmp/x", "assets/../../x", "run.py", "config.json", "a" * 300]
    )
    size = rng.choice([0, 10, 50 << 20])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name), bytes(size), zipfile.ZIP_DEFLATED)
    return f"with {name[:20]!r} of {size} bytes", True


def inflate_member(path, rng):
    """Lets a member of an archive inflate to 300 MB."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()} or {"x": b""}
    name = rng.choice(list(parts))
    parts[name] = rng.choice([parts[name], b"[", b""]) + bytes(300 << 20)
    _write_archive(path, parts, deflated=True)
    return f"{name} inflates", True


def lie_in_archive(path, rng):
    """Changes sizes and places in an archive's list of members."""
    content = bytearray(path.read_bytes())
    starts = [place for place in range(len(content)) if content[place : place + 4] == b"PK\x01\x02"]
    if not starts:
        return flip(path, rng)
    place = rng.choice(starts) + rng.choice([16, 20, 24, 28, 42])  # Checksum, sizes, name, start.
    lie = rng.choice([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 30])
    content[place : place + 4] = struct.pack("<I", lie)
    path.write_bytes(content)
    return f"{lie} at {place} of the archive", False


def lie_in_array(path, rng):
    """Writes another header over an `.npy` file; the hash beside it fits again, perhaps."""
    import numpy as np

    array = np.load(path)
    shapes = [(2**40,), (2**62, 2**62), (-1,), (), (0,), (10**12, *array.shape), array.shape[::-1]]
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    header |= rng.choice(
        [
            {"shape": rng.choice(shapes)},
            {"shape": rng.choice(shapes)},
            {"descr": rng.choice(["|O", "<f8", "<U9", "|V1", "<i8", "x", None, [("a", "|O")]])},
            {"fortran_order": rng.choice([True, None, 5])},
            {"shape": "x"},
        ]
    )
    text = rng.choice([repr(header), repr(header), "(" * 5000, "{", "'", "\\", repr(header)[:-2]])
    text = text.encode() + b"\n"
    if rng.random() < 0.2:
        text = b" " * 100_000 + text
    version, size = (1, struct.pack("<H", min(len(text), 0xFFFF)))
    if len(text) > 0xFFFF:
        version, size = 2, struct.pack("<I", len(text))
    content = b"\x93NUMPY" + bytes([version, 0]) + size + text + array.tobytes()
    path.write_bytes(content)
    return f"a header {text[:60]}", _reseal_beside(path, rng)


def change_sealed(path, rng):
    """Changes bytes, and the hash of them in the JSON beside it."""
    content, said = _changed_bytes(path.read_bytes(), rng)
    path.write_bytes(content)
    return f"{said}, sealed", _reseal_beside(path, rng, always=True)


def _reseal_beside(path, rng, always=False):
    """Puts the present hash of a file into the JSON beside it, where there is one; says whether."""
    import hashlib

    if not always and rng.random() < 0.3:
        return False
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    for name in ("dataset.json", "config.json", "index.json", "state.json", "manifest.json"):
        beside = path.parent / name
        if not beside.is_file():
            continue
        found = json.loads(beside.read_bytes())
        if name == "dataset.json":
            found["sha256"][path.stem] = sha256
        elif name == "index.json":
            found["shards"][path.name]["sha256"] = sha256
        elif name == "state.json":
            found.setdefault("files", {})[path.name] = {"sha256": sha256, "bytes": len(content)}
        elif name == "config.json":
            new = path.with_name(f"model-{sha256[:8]}.safetensors")
            path.rename(new)
            found["weights"] |= {"file": new.name, "sha256": sha256, "bytes": len(content)}
        else:
            for row in found["models"]:
                for file in row["files"].values():
                    if file["file"] == path.name:
                        file |= {"sha256": sha256, "bytes": len(content)}
        beside.write_text(json.dumps(seal(found), indent=1))
        return True
    return False


def lie_in_weights(path, rng):
    """Changes the header of a safetensors file."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header, rest = content[8 : 8 + size], content[8 + size :]
    if rng.random() < 0.3:
        lie = rng.choice([0, 1, size + 1, 2**31, 2**62, 2**64 - 1])
        path.write_bytes(struct.pack("<Q", lie) + header + rest)
        return f"a header of {lie} bytes", _reseal_beside(path, rng)
    changed, said = mutated(json.loads(header), rng)
    header = as_json(changed).encode("utf-8", "surrogatepass")
    path.write_bytes(struct.pack("<Q", len(header)) + header + rest)
    return f"header: {said}", _reseal_beside(path, rng)


def set_not_finite(path, rng):
    """Puts NaN, infinity or a huge number in the place of one of four bytes."""
    content = bytearray(path.read_bytes())
    start = 4 * rng.randrange(len(content) // 4)
    value = rng.choice([float("nan"), float("inf"), 3e38])
    content[start : start + 4] = struct.pack("<f", value)
    path.write_bytes(content)
    kind = "huge" if math.isfinite(value) else NOT_FINITE
    return f"{kind} from {start}", _reseal_beside(path, rng, always=True)


def change_kdz(path, rng):
    """Changes the index or the codes of a `.kdz` file, whose hash fits again."""
    import hashlib

    from kdzoo.zoo.usual_index import USUAL

    content, start = path.read_bytes(), struct.Struct("<8sIQQ")
    *_, size = start.unpack(content[: start.size])
    body = content[start.size + 32 :]
    index, codes = body[:size], body[size:]
    if rng.random() < 0.7:
        text = zlib.decompressobj(zdict=USUAL).decompress(index)
        changed, said = mutated(json.loads(text), rng)
        packer = zlib.compressobj(zdict=USUAL)
        index = packer.compress(as_json(changed).encode("utf-8", "surrogatepass")) + packer.flush()
    elif rng.random() < 0.3:
        index, said = _changed_bytes(index, rng)
    else:
        codes, said = _changed_bytes(codes, rng)
    body = bytes(index) + bytes(codes)
    begun = start.pack(content[:8], 1, start.size + 32 + len(body), len(index))
    path.write_bytes(begun + hashlib.sha256(begun + body).digest() + body)
    return f"{said}, sealed", True


# HDF5.


def change_hdf5_config(path, rng):
    """Changes values of the configuration in an HDF5 file of a model, which stays JSON."""
    import h5py

    try:
        with h5py.File(path, "r+") as file:
            content, said = mutated(json.loads(file.attrs["model_config"]), rng)
            file.attrs["model_config"] = as_json(content).encode("utf-8", "surrogatepass")
    except (OSError, KeyError):  # A file of weights alone.
        return flip(path, rng)
    return f"model_config: {said}", True


def change_hdf5(path, rng):
    """Puts something else in the place of an array or of a list of names in an HDF5 file."""
    import h5py

    found = []
    with h5py.File(path, "r+") as file:
        file.visititems(lambda name, item: found.append((name, isinstance(item, h5py.Dataset))))
        name = rng.choice([name for name, is_array in found if is_array])
        how = rng.choice(list(_IN_HDF5))
        if how == "names":
            name = rng.choice([name for name, is_array in found if not is_array])
        _IN_HDF5[how](file, name, rng)
    return f"{how} at {name}", True


def _instead(make):
    def change(file, name, rng):
        import h5py

        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        make(h5py, file, name, shape, dtype)

    return change


def _names_instead(file, name, rng):
    import numpy as np

    for key in ("layer_names", "weight_names"):
        if key in file[name].attrs:
            own = file[name].attrs[key]
            lies = [own[:-1], own[::-1], np.array([b"..", b"/"]), 3, "x" * 9999, np.zeros((3, 3))]
            file[name].attrs[key] = rng.choice(lies)


def _virtual(h5py, file, name, shape, dtype):
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource("/etc/passwd", "x", shape)
    file.create_virtual_dataset(name, layout)


def overlap_heaps(path, rng):
    """Lets the names of layers lie in heaps that overlap: together many times as large as the file.

    Behind the file stand the headers of the heaps, each of which says that it reaches to the end:
    what a heap has for its first text is all that follows the next header.
    """
    import h5py
    import numpy as np

    count, size, odd = rng.choice([2, 100, 2000]), rng.choice([1 << 12, 1 << 20]), 12_347
    names = [b"x" * odd, *(b"y%d" % number for number in range(count - 1))]
    with h5py.File(path, "r+") as file:
        names = np.array(names, h5py.string_dtype())
        file["model_weights"].attrs["layer_names"] = names
    content = bytearray(path.read_bytes())
    reference, header = struct.Struct("<IQI"), struct.Struct("<8sQ")
    start = content.find(odd.to_bytes(4, "little"))
    while not content[reference.unpack_from(content, start)[1] :].startswith(b"GCOL"):
        start = content.find(odd.to_bytes(4, "little"), start + 1)
    heaps = len(content)
    for number in range(count):
        place = heaps + header.size * number
        reference.pack_into(content, start + reference.size * number, 8, place, 0x4347)  # "GC".
        content += header.pack(b"GCOL\x01", size + header.size * (count - number))
    path.write_bytes(content + bytes(size))
    return f"{count} heaps of {size} bytes overlap", True


_IN_HDF5 = {
    "a link": _instead(
        lambda h5py, f, n, *_: f.__setitem__(n, h5py.ExternalLink("/etc/passwd", n))
    ),
    "a soft link": _instead(lambda h5py, f, n, *_: f.__setitem__(n, h5py.SoftLink("/"))),
    "a second name": lambda f, n, _: f.__setitem__("again", f[n]),
    "a virtual array": _instead(_virtual),
    "an array outside": _instead(
        lambda h5py, f, n, s, d: f.create_dataset(n, s, d, external=[("/etc/passwd", 0, 1 << 20)])
    ),
    "a huge array": _instead(
        lambda h5py, f, n, s, d: f.create_dataset(n, (1 << 40,), d, chunks=(64,), compression=1)
    ),
    "another shape": _instead(lambda h5py, f, n, s, d: f.create_dataset(n, (*s, 2), d)),
    "text": _instead(lambda h5py, f, n, *_: f.create_dataset(n, data="x")),
    "a group": _instead(lambda h5py, f, n, *_: f.create_group(n)),
    "nothing": _instead(lambda *_: None),
    "names": _names_instead,
}


_OF_FORMAT = {
    ".json": [change_json, change_json, reseal_json],
    ".keras": [*3 * [change_member], add_member, inflate_member, lie_in_archive],
    ".npy": [lie_in_array, lie_in_array, change_sealed],
    ".npz": [change_member, add_member, inflate_member, lie_in_archive],
    ".safetensors": [lie_in_weights, change_sealed, set_not_finite],
    ".arrayrecord": [change_sealed, set_not_finite],
    ".kdz": 3 * [change_kdz],
    ".h5": [set_not_finite, change_hdf5],
    "of_keras_2.h5": [*3 * [change_hdf5_config], change_hdf5, overlap_heaps],
    ".tflite": [lie_in_archive, lie_in_archive],
}
