"""Runs one of TF-MOT's own test files on Keras 3 and kdzoo; `test_tfmot_suite.py` starts it.

    python tfmot_suite.py CHECKOUT FILE

CHECKOUT is a checkout of tensorflow-model-optimization and FILE a test file below its `core`
folder. What the file imports is replaced while it runs: `keras` is Keras 3, what
`kdzoo.compression` has is kdzoo's, and the rest is TF-MOT's. The last line that is printed is a
JSON dictionary, name of a test -> "" or the first line of what it raised.
"""

import ast
import builtins
import importlib
import json
import pathlib
import re
import sys
import tempfile
import types
import typing
import unittest
import warnings
import weakref

import keras
import numpy as np
import tensorflow as tf

from kdzoo import compression
from kdzoo.compression.tfmot.library import load_tf_keras, load_tfmot
from kdzoo.compression.tfmot.wrapped_layer import WrappedLayer
from kdzoo.compression.tfmot.wrapped_model import WrappedModel

CORE = "tensorflow_model_optimization/python/core"
PACKAGE = CORE.replace("/", ".")


class Overlay(types.ModuleType):
    """A module of which some names mean something else."""

    def __init__(self, module: typing.Any, **names: typing.Any):
        super().__init__(module.__name__)
        self.__dict__.update(names, _module=module)

    def __getattr__(self, name: str) -> typing.Any:
        return getattr(self._module, name)


def overlay_of_tfmot(module: typing.Any) -> Overlay:
    """Returns a module of TF-MOT, whose public names are kdzoo's where kdzoo has them."""
    names = {
        name: getattr(compression, name) for name in compression.__all__ if hasattr(module, name)
    }
    if "prune_low_magnitude" in names:
        names["prune_low_magnitude"] = prune_low_magnitude
    for name, value in names.items():
        if isinstance(value, types.FunctionType) and not name.endswith("_scope"):
            names[name] = remembering(value)
    if hasattr(module, "PruneRegistry"):
        names["PruneRegistry"] = registry_of_keras_3(module.PruneRegistry)
    return Overlay(module, **names)


SEQUENTIAL: weakref.WeakSet[keras.Model] = weakref.WeakSet()
"""What was made of sequential models: TF-MOT makes sequential models of them."""


def remembering(function):
    """A function of kdzoo that notes what it makes of a sequential model."""

    def call(model, *args, **kwargs):
        made = function(model, *args, **kwargs)
        if isinstance(made, keras.Model) and is_sequential(model):
            SEQUENTIAL.add(made)
        return made

    return call


def is_sequential(model):
    """Whether tf_keras's model would be sequential: it hides the input from its layers then."""
    if isinstance(model, WrappedModel) and model not in SEQUENTIAL:
        return model.get_config()["model"]["class_name"] == "Sequential"
    return isinstance(model, keras.Sequential) or model in SEQUENTIAL


def prune_low_magnitude(to_prune, *args, input_shape=None, **settings):
    """Hands `input_shape` on to the layer, where Keras 3 expects it."""
    if input_shape is not None:
        layer = type(to_prune).from_config(to_prune.get_config())
        layer._input_shape_arg = tuple(input_shape)
        to_prune = layer
    return compression.prune_low_magnitude(to_prune, *args, **settings)


def registry_of_keras_3(registry):
    """The registry with the Keras 3 layers of the names of tf_keras's."""

    def translated(layers):
        return [layer for name in layers if (layer := getattr(LAYERS, name.__name__, None))]

    weights = registry._LAYERS_WEIGHTS_MAP
    return types.SimpleNamespace(
        _LAYERS_WEIGHTS_MAP={
            getattr(LAYERS, layer.__name__): names
            for layer, names in weights.items()
            if hasattr(LAYERS, layer.__name__)
        },
        _RNN_LAYERS=set(translated(registry._RNN_LAYERS)),
    )


def missing_layer(name):
    """Stands for a layer that Keras 3 no longer has, as tests name it in a table."""

    def refuse(self, *args, **kwargs):
        raise NotImplementedError(f"Keras 3 has no {name}")

    return type(name, (keras.layers.Layer,), {"__init__": refuse})


