"""The host: a model that TF-MOT wrapped, inside a Keras 3 model.

TF-MOT (tensorflow-model-optimization) takes tf_keras models only. Here it is given the tf_keras
twin of a Keras 3 model, and what it makes of it computes inside a `keras.Model` that owns its
variables. Files hold the Keras 3 model's configuration and the weights; tf_keras opens none.
"""

import copy
import os
import warnings

import keras

from kdzoo.compression.twin import build_twin
from kdzoo.taps import find_layer, graph_of
from kdzoo.utils import unknown_name


def load_tfmot():
    """Imports TF-MOT and returns it; `tf.keras` and the environment stay as they were.

    Raises:
        RuntimeError: If Keras runs on another backend than TensorFlow.
    """
    if keras.config.backend() != "tensorflow":
        raise RuntimeError(
            "Pruning, clustering and quantization with TF-MOT need Keras's TensorFlow backend "
            f"(this is {keras.config.backend()!r}): start Python with KERAS_BACKEND=tensorflow; "
            "models and weights cross over as `.keras` files."
        )
    import tensorflow as tf

    # Resolved now: TF-MOT sets a switch by which the first use of it would bring tf_keras instead.
    tf.keras.Model  # noqa: B018
    switch = "TF_USE_LEGACY_KERAS"
    before = os.environ.get(switch)
    try:
        with warnings.catch_warnings():
            # It compares versions with distutils, which is deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            import tensorflow_model_optimization
    finally:
        os.environ.pop(switch, None)
        if before is not None:
            os.environ[switch] = before
    return tensorflow_model_optimization


def check_model(argument, model):
    """Raises unless the argument of this name is a `keras.Model`."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            "Expected a functional or sequential `keras.Model`. Received: "
            f"{argument}={model!r} of type {type(model).__name__}"
        )


def check_made_by(verb, kind, model):
    """Raises unless a model is of the kind that a verb returns."""
    if not isinstance(model, kind):
        raise ValueError(
            f"Expected a model that `{verb}` returned. Received: "
            f"{getattr(model, 'name', model)!r} of type {type(model).__name__}"
        )


def pruning_registry():
    """Returns a function: tf_keras layer -> names of the weights that TF-MOT prunes in it.

    The names are empty for a layer that is left dense, and for one that TF-MOT does not know.
    """
    load_tfmot()
    from tensorflow_model_optimization.python.core.sparsity.keras import prune_registry

    registry = prune_registry.PruneRegistry

    def names(layer):
        if not registry.supports(layer):
            return []
        is_recurrent = registry._is_rnn_layer(layer)
        return ["kernel"] if is_recurrent else registry._weight_names(layer)

    return names


def output_config():
    """Returns TF-MOT's configuration for a layer without weights whose output is quantized."""
    load_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_configs,
    )

    return default_8bit_quantize_configs.Default8BitOutputQuantizeConfig()


def cluster_preserving():
    """Returns TF-MOT's scheme of cluster-preserving quantization, and its registry of layers."""
    load_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts import (
        cluster_preserve as parts,
    )

    registry = parts.cluster_preserve_quantize_registry.Default8bitClusterPreserveQuantizeRegistry
    scheme = parts.default_8bit_cluster_preserve_quantize_scheme
    return scheme.Default8BitClusterPreserveQuantizeScheme, registry


def cluster(twin, settings):
    """Returns the twin with TF-MOT's clustering around its layers.

    Args:
        twin: The tf_keras model.
        settings: Arguments of TF-MOT's `cluster_weights`, the experimental ones included.
    """
    load_tfmot()
    import tf_keras
    from tensorflow_model_optimization.python.core.clustering.keras import cluster as tools
    from tensorflow_model_optimization.python.core.clustering.keras import clustering_registry

    registry = clustering_registry.ClusteringRegistry

    def wrapped(layer):
        # What has nothing to cluster need not be wrapped, and TF-MOT may not know it.
        if not layer.weights or not registry.supports(layer):
            return layer
        return tools._cluster_weights(layer, **settings)

    return tf_keras.models.clone_model(twin, clone_function=wrapped)


