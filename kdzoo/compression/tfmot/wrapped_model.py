"""What TF-MOT wrapped, inside a Keras 3 model.

TF-MOT takes tf_keras models only. Here it is given the tf_keras clone of a Keras 3 model, and what
it makes of it computes inside a `keras.Model` that owns its variables. Files hold the Keras 3
model's configuration and the weights; tf_keras opens none.
"""

import copy
from collections.abc import Collection
from typing import Any

import keras
import numpy as np

from kdzoo.compression.tfmot.clone_agreement import unchecked
from kdzoo.compression.tfmot.config_checks import Checks, is_statistics
from kdzoo.compression.tfmot.library import load_tfmot
from kdzoo.compression.tfmot.tf_keras_clone import TfKerasClone, build_clone
from kdzoo.compression.tfmot.tf_keras_weights import adopt, plain_weights, unwrapped
from kdzoo.graph.calls import graph_of
from kdzoo.graph.exportable import HasGraph
from kdzoo.graph.keras_internals import standardized_inputs
from kdzoo.graph.taps import find_layer
from kdzoo.utils import heavy_libraries, unknown_name
from kdzoo.utils.field_checks import check_fields, is_boolean, is_dictionary, is_name


class WrappedModel(HasGraph, keras.Model):
    """A Keras 3 model whose forward pass is that of a model that TF-MOT wrapped.

    It trains with Keras's `fit`, optimizers and callbacks, alone or as the student of a
    `Distiller`, whose taps find layers by their names in the original model. It saves as any Keras
    model does. A subclass says, in `_wrap`, what TF-MOT makes of the clone.

    Args:
        model: The functional or sequential `keras.Model` that is to be wrapped; it is copied.
        name: Name of the new model; that of `model` when None.

    Raises:
        RuntimeError: If Keras runs on another backend than TensorFlow, or the clone disagrees.
        ValueError: If tf_keras lacks a layer of the model.
    """

    _quantizes = False

    def __init__(self, model: keras.Model, name: str | None = None):
        load_tfmot()
        super().__init__(name=name or model.name, dtype=model.dtype_policy, autocast=False)
        clone = build_clone(model, self._quantizes)
        originals = _original_variables(model, clone)
        order = {
            name: [weight.name for weight in clone.model.get_layer(name).weights]
            for name in clone.sources
        }
        # In an object of its own, which Keras does not look into.
        self._inside = _WrappedParts(model, clone, self._wrap(clone), order)
        self._adopt(self._inside.model, originals)
        # TF-MOT's assertions and conditions are not for XLA.
        self.supports_jit = False
        self.built = True

    @property
    def is_being_compressed(self) -> bool:
        """True: it is no plain model yet."""
        return True

    def _wrap(self, clone: TfKerasClone) -> Any:
        """Returns the tf_keras model that TF-MOT makes of a `TfKerasClone`."""
        raise NotImplementedError

    def _computed(self, wrapped):
        """The wrapped model's trainable variables that a step computes from others."""
        return []

    def _further_variables(self, wrapped):
        """What the wrapped model computes with besides its weights, `tf.Variable`s."""
        return []

    def _adopt(self, wrapped, originals):
        computed = {id(variable) for variable in self._computed(wrapped)}
        trainable = {id(variable) for variable in wrapped.trainable_weights} - computed
        adopt(self, [*wrapped.weights, *self._further_variables(wrapped)], trainable, originals)

    @classmethod
    def checks_of_fields(cls) -> Checks:
        """Returns name of a field of the configuration -> whether a value of a file fits it."""
        return {
            "model": is_dictionary,
            "name": is_name,
            "statistics": is_statistics,
            "dtype": is_name,
            "trainable": is_boolean,
        }

    @property
    def wrapped(self) -> Any:
        """The tf_keras model that TF-MOT made; its variables are this model's."""
        return self._inside.model

    @property
    def weights(self) -> list[keras.Variable]:
        """The variables, a list."""
        return _Variables(super().weights)

    @property
    def paths(self) -> dict[str, str]:
        """Name of a clone's layer with weights -> path of the original layer."""
        return self._inside.sources

    def wrapped_layer(self, name: str) -> Any:
        """The wrapped layer that stands for a layer of the clone, by the clone's name."""
        return self._inside.by_name[name]

    def left_out(self, names: Collection[str]) -> dict[str, Any]:
        """Returns path -> wrapped layer of those with a kernel that are not among some.

        Args:
            names: Names of the clone's layers that TF-MOT works on.
        """
        others = {
            path: unwrapped(self.wrapped_layer(n))
            for n, path in self.paths.items()
            if n not in names
        }
        return {
            path: layer
            for path, layer in others.items()
            if any(len(weight.shape) > 1 for weight in layer.weights)
        }

    def graph_model(self) -> keras.Model:
        return self._inside.graph

    def tapped_layer(self, path: str) -> Any:
        """The wrapped layer whose output is that of a layer of the original model."""
        return self._inside.layer(path, self.name)

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Prints the wrapped model's layers; arguments as of tf_keras's `Model.summary`."""
        return self.wrapped.summary(*args, **kwargs)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        inputs = standardized_inputs(self._inside.graph, inputs)
        # Where data of unknown length end, a step begins without any: it must not count as one.
        with heavy_libraries.tensorflow().control_dependencies(keras.tree.flatten(inputs)):
            # Frozen, it leaves its masks, ranges and statistics as they are.
            outputs = self.wrapped(inputs, training=bool(training and self.trainable))
        outputs = keras.tree.pack_sequence_as(self.output, keras.tree.flatten(outputs))
        # As a functional model does, which was made with a list of one output.
        is_only = isinstance(outputs, list | tuple) and len(outputs) == 1
        return outputs[0] if is_only else outputs

    def plain_model(self) -> keras.Model:
        """Returns the original model, a new one, with this model's present weights.

        Raises:
            ValueError: If TF-MOT replaced a layer by several.
        """
        model = keras.saving.deserialize_keras_object(copy.deepcopy(self._inside.config))
        weights: dict[str, list[np.ndarray]] = {}
        for name, path in self._inside.sources.items():
            layer = self._inside.layer_of(name, path, self.name)
            weights.setdefault(path, []).extend(
                self._plain_weights(layer, self._inside.order[name])
            )
        for path, values in weights.items():
            find_layer(model, path).set_weights(values)
        _set_statistics(model, self._inside.statistics)
        return model

    def _plain_weights(self, layer: Any, order: list[str]) -> list[np.ndarray]:
        """The weights of an original layer, of the layer that TF-MOT wrapped.

        Args:
            layer: The wrapped layer.
            order: The names of the weights before the wrapping.
        """
        return plain_weights(layer, order)

    def get_config(self) -> dict[str, Any]:
        statistics = {
            path: [weight.tolist() for weight in weights]
            for path, weights in self._inside.statistics.items()
        }
        return {
            "model": copy.deepcopy(self._inside.config),
            "name": self.name,
            "statistics": statistics,
            "dtype": self.dtype_policy.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WrappedModel":
        checks = cls.checks_of_fields()
        check_fields(cls.__name__, config, checks, optional=checks.keys() - {"model"})
        config = dict(config)
        model = keras.saving.deserialize_keras_object(config.pop("model"))
        if not isinstance(model, keras.Model):
            raise ValueError(
                f"Expected the model in the configuration of a {cls.__name__}. Received: a "
                f"{type(model).__name__}"
            )
        _set_statistics(model, config.pop("statistics", {}))
        model.dtype_policy = config.pop("dtype", model.dtype_policy)
        trainable = config.pop("trainable", True)
        with unchecked():
            made = cls(model, **config)
        if not trainable:  # True would free what is frozen within.
            made.trainable = False
        return made


class _Variables(list):
    """Variables, found as objects: in `.h5` files Keras looks for each by comparing values."""

    def __contains__(self, variable: Any) -> bool:
        return any(variable is own for own in self)


class _WrappedParts:
    """What a wrapped model knows of the original and of what TF-MOT made of it."""

    def __init__(self, model, clone, wrapped, order):
        self.order = order  # Name of a clone's layer -> names of its weights before the wrapping.
        self.model, self.names, self.sources = wrapped, clone.names, clone.sources
        self.statistics = clone.statistics
        self.config = keras.saving.serialize_keras_object(model)
        self.config.pop("compile_config", None)
        _check_registered(model, self.config)
        self.graph = graph_of(model)
        self.by_name = {unwrapped(layer).name: layer for layer in wrapped.layers}

    def layer(self, path, model_name):
        if path not in self.names:
            raise unknown_name(f"layer of {model_name!r}", path, self.names)
        return self.layer_of(self.names[path], path, model_name)

    def layer_of(self, name, path, model_name):
        if name not in self.by_name:
            raise ValueError(
                f"Expected a layer that TF-MOT left in one piece. Received: {path!r} of "
                f"{model_name!r}, which it replaced by several."
            )
        return self.by_name[name]


def _check_registered(model, config):
    """Raises if the model could not be built again, to be stripped or loaded."""
    if isinstance(config, list | tuple):
        for part in config:
            _check_registered(model, part)
    if not isinstance(config, dict):
        return
    name, module = config.get("registered_name"), config.get("module") or ""
    known = name is None or module.partition(".")[0] == "keras"
    if not known and keras.saving.get_registered_object(name) is None:
        raise ValueError(
            "Expected a model of Keras's own classes and registered ones. Received: "
            f"{model.name!r} with {name!r}: put `@keras.saving.register_keras_serializable()` "
            "before its definition."
        )
    for key, part in config.items():
        if key != "quantize_config":  # Of TF-MOT or registered: `QuantizeAnnotate` checks it.
            _check_registered(model, part)


def _original_variables(model, clone):
    """Name of a clone's variable -> the variable of the Keras 3 model that it stands for."""
    found = {}
    for name in clone.sources:
        ours = clone.originals(model, name, lambda layer: layer.weights)
        theirs = clone.model.get_layer(name).weights
        found.update(zip((weight.name for weight in theirs), ours, strict=True))
    return found


def _set_statistics(model, statistics):
    """Gives adapted `Normalization` layers their statistics: path -> weights."""
    for path, weights in statistics.items():
        layer = find_layer(model, path)
        if not isinstance(layer, keras.layers.Normalization):
            raise ValueError(
                f"Expected statistics of a Normalization. Received: statistics of {path!r}, a "
                f"{type(layer).__name__}"
            )
        layer.set_weights([np.asarray(weight, "float32") for weight in weights])
        layer.finalize_state()