def average_pooling(layer):
    """Makes a layer with the default size that Keras 2 gave it."""
    return lambda pool_size=2, **settings: layer(pool_size, **settings)


def embedding(*args, input_length=None, **settings):
    """Makes an embedding that begins a sequential model, as Keras 2 did of an `input_length`."""
    if input_length is not None:
        settings["input_shape"] = (input_length,)
    return keras.layers.Embedding(*args, **settings)


LAYERS = Overlay(
    keras.layers,
    Embedding=embedding,
    **{name: missing_layer(name) for name in ("LocallyConnected1D", "LocallyConnected2D")},
    **{
        name: average_pooling(getattr(keras.layers, name))
        for name in ("AveragePooling1D", "AveragePooling2D", "AveragePooling3D")
    },
)


def digits():
    """Images of 28 x 28 pixels with a bright square that says the class, for those of MNIST."""
    rng = np.random.default_rng(0)

    def made(number):
        labels = rng.integers(0, 10, number).astype("uint8")
        images = rng.integers(0, 16, (number, 28, 28)).astype("uint8")
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 4)
            image[8 * row + 2 : 8 * row + 8, 7 * column : 7 * column + 6] += 230
        return images, labels

    return made(2000), made(500)


def keras_for_tests():
    """Keras 3, with what tests use of Keras 2 and what it moved."""
    backend = Overlay(
        keras.backend,
        get_value=np.asarray,
        batch_get_value=lambda variables: [np.asarray(variable) for variable in variables],
        clip=keras.ops.clip,
        mean=keras.ops.mean,
    )
    return Overlay(
        keras,
        backend=backend,
        layers=LAYERS,
        models=Overlay(keras.models, model_from_config=keras.saving.deserialize_keras_object),
        datasets=types.SimpleNamespace(mnist=types.SimpleNamespace(load_data=digits)),
    )


def temporary_files():
    """`tempfile`, whose files have the endings that Keras 3 demands of weights."""

    def mkstemp(suffix=None, *args, **kwargs):
        endings = {".h5": ".weights.h5", ".tf": ".weights.h5"}
        return tempfile.mkstemp(endings.get(suffix, suffix), *args, **kwargs)

    return Overlay(tempfile, mkstemp=mkstemp)


def of_keras_2(owner, name):
    """What an attribute is that Keras 3 or kdzoo has under another name."""
    if name == "get_shape" and isinstance(owner, keras.KerasTensor):
        return lambda: types.SimpleNamespace(as_list=lambda: list(owner.shape))
    if name == "outbound_layer" and not hasattr(owner, name):
        return owner.operation
    if not isinstance(owner, keras.Model):
        return getattr(owner, name)
    if name == "layers":
        return layers_of(owner)
    if name in ("input", "output"):
        tensors = getattr(owner, f"{name}s")
        return tensors[0] if len(tensors) == 1 else tensors
    if name == "optimizer":
        return getattr(owner, name, None)
    if name == "save":
        return lambda path, save_traces=None: owner.save(f"{path}.keras" if save_traces else path)
    if name == "_input_layers" and isinstance(owner, WrappedModel):
        return owner.wrapped._input_layers
    return getattr(owner, name)


def layers_of(model):
    """The layers of a model, TF-MOT's own of those that kdzoo wrapped."""
    layers = model.wrapped.layers if isinstance(model, WrappedModel) else model.layers
    if is_sequential(model) and "InputLayer" in type(layers[0]).__name__:
        layers = layers[1:]
    return [
        layer.wrapped if isinstance(layer, WrappedLayer) and layer.wrapped else layer
        for layer in layers
    ]


ATTRIBUTES = {
    "_input_layers",
    "get_shape",
    "input",
    "layers",
    "optimizer",
    "outbound_layer",
    "output",
    "save",
}


class Rewriter(ast.NodeTransformer):
    """Lets attributes of Keras 2 go through `of_keras_2`."""

    def visit_Attribute(self, node):
        self.generic_visit(node)
        if node.attr not in ATTRIBUTES or not isinstance(node.ctx, ast.Load):
            return node
        arguments = [node.value, ast.Constant(node.attr)]
        call = ast.Call(ast.Name("of_keras_2", ast.Load()), arguments, [])
        return ast.copy_location(call, node)


