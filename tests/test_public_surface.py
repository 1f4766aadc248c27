"""What `import kdzoo` shows: the public names and no other; and what type checkers see of them."""

import importlib
import inspect
import pathlib
import subprocess
import sys

import pytest

import kdzoo

ROOT = pathlib.Path(kdzoo.__file__).parents[1]
ROOMS = [name for name in kdzoo.__all__ if inspect.ismodule(getattr(kdzoo, name))]
# TF-MOT has no types, and some of its names need its backend to be looked at.
OF_TFMOT = {
    f"kdzoo.compression.{name}"
    for name in kdzoo.compression.__all__
    if name not in vars(kdzoo.compression)
}


def public_names():
    """The dotted names of all that is public, sorted."""
    inner = {f"kdzoo.{room}.{name}" for room in ROOMS for name in getattr(kdzoo, room).__all__}
    return sorted({f"kdzoo.{name}" for name in kdzoo.__all__} | inner)


def value_of(name):
    value = kdzoo
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    return value


def test_it_shows_the_public_names_and_no_other():
    script = """
import kdzoo
before = dir(kdzoo)
assert before == sorted(kdzoo.__all__), before
model = kdzoo.create("mlp_2x64")
kdzoo.Distiller(model, kdzoo.create("mlp_2x64"), kdzoo.losses.SoftTargets(4.0))
kdzoo.data.load("digits"), kdzoo.checkpoints, kdzoo.schemes, kdzoo.recipes
assert dir(kdzoo) == before, dir(kdzoo)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_it_has_nothing_else_but_modules():
    """No function or class of the inside, which somebody could come to rely on as `kdzoo.name`."""
    found = {name: value for name, value in vars(kdzoo).items() if name[0] != "_"}
    others = {name for name, value in found.items() if not inspect.ismodule(value)}
    assert others - {*kdzoo.__all__} == set()
    modules = {value.__name__ for name, value in found.items() if inspect.ismodule(value)}
    assert {name for name in modules if not name.startswith("kdzoo.")} == {
        "importlib",
        "sys",
        "typing",
    }


def test_an_unknown_name_is_an_error_that_helps():
    with pytest.raises(AttributeError, match="Did you mean 'Distiller'"):
        kdzoo.Distller  # noqa: B018


def test_old_paths_of_modules_still_import():
    from kdzoo.checkpoints import EpochCheckpoint
    from kdzoo.distiller import Distiller
    from kdzoo.taps import find_layer

    from kdzoo.acceleration import accelerate
    from kdzoo.callbacks import Anneal

    assert (accelerate, Distiller) == (kdzoo.accelerate, kdzoo.Distiller)
    assert (Anneal, EpochCheckpoint) == (kdzoo.callbacks.Anneal, kdzoo.callbacks.EpochCheckpoint)
    assert find_layer is importlib.import_module("kdzoo.graph.taps").find_layer
    assert kdzoo.distiller.Distiller is kdzoo.Distiller


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_lists_what_it_has(room):
    module = getattr(kdzoo, room)
    for name in set(module.__all__) - {name.rpartition(".")[2] for name in OF_TFMOT}:
        assert getattr(module, name) is not None


def functions_of(value):
    """Name -> function, of a public function itself, of a class the methods that kdzoo defines."""
    if not inspect.isclass(value):
        return {"": value} if inspect.isroutine(value) else {}
    found = {}
    for base in reversed(value.__mro__):
        if not base.__module__.startswith("kdzoo"):
            continue
        for name, member in vars(base).items():
            if isinstance(member, property):
                found[f".{name}"] = member.fget
            elif not name.startswith("_") or name == "__init__":
                function = getattr(member, "__func__", member)
                if inspect.isfunction(function) and function.__module__.startswith("kdzoo"):
                    found[f".{name}"] = function
    return found


def unannotated(function):
    """The parameters of a function, and "return", that have no annotation, a list."""
    signature = inspect.signature(function)
    missing = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.annotation is parameter.empty and name not in ("self", "cls")
    ]
    returns = signature.return_annotation is signature.empty and function.__name__ != "__init__"
    return missing + ["return"] * returns


def test_every_public_function_is_annotated():
    found = {}
    for name in public_names():
        if name not in OF_TFMOT:
            for method, function in functions_of(value_of(name)).items():
                if missing := unannotated(function):
                    found[f"{name}{method}"] = missing
    assert found == {}, "\n".join(f"{name}: {', '.join(found[name])}" for name in found)


def test_what_is_not_annotated_is_found():
    class Some:
        def __init__(self, a, b: int = 0):
            pass

        @property
        def c(self):
            return 1

    def of(x: int, *args: int, y, **kwargs: int):
        return x

    def whole(x: int) -> None:
        pass

    Some.__module__ = Some.__init__.__module__ = "kdzoo.some"
    methods = functions_of(Some)
    assert methods.keys() == {".__init__", ".c"}
    assert unannotated(methods[".__init__"]) == ["a"]
    assert unannotated(methods[".c"]) == ["return"]
    assert unannotated(of) == ["y", "return"]
    assert unannotated(whole) == []


# Each is wrong in a way that a type checker must see: a name that is not there, a type.
WRONG = [
    "kdzoo.nonsense()",
    "kdzoo.compression.nonsense()",
    "kdzoo.data.nonsense()",
    "kdzoo.zoo.nonsense()",
    'kdzoo.export.to_litert(model, "x", quantize="int4")',
    'kdzoo.create("mlp_2x64", classes="ten")',
    'kdzoo.losses.SoftTargets("hot")',
    "kdzoo.Distiller(model)",
]
RIGHT = [
    'kdzoo.export.to_litert(model, pathlib.Path("x"), quantize="int8", representative_data=images)',
    'kdzoo.create("mlp_2x64", classes=7, input_shape=(8, 8, 1))',
    "kdzoo.Distiller(model, model, [kdzoo.losses.SoftTargets(temperature=4.0)], [1.0], 0.5)",
    "kdzoo.data.from_arrays(images, labels).train.batches(32)",
    "kdzoo.compression.prune_low_magnitude(model, kdzoo.compression.PolynomialDecay(0, 0.5, 0, 9))",
]
START = [
    "import pathlib",
    "import keras",
    "import numpy as np",
    "import kdzoo",
    "model = keras.Sequential()",
    'images, labels = np.zeros((2, 8, 8, 1)), np.zeros(2, "int32")',
]


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """What mypy says, line -> sentences: of wrong and right ones, and of the type of each name."""
    revealed = [f"reveal_type({name})" for name in public_names()]
    lines = [*START, *RIGHT, *WRONG, *revealed]
    path = tmp_path_factory.mktemp("types") / "snippet.py"
    path.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    said = {}
    for line in done.stdout.splitlines():
        place, _, sentence = line.partition(": ")
        file, _, number = place.rpartition(":")
        if file.endswith(path.name):  # Its directory may be that of a run that mypy remembers.
            said.setdefault(lines[int(number) - 1], []).append(sentence)
    return said


@pytest.mark.parametrize("line", WRONG)
def test_a_type_checker_sees_what_is_wrong(line, checked):
    assert any(sentence.startswith("error") for sentence in checked.get(line, [])), line


@pytest.mark.parametrize("line", RIGHT)
def test_a_type_checker_takes_what_is_right(line, checked):
    assert line not in checked


def test_a_type_checker_knows_every_public_name(checked):
    """Not as `Any`, by which nothing could be wrong."""
    unknown = {}
    for name in public_names():
        (said,) = checked[f"reveal_type({name})"]
        is_any = 'type is "Any"' in said and name not in OF_TFMOT
        if is_any or said.startswith("error"):
            unknown[name] = said
    assert unknown == {}
