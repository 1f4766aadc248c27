"""The tf_keras twin of a Keras 3 model: TF-MOT takes no other kind of model."""

import dataclasses
import inspect
import re

import keras

from kdzoo.compression.tfmot import tf_keras_operations
from kdzoo.compression.tfmot.clone_agreement import check_agreement
from kdzoo.graph.taps import find_layer, graph_of
from kdzoo.utils import shown
from kdzoo.utils.fields import is_plain

_LEFT_OUT = ("_initializer", "_regularizer", "_constraint")
_RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}
# What layers of tf_keras may be told in words.
_WORDS = frozenset(
    {"valid", "same", "causal", "channels_first", "channels_last", "nearest", "bilinear"}
    | {"bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic"}
    | {"sum", "mul", "concat", "ave", "int", "one_hot", "multi_hot", "count"}
    | {"reflect", "wrap", "constant", "horizontal", "vertical", "horizontal_and_vertical"}
)


@dataclasses.dataclass(frozen=True)
class Twin:
    """A tf_keras model that computes what a Keras 3 model computes.

    Attributes:
        model: The `tf_keras.Model`, functional, with flat lists of inputs and outputs.
        names: Path of a layer of the Keras 3 model ("stage1", "backbone/stage1") -> name of the
            twin's layer whose output is that layer's.
        sources: Name of a twin's layer with weights -> path of the layer whose weights it has.
        annotations: Name of a twin's layer that was marked for quantization -> how, or None.
        parts: Name of a twin's layer that is one of two -> the slice of the weights that it has.
        statistics: Path of an adapted `Normalization` -> its weights, which the twin has as
            constants.
    """

    model: object
    names: dict
    sources: dict
    annotations: dict
    parts: dict
    statistics: dict

    def originals(self, model, name, values):
        """Returns what one of the twin's layers has of a layer of the Keras 3 model.

        Args:
            model: The Keras 3 model.
            name: Name of the twin's layer.
            values: Function from a layer to the list that is divided, such as its weights.
        """
        return values(find_layer(model, self.sources[name]))[self.parts.get(name, slice(None))]

    def path_of(self, name):
        """Returns the path of the Keras 3 layer that one of the twin's layers stands for.

        Args:
            name: Name of the twin's layer; one of several that stand for a layer begins with its
                name.
        """
        inner_last = sorted(self.names.items(), key=lambda each: len(each[0]))
        paths = {twin: path for path, twin in inner_last} | self.sources
        if name in paths:
            return paths[name]
        begins = [twin for twin in self.sources if name.startswith(f"{twin}_")]
        return self.sources[max(begins, key=len)] if begins else name


def build_twin(model, split_separable=False):
    """Builds the twin of a functional or sequential Keras 3 model and checks that it agrees.

    Shared layers stay shared, nested models are flattened, and operations such as `x + y` become
    the layers that tf_keras has for them. The model is left as it is.

    Args:
        model: A built functional or sequential `keras.Model`.
        split_separable: Whether a `SeparableConv2D` becomes two layers, as TF-MOT quantizes it.

    Returns:
        The `Twin`. It has copies of the weights and no initializers, regularizers or constraints.

    Raises:
        ValueError: If the model has no graph, or a layer or operation has no twin; the error names
            the first of them and what to do.
        RuntimeError: If the twin's outputs are not the model's.
    """
    import tf_keras

    graph = graph_of(model)
    builder = _Builder(tf_keras, split_separable)
    inputs = [
        tf_keras.Input(
            tensor.shape[1:], tensor.shape[0], dtype=tensor.dtype, name=builder.unique(tensor.name)
        )
        for tensor in graph.inputs
    ]
    outputs = builder.run(graph, inputs)
    made = tf_keras.Model(inputs, keras.tree.flatten(outputs), name=model.name)
    of_layers = builder.names, builder.sources, builder.annotations
    twin = Twin(made, *of_layers, builder.parts, builder.statistics)
    for name in twin.sources:
        weights = twin.originals(model, name, lambda layer: layer.get_weights())
        made.get_layer(name).set_weights(weights)
    check_agreement(model, made)
    return twin


def twin_of_layer(layer):
    """Returns a tf_keras layer, not built, that computes what a single Keras 3 layer computes.

    Raises:
        ValueError: If there is none; the error says why.
    """
    import tf_keras

    twin, activation = _Builder(tf_keras)._make(layer, layer.name, layer.name)
    if activation:
        raise no_twin(
            layer.name,
            type(layer).__name__,
            f"tf_keras has no activation {activation!r}, so put it in a layer of its own",
        )
    return twin