class HostedModel(keras.Model):
    """A Keras 3 model whose forward pass is that of a model that TF-MOT wrapped.

    It trains with Keras's `fit`, optimizers and callbacks, alone or as the student of a
    `Distiller`, whose taps find layers by their names in the original model. It saves as any Keras
    model does. A subclass says, in `_wrap`, what TF-MOT makes of the twin.

    Args:
        model: The functional or sequential `keras.Model` that is to be wrapped; it is copied.
        name: Name of the new model; that of `model` when None.

    Raises:
        RuntimeError: If Keras runs on another backend than TensorFlow, or the twin disagrees.
        ValueError: If a layer of the model has no twin in tf_keras.
    """

    def __init__(self, model, name=None):
        load_tfmot()
        super().__init__(name=name or model.name, dtype=model.dtype_policy, autocast=False)
        twin = build_twin(model)
        originals = _original_variables(model, twin)
        order = {
            name: [weight.name for weight in twin.model.get_layer(name).weights]
            for name in twin.sources
        }
        # In an object of its own, which Keras does not look into.
        self._host = _Host(model, twin, self._wrap(twin), order)
        self._adopt(self._host.model, originals)
        # TF-MOT's assertions and conditions are not for XLA.
        self.supports_jit = False
        self.built = True

    def _wrap(self, twin):
        """Returns the tf_keras model that TF-MOT makes of a `Twin`."""
        raise NotImplementedError

    def _computed(self, wrapped):
        """The wrapped model's trainable variables that a step computes from others."""
        return []

    def _further_variables(self, wrapped):
        """What the wrapped model computes with besides its weights, `tf.Variable`s."""
        return []

    def _adopt(self, wrapped, originals):
        """Makes the wrapped model's variables this model's own, without copying them."""
        trainable = {id(variable) for variable in wrapped.trainable_weights}
        trainable -= {id(variable) for variable in self._computed(wrapped)}
        seen = set()
        for variable in [*wrapped.weights, *self._further_variables(wrapped)]:
            if id(variable) in seen:
                continue
            seen.add(id(variable))
            inner = getattr(variable, "_variable", None)  # Of an AutoCastVariable.
            ours = keras.Variable(
                variable if inner is None else inner,
                trainable=id(variable) in trainable,
                dtype=(variable if inner is None else inner).dtype.name,
                name=variable.name.removesuffix(":0").replace("/", "_"),
            )
            original = originals.get(variable.name)
            if original is not None:
                ours.regularizer, ours.constraint = original.regularizer, original.constraint
            self._track_variable(ours)

    @property
    def wrapped(self):
        """The tf_keras model that TF-MOT made; its variables are this model's."""
        return self._host.model

    @property
    def input(self):
        """The original model's symbolic inputs, in its structure."""
        return self._host.graph.input

    @property
    def output(self):
        """The original model's symbolic outputs, in its structure."""
        return self._host.graph.output

    @property
    def inputs(self):
        """The symbolic inputs, a list."""
        return keras.tree.flatten(self.input)

    @property
    def outputs(self):
        """The symbolic outputs, a list."""
        return keras.tree.flatten(self.output)

    @property
    def output_names(self):
        """The original model's output names, for `compile(loss={...})`."""
        return self._host.graph.output_names

    @property
    def paths(self):
        """Name of a twin's layer with weights -> path of the original layer."""
        return self._host.sources

    def wrapped_layer(self, name):
        """The wrapped layer that stands for a layer of the twin, by the twin's name."""
        return self._host.by_name[name]

    def left_out(self, names):
        """Returns the paths of layers that have a kernel and are none of the twin's of these names.

        Args:
            names: Names of the twin's layers that TF-MOT works on.
        """
        return [
            path
            for name, path in self.paths.items()
            if name not in names
            and any(len(weight.shape) > 1 for weight in self.wrapped_layer(name).weights)
        ]

    def tapped_layer(self, path):
        """The wrapped layer whose output is that of a layer of the original model."""
        return self._host.layer(path, self.name)

    def call(self, inputs, training=None):
        outputs = self.wrapped(keras.tree.flatten(inputs), training=bool(training))
        return keras.tree.pack_sequence_as(self.output, keras.tree.flatten(outputs))

    def plain_model(self):
        """Returns the original model, a new one, with this model's present weights.

        Raises:
            ValueError: If TF-MOT replaced a layer by several.
        """
        model = keras.saving.deserialize_keras_object(copy.deepcopy(self._host.config))
        for name, path in self._host.sources.items():
            layer = self._host.layer_of(name, path, self.name)
            find_layer(model, path).set_weights(self._plain_weights(layer, self._host.order[name]))
        return model

    def _plain_weights(self, layer, order):
        """The weights of an original layer, of the layer that TF-MOT wrapped.

        Args:
            layer: The wrapped layer.
            order: The names of the weights before the wrapping.
        """
        values = {weight.name: weight.numpy() for weight in layer.weights}
        return [values[name] for name in order]

    def get_config(self):
        return {"model": copy.deepcopy(self._host.config), "name": self.name}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        model = keras.saving.deserialize_keras_object(config.pop("model"))
        return cls(model, **config)


class _Host:
    """What a hosted model knows of the original and of what TF-MOT made of it."""

    def __init__(self, model, twin, wrapped, order):
        self.order = order  # Name of a twin's layer -> names of its weights before the wrapping.
        self.model, self.names, self.sources = wrapped, twin.names, twin.sources
        self.config = keras.saving.serialize_keras_object(model)
        self.config.pop("compile_config", None)
        self.graph = graph_of(model)
        self.by_name = {getattr(layer, "layer", layer).name: layer for layer in wrapped.layers}

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


def _original_variables(model, twin):
    """Name of a twin's variable -> the variable of the Keras 3 model that it stands for."""
    return {
        theirs.name: ours
        for name, path in twin.sources.items()
        for ours, theirs in zip(
            find_layer(model, path).weights, twin.model.get_layer(name).weights, strict=True
        )
    }