class Suite:
    """The files of a checkout, as modules whose imports are replaced."""

    def __init__(self, checkout: pathlib.Path):
        self.core = checkout / CORE
        self.keras = keras_for_tests()
        self.compat = types.SimpleNamespace(
            keras=self.keras, is_v1_apis=lambda: False, initialize_variables=lambda test: None
        )
        self.loaded: dict[str, types.ModuleType] = {}

    def load(self, file: str) -> types.ModuleType:
        """Returns a file of the checkout as a module, with its imports replaced."""
        if file not in self.loaded:
            module = types.ModuleType(pathlib.Path(file).stem)
            module.__dict__.update(
                of_keras_2=of_keras_2,
                __file__=file,
                __builtins__={**vars(builtins), "__import__": self.replaced_import},
            )
            sys.modules[module.__name__] = self.loaded[file] = module
            tree = Rewriter().visit(ast.parse((self.core / file).read_text()))
            exec(compile(ast.fix_missing_locations(tree), file, "exec"), module.__dict__)
        return self.loaded[file]

    def replaced_import(self, name, globals=None, locals=None, names=(), level=0):
        if name == "tempfile":
            return temporary_files()
        if name.startswith(PACKAGE):
            return types.SimpleNamespace(
                **{part: self.find(name.removeprefix(PACKAGE).strip("."), part) for part in names}
            )
        return builtins.__import__(name, globals, locals, names, level)

    def find(self, package: str, name: str):
        if (package, name) == ("keras", "compat"):
            return self.compat
        if (package, name) == ("keras.compat", "keras"):
            return self.keras
        path = f"{package}.{name}".replace(".", "/") + ".py"
        if re.search("test_utils", name):
            return self.load(path)
        if (self.core / path).exists() or (self.core / path).with_suffix("").is_dir():
            return overlay_of_tfmot(importlib.import_module(f"{PACKAGE}.{package}.{name}"))
        return getattr(overlay_of_tfmot(importlib.import_module(f"{PACKAGE}.{package}")), name)


class Outcomes(unittest.TestResult):
    """What became of each test, in a dictionary."""

    def __init__(self):
        super().__init__()
        self.outcomes: dict[str, str] = {}

    def startTest(self, test):
        super().startTest(test)
        self.outcomes[self.name(test)] = ""

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.add(test, error)

    def addError(self, test, error):
        self.add(test, error)

    addFailure = addError

    def add(self, test, error):
        kind, raised, trace = error
        self.outcomes[self.name(test)] = f"{kind.__name__}: {raised}".strip() or kind.__name__
        if "-v" in sys.argv:
            import traceback

            traceback.print_exception(kind, raised, trace, file=sys.stderr)

    def name(self, test):
        """Class and method, with the number of the parameters instead of their addresses."""
        return re.sub(r"^\w+\.", "", test.id()).split(" ")[0]


def main():
    checkout, file = pathlib.Path(sys.argv[1]), sys.argv[2]
    warnings.simplefilter("ignore")
    load_tfmot()
    load_tf_keras()
    tf.get_logger().setLevel("ERROR")
    keras.config.disable_traceback_filtering() if "-v" in sys.argv else None
    module = Suite(checkout).load(file)
    loader = unittest.TestLoader()
    result = Outcomes()
    only = sys.argv[sys.argv.index("-k") + 1] if "-k" in sys.argv else ""

    def run(suite):
        for test in suite:
            if isinstance(test, unittest.TestSuite):
                run(test)
            elif re.search(only, test.id()) and not test.id().endswith("test_session"):
                keras.backend.clear_session()
                test.run(result)
                if "-v" in sys.argv:
                    print(test.id(), result.outcomes.get(result.name(test)), file=sys.stderr)

    run(loader.loadTestsFromModule(module))
    print()
    print(json.dumps(result.outcomes))


if __name__ == "__main__":
    main()
