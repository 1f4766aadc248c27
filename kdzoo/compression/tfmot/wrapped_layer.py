"""The host of a single layer: what TF-MOT made of its twin, inside a Keras 3 layer."""

import copy

import keras

from kdzoo.compression.tfmot.clone_agreement import check_layers_agree
from kdzoo.compression.tfmot.library import load_tfmot
from kdzoo.compression.tfmot.tf_keras_clone import twin_of_layer
from kdzoo.compression.tfmot.wrapped_model import adopt, plain_weights
from kdzoo.utils import check_name, shown
from kdzoo.utils.fields import check_fields, is_boolean, is_dictionary, is_name


def host_name(layer, name, prefix):
    """Returns the name of the host of a layer: the one that was given, or the layer's own.

    Args:
        layer: The layer.
        name: The name that was given, or None.
        prefix: What comes before the layer's own name.

    Raises:
        ValueError: If it is no layer, or no name.
    """
    if not isinstance(layer, keras.layers.Layer):
        raise ValueError(
            f"Expected a keras.layers.Layer. Received: layer={shown(layer)} of type "
            f"{type(layer).__name__}"
        )
    return check_name(name) or f"{prefix}_{layer.name}"


class HostedLayer(keras.layers.Layer):
    """A Keras 3 layer that computes as TF-MOT's wrapper around its tf_keras twin.

    A subclass says, in `_wrap`, what TF-MOT makes of the twin.

    Args:
        layer: The `keras.layers.Layer`, built or not; it is copied.
        name: Name of the new layer.
    """

    def __init__(self, layer, name=None, **kwargs):
        load_tfmot()
        super().__init__(name=name, dtype=layer.dtype_policy, autocast=False, **kwargs)
        self._held = _Held(layer)
        self.supports_masking = layer.supports_masking
        if hasattr(layer, "_input_shape_arg"):  # Of the first layer of a sequential model.
            self._input_shape_arg = layer._input_shape_arg
        self.supports_jit = False

    def build(self, input_shape):
        held = self._held
        held.layer.build(input_shape)
        if held.weights is not None:
            held.layer.set_weights(held.weights)
        twin = twin_of_layer(held.layer)
        twin.build(input_shape)
        twin.set_weights(held.layer.get_weights())
        check_layers_agree(held.layer, twin, input_shape)
        pairs = zip(held.layer.weights, twin.weights, strict=True)
        originals = {theirs.name: ours for ours, theirs in pairs}
        held.order = [weight.name for weight in twin.weights]
        held.wrapped = self._wrap(twin)
        held.wrapped.build(input_shape)
        weights = [*held.wrapped.weights, *self._further_variables()]
        trainable = {id(variable) for variable in held.wrapped.trainable_weights}
        adopt(self, weights, trainable, originals)

    def _wrap(self, twin):
        """Returns the layer that TF-MOT makes of a tf_keras layer."""
        raise NotImplementedError

    def _further_variables(self):
        """What the wrapped layer computes with besides its weights, `tf.Variable`s."""
        return []

    @property
    def wrapped(self):
        """TF-MOT's wrapper, whose variables are this layer's; `None` before it is built."""
        return self._held.wrapped

    @property
    def order(self):
        """The names of the weights before TF-MOT wrapped the layer."""
        return self._held.order

    def call(self, inputs, training=None, mask=None):
        options = {} if mask is None else {"mask": mask}
        return self.wrapped(inputs, training=bool(training), **options)

    def compute_mask(self, inputs, previous_mask=None):
        return self._held.layer.compute_mask(inputs, previous_mask)

    def compute_output_shape(self, input_shape):
        return self._held.layer.compute_output_shape(input_shape)

    def plain_layer(self):
        """Returns a new layer like the original one, without weights."""
        return copy_of(self._held.layer)

    def plain_weights(self):
        """The weights of the original layer, as training left them, a list of arrays."""
        return plain_weights(self.wrapped, self.order)

    def get_config(self):
        layer = keras.saving.serialize_keras_object(self._held.layer)
        return {"layer": layer, "name": self.name, "trainable": self.trainable}

    @classmethod
    def checks_of_fields(cls):
        """Returns name of a field of the configuration -> whether a value of a file fits it."""
        return {"layer": is_dictionary, "name": is_name, "trainable": is_boolean}

    @classmethod
    def from_config(cls, config):
        checks = cls.checks_of_fields()
        check_fields(cls.__name__, config, checks, optional=checks.keys() - {"layer"})
        config = dict(config)
        layer = keras.saving.deserialize_keras_object(copy.deepcopy(config.pop("layer")))
        if not isinstance(layer, keras.layers.Layer):
            raise ValueError(
                f"Expected the layer in the configuration of a {cls.__name__}. Received: a "
                f"{type(layer).__name__}"
            )
        return cls(layer, **config)


class _Held:
    """What a hosted layer knows of the original, where Keras does not look."""

    def __init__(self, layer):
        self.layer = copy_of(layer)
        self.weights = layer.get_weights() if layer.built else None
        self.wrapped, self.order = None, None


def copy_of(layer):
    """Returns a new layer of the same configuration, without weights."""
    return type(layer).from_config(layer.get_config())