class _Builder:
    """Rebuilds graphs with tf_keras layers, each Keras 3 layer once however often it is called."""

    def __init__(self, tf_keras, split_separable=False):
        self.tf_keras, self.split_separable = tf_keras, split_separable
        self.layers, self.names, self.sources, self.annotations = {}, {}, {}, {}
        self.parts, self.statistics = {}, {}
        self._taken = set()

    def run(self, graph, inputs, path=""):
        """Returns the outputs of a graph for tf_keras tensors, in the model's structure."""

        def call(operation, *args, **kwargs):
            return self._call(operation, args, kwargs, path)

        return graph_of(graph)._run_through_graph(inputs, lambda operation: operation, call)

    def _call(self, operation, args, kwargs, path):
        where = f"{path}{operation.name}"
        # Whether a graph is in training, its layers are told by each call: what was recorded of
        # it when the graph was made counts no more than it does in Keras 3.
        kwargs = {k: v for k, v in kwargs.items() if v is not None and k != "training"}
        if isinstance(operation, keras.layers.Layer):
            kwargs = _without_masks(operation, where, args, kwargs)
        elif _makes_a_mask(operation, args, kwargs):
            return _Mask(operation)
        for mask in keras.tree.flatten([args, list(kwargs.values())]):
            if isinstance(mask, _Mask):
                kind = f"keras.ops operation {type(mask.operation).__name__}"
                raise no_twin(mask.operation.name, kind, "tf_keras has no layer for it")
        if isinstance(operation, keras.Model):
            inputs = keras.tree.flatten(args) + keras.tree.flatten(kwargs.get("inputs", []))
            outputs = self.run(operation, inputs, f"{where}/")
            self._remember_nested(where, outputs)
            return outputs
        if not isinstance(operation, keras.layers.Layer):
            return tf_keras_operations.apply(
                operation, args, kwargs, self.unique(where), self.tf_keras
            )
        chain, activation = self._layer(operation, where)
        outputs = chain[0](*args, **kwargs)
        for layer in chain[1:]:
            outputs = layer(outputs)
        last = chain[-1].name
        if activation:
            name = self.unique(f"{where}_{activation}")
            outputs = tf_keras_operations.activate(activation, outputs, name, self.tf_keras)
            last = outputs.node.layer.name
        self.names[where] = last
        return outputs

    def _remember_nested(self, where, outputs):
        outputs = keras.tree.flatten(outputs)
        if len(outputs) == 1:
            self.names[where] = outputs[0].node.layer.name

    def unique(self, name):
        """The name as TensorFlow takes it, with a number if there is a layer of this name."""
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        name = name if name[0] not in "_-" else f"layer{name}"
        number, free = 1, name
        while free in self._taken:
            number, free = number + 1, f"{name}_{number}"
        self._taken.add(free)
        return free

    def _layer(self, layer, where):
        """The twin of a layer, a list of one or two, and the activation that it needs after it."""
        if id(layer) not in self.layers:
            # Marked for quantization: the twin is that of the layer within, under its name.
            marked = getattr(layer, "annotated_layer", None)
            made = layer if marked is None else marked
            name = self.unique(where.removesuffix(layer.name) + made.name)
            chain, activation = self._chain(made, where, name)
            self.layers[id(layer)] = chain, activation
            for twin in chain:
                if marked is not None:
                    is_last = twin is chain[-1]
                    self.annotations[twin.name] = layer.quantize_config if is_last else None
                if layer.weights and not isinstance(made, keras.layers.Normalization):
                    self.sources[twin.name] = where
            if isinstance(made, keras.layers.Normalization) and layer.weights:
                self.statistics[where] = layer.get_weights()
        return self.layers[id(layer)]

    def _chain(self, layer, where, name):
        if not (self.split_separable and type(layer) is keras.layers.SeparableConv2D):
            twin, activation = self._make(layer, where, name)
            return [twin], activation
        first, second = self._separated(layer, self.unique(f"{name}_depthwise"), name)
        twins, activations = zip(
            self._make(first, where, first.name), self._make(second, where, name), strict=True
        )
        self.parts[twins[0].name], self.parts[twins[1].name] = slice(0, 1), slice(1, None)
        return list(twins), activations[1]

    def _separated(self, layer, first, second):
        """The two convolutions that a separable one consists of."""
        config = layer.get_config()
        common = {"data_format": layer.data_format, "dtype": layer.dtype_policy}
        common["trainable"] = layer.trainable
        of_depthwise = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
        given = {field: config[field] for field in of_depthwise}
        depthwise = keras.layers.DepthwiseConv2D(**given, use_bias=False, name=first, **common)
        given = {field: config[field] for field in ("filters", "use_bias", "activation")}
        pointwise = keras.layers.Conv2D(kernel_size=1, **given, name=second, **common)
        return depthwise, pointwise

    def _make(self, layer, where, name):
        kind = type(layer).__name__
        theirs = getattr(self.tf_keras.layers, kind, None)
        if theirs is None or type(layer) is not getattr(keras.layers, kind, None):
            raise no_twin(where, kind, "tf_keras has no such layer")
        if kind == "RNN":
            raise no_twin(where, kind, "its cell cannot be carried over; there are LSTM and GRU")
        if kind == "Lambda":
            raise no_twin(where, kind, "its function cannot be carried over")
        if isinstance(layer, keras.layers.Normalization):
            return self._normalization(layer, name), None
        config = layer.get_config()
        activation = config.get("activation")
        named = isinstance(activation, str)
        composed = activation if named and activation in tf_keras_operations.COMPOSED else None
        if composed:
            config["activation"] = "linear"
        elif activation is not None and not (named and activation in tf_keras_operations.SHARED):
            raise no_twin(where, kind, f"tf_keras has no activation {_named(activation)}")
        if kind == "Activation" and composed:
            config["activation"] = "linear"
        inner = config.get("recurrent_activation")
        if inner is not None and not (
            isinstance(inner, str) and inner in tf_keras_operations.SHARED
        ):
            raise no_twin(where, kind, f"tf_keras has no recurrent activation {_named(inner)}")
        arguments = self._arguments(layer, config, theirs, where)
        if isinstance(layer, keras.layers.Bidirectional):
            inner = self._within(layer.forward_layer, where, "forward")
            back = self._within(layer.backward_layer, where, "backward")
            arguments.update(layer=inner, backward_layer=back)
        elif isinstance(layer, keras.layers.Wrapper):
            arguments["layer"] = self._within(layer.layer, where, "inner")
        arguments.update(name=name, dtype=layer.dtype_policy.name)
        try:
            return tf_keras_operations.make(theirs, **arguments), composed
        except (TypeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise no_twin(where, kind, f"tf_keras does not make it ({reason})") from error

    def _within(self, layer, where, name):
        """The twin of the layer in a wrapper."""
        path = f"{where}/{layer.name}"
        twin, activation = self._make(layer, path, name)
        if activation:
            kind = type(layer).__name__
            raise no_twin(path, kind, f"tf_keras has no activation {activation!r} in a wrapper")
        return twin

    def _arguments(self, layer, config, theirs, where):
        """What of a layer's configuration the layer of tf_keras takes."""
        kind = type(layer).__name__
        regularizes = isinstance(layer, keras.layers.ActivityRegularization)
        if regularizes or config.get("activity_regularizer") is not None:
            raise no_twin(where, kind, "an activity regularizer cannot be carried over")
        if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
            raise no_twin(where, kind, "it is quantized or has LoRA enabled")
        usual = inspect.signature(type(layer).__init__).parameters
        known = inspect.signature(theirs.__init__).parameters
        arguments = {"trainable": layer.trainable}
        for name, value in config.items():
            if name.endswith(_LEFT_OUT) or name in ("name", "dtype", "trainable", "layer"):
                continue
            if name in ("activity_regularizer", "backward_layer", "build_config"):
                continue
            renamed = _RENAMED.get((kind, name), name)
            if renamed in known:
                if not _is_argument(renamed, value):
                    raise no_twin(where, kind, f"tf_keras is not given {name}={_named(value)}")
                arguments[renamed] = value
            elif name == "data_format" and value == keras.config.image_data_format():
                continue
            elif name in usual and value not in (usual[name].default, None):
                raise no_twin(where, kind, f"tf_keras knows no {name}={shown(value)}")
        return arguments

    def _normalization(self, layer, name):
        mean, variance = (
            None if each is None else keras.ops.convert_to_numpy(each)
            for each in (layer.mean, layer.variance)
        )
        # With the statistics as constants: Keras keeps two weights, tf_keras three.
        return tf_keras_operations.make(
            self.tf_keras.layers.Normalization,
            layer.axis,
            mean,
            variance,
            invert=layer.invert,
            name=name,
            dtype=layer.dtype_policy.name,
        )


def _without_masks(layer, where, args, kwargs):
    """The arguments without a mask that Keras 3 hands on; tf_keras hands on its own."""
    left = {name: value for name, value in kwargs.items() if not isinstance(value, _Mask)}
    has_mask = (getattr(each, "_keras_mask", None) is not None for each in keras.tree.flatten(args))
    if len(left) < len(kwargs) and not any(has_mask):
        reason = "its mask is computed in the graph; mask by a `Masking` layer or an `Embedding`"
        raise no_twin(where, type(layer).__name__, reason)
    return left


class _Mask:
    """Stands for a mask that Keras 3 makes in the graph, and tf_keras behind the scenes."""

    def __init__(self, operation):
        self.operation = operation


def _makes_a_mask(operation, args, kwargs):
    """Whether an operation may be one that makes a mask, or changes one."""
    if type(operation).__name__ == "NotEqual":
        return True
    given = keras.tree.flatten([args, list(kwargs.values())])
    return any(isinstance(each, _Mask) for each in given)


def no_twin(where, kind, reason):
    """The error for the first layer or operation that tf_keras cannot take over."""
    return ValueError(
        f"Expected layers that tf_keras has too, which TF-MOT works on. Received: {where!r}, a "
        f"{kind}: {reason}. Replace it, or keep it out: compress the part before it as a model of "
        "its own."
    )


def _is_argument(name, value):
    """Whether a value of a configuration may be given to tf_keras, whose layers make objects of
    dictionaries and open files of strings.
    """
    if isinstance(value, str):
        return value in _WORDS or name.endswith("activation")
    return is_plain(value) and not any(isinstance(each, str) for each in keras.tree.flatten(value))


def _named(value):
    value = value.get("class_name") if isinstance(value, dict) else value
    return repr(value)[:80]
