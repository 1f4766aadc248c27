"""Odd arguments of every public function end in one sentence of kdzoo's own, or in a right result.

`odd_arguments/calls.py` holds a valid call of each; here each argument of it in turn is replaced by
each odd value. `odd_arguments/right.txt` says which of them are right. An error counts as kdzoo's
own if a `raise` of kdzoo's made it.
"""

import dis
import importlib
import importlib.util
import inspect
import os
import pathlib
import warnings

import numpy as np
import pytest

import kdzoo

pytestmark = pytest.mark.large_on_jax

PACKAGE = f"{pathlib.Path(kdzoo.__file__).parent}{os.sep}"
ROOMS = ("acceleration", "callbacks", "compression", "data", "dynamic")
ROOMS += ("evaluation",)
ROOMS += ("experiments", "export", "losses", "models", "recipes", "schemes", "zoo")
OWN = (ValueError, TypeError, RuntimeError, OSError, ImportError)
LONGEST = 500
# They make models each time; what all schemes take is tried with `schemes.train`.
LONG = (
    *("schemes.born_again", "schemes.deep_compression", "schemes.filter_pruning"),
    *("schemes.hint_training", "schemes.lottery_ticket", "schemes.mutual_learning"),
    *("schemes.specialists", "schemes.teacher_assistant", "experiments.TrainWidths"),
    *("compression.quantize_apply", "compression.strip_clustering_cqat"),
)


HERE = pathlib.Path(__file__).with_name("odd_arguments")


def _load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _right():
    """(name of a call, argument) -> the odd values that are right, with their marks."""
    lines = (HERE / "right.txt").read_text(encoding="utf-8").splitlines()
    found = {}
    for line in lines:
        if not line.startswith("#"):
            place, values = line.split(" = ")
            found[tuple(place.split(": "))] = set(values.split(", "))
    return found


table = _load(HERE / "calls.py")
RIGHT = _right()


def odd_values(valid, directory):
    """Name -> value, none of them what a function expects that takes `valid`."""
    yield from {
        "none": None,
        "text": "nonsense",
        "no text": "",
        "NaN": float("nan"),
        "inf": float("inf"),
        "below 0": -1,
        "0": 0,
        "half": 0.5,
        "huge": 1 << 70,
        "huge float": 1e300,
        "object": object(),
        "bytes": b"nonsense",
        "list": [],
        "dictionary": {},
        "nothing in": np.zeros((0,), "float32"),
        "ragged": [[1.0], [1.0, 2.0]],
        "rank 7": np.zeros((1,) * 7, "float32"),
        "missing path": directory / "missing" / "file",
        "path below a file": directory / "file" / "below",
    }.items()
    if isinstance(valid, np.ndarray) and valid.ndim:
        yield from {
            "rank more": valid[..., None],
            "rank less": valid.reshape(len(valid), -1)[:, 0],
            "one of it": valid[:1],
            "none of it": valid[:0],
            "as text": valid.astype(str),
            "complex": valid.astype("complex64"),
            "objects": np.array([object()] * len(valid)),
            "as a list": valid.tolist(),
        }.items()
        if valid.dtype.kind == "f":
            yield "with NaN", np.where(np.arange(valid.size).reshape(valid.shape), valid, np.nan)


def outcome(function, arguments):
    """How a call ends: ("own" | "result" | what is wrong with its error), and the error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # A result with a warning is a result.
            function(**arguments)
    except Exception as error:
        return _judged(error), error
    return "result", None


def _judged(error):
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    code, message = trace.tb_frame.f_code, str(error)
    is_raise = dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"
    if not code.co_filename.startswith(PACKAGE) or not is_raise:
        return "of a library"
    if not isinstance(error, OWN):
        return "of a wrong type"
    if "\n" in message.strip() or len(message) > LONGEST or not message:
        return "too long"
    return "own"


def public_names():
    """The public names of kdzoo and its rooms, without what TF-MOT made."""
    found = {name: getattr(kdzoo, name) for name in kdzoo.__all__ if name not in ROOMS}
    for room in ROOMS:
        module = importlib.import_module(f"kdzoo.{room}")
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        ]
        of_tfmot = {*getattr(module, "_OF_TFMOT", ()), "Default8BitClusterPreserveQuantizeScheme"}
        found |= {f"{room}.{name}": getattr(module, name) for name in {*names} - of_tfmot}
    return found


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    return table.Things(tmp_path_factory.mktemp("things"))


def test_every_public_name_is_in_the_table():
    same = {name.split(".")[-1] for name in table.CALLS} | {*table.MADE_BY_KDZOO}
    missing = {name for name in public_names() if name.split(".")[-1] not in same}
    assert missing == set()


def test_what_is_right_is_about_calls_of_the_table(things):
    assert {name for name, _ in RIGHT} <= {*table.CALLS}


def cases():
    for name, call in table.CALLS.items():
        # Arguments are checked before anything is computed, but for those of losses and layers.
        everywhere = name.startswith(("losses.", "Distiller", "Ensemble"))
        marks = [] if everywhere and not call.tensorflow else [pytest.mark.tensorflow]
        marks += [pytest.mark.large] if name in LONG else []
        yield pytest.param(name, call, id=name, marks=marks)


@pytest.mark.parametrize(("name", "call"), [*cases()])
def test_odd_arguments_are_refused_in_a_sentence(name, call, things, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # Where "nonsense" is a path, it is one here.
    (tmp_path / "file").write_text("")
    function, valid = call.function(things), call.arguments(things)
    assert named_arguments(function) == {*valid, *call.passed_on}
    assert outcome(function, valid) == ("result", None)
    wrong = []
    for argument in valid:
        right = RIGHT.get((name, argument), set())
        odd_ones = dict(odd_values(valid[argument], tmp_path))
        assert {mark.lstrip("~?") for mark in right} <= {*odd_ones}
        for odd, value in odd_ones.items():
            if f"~{odd}" in right:
                continue
            expected = {"result"} if odd in right else {"own"}
            expected |= {"result"} if f"?{odd}" in right else set()
            ended, error = outcome(function, {**call.arguments(things), argument: value})
            if ended not in expected:
                wrong.append(f"{argument}, {odd}: {ended}: {type(error).__name__}: {error}"[:300])
    assert not wrong, "\n".join(wrong)


def named_arguments(function):
    """The names of what a function takes, but for `self` and the like of `*args`."""
    parameters = inspect.signature(function).parameters.values()
    various = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return {parameter.name for parameter in parameters if parameter.kind not in various} - {"self"}
