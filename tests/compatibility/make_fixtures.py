"""Writes the files of `files/`, which later versions must go on loading.

They were written by the code of commit f6c64fd on the
TensorFlow backend, with seed 0:

    KERAS_BACKEND=tensorflow python tests/compatibility/make_fixtures.py tests/compatibility/files

A new file is added by a later version beside these; those that are there are never made again.
Each model lies beside `<name>.npz`, with the inputs that it was called on and what it gave.
"""

import functools
import pathlib
import sys
import warnings

import keras
import numpy as np

import kdzoo
from kdzoo import compression, losses

CLASSES, SHAPE = 3, (8, 8, 1)


def network(name, width=4):
    """A small network with what losses tap and what TF-MOT treats apart."""
    layers = keras.layers
    inputs = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(width, 3, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="stage1")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Conv2D(2 * width, 1, activation="relu", name="stage2")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    model = keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x), name=name)
    random = np.random.default_rng(width)
    for layer in model.layers:
        layer.set_weights(
            [weight + 0.1 * random.random(weight.shape) for weight in layer.get_weights()]
        )
    return model


def examples(count=24):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, *SHAPE)).astype("uint8")
    return images, (np.arange(count) % CLASSES).astype("int32")


def floats(count=24):
    images, labels = examples(count)
    return images.astype("float32") / 255, labels


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, name="cross_entropy")


def every_loss():
    """Name of a file -> distillation losses."""
    features = ("features", "features")
    stages = ["stage1", "stage2"]
    labels = examples()[1]
    theirs = keras.distillation
    return {
        "soft_targets": losses.SoftTargets(3.0),
        "logit_regression": losses.LogitRegression(mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 1.5]),
        "decoupled_soft_targets": losses.DecoupledSoftTargets(1.0, 4.0, 2.0),
        "hint": losses.Hint("stage2", "stage2", activation="relu", reduction="mean"),
        "attention_transfer": losses.AttentionTransfer(stages, stages),
        "relational_distance": losses.RelationalDistance(*features),
        "relational_angle": losses.RelationalAngle(*features),
        "similarity_preserving": losses.SimilarityPreserving(*features),
        "contrastive_representation": losses.ContrastiveRepresentation(
            labels, *features, dimensions=4, negatives=6
        ),
        "keras_logits": theirs.LogitsDistillation(2.0, loss=keras.losses.KLDivergence()),
        "keras_features": theirs.FeatureDistillation(
            loss="mse", teacher_layer_name="stage1", student_layer_name="stage1"
        ),
        "output_regression": losses.OutputRegression("huber", 0.5),  # Written later.
        # And these later still.
        "prediction_correlation": [
            losses.SoftTargets(2.0, standardize=True, name="standardized"),
            losses.PredictionCorrelation(2.0, 2.0, 4.0),
        ],
        "probabilistic_transfer": losses.ProbabilisticTransfer(*features),
        "variational_information": losses.VariationalInformation("stage1", "stage1"),
        "born_again": [
            losses.ConfidenceWeightedLabels(2.0),
            losses.PermutedSoftTargets(2.0, seed=1),
        ],
        "several": [losses.SoftTargets(2.0), losses.SimilarityPreserving(*features)],
    }


def save_distiller(directory, name, loss):
    keras.utils.set_random_seed(0)
    width = 4 if name == "keras_features" else 6
    distiller = kdzoo.Distiller(network("teacher", width), network("student"), loss)
    distiller.compile(keras.optimizers.Adam(1e-2), cross_entropy(), metrics=["accuracy"])
    x, y = floats()
    targets = y
    if name == "contrastive_representation":
        targets = {"label": y, "index": np.arange(len(y), dtype="int32")}
    distiller.fit(x, targets, batch_size=12, epochs=1, verbose=0, shuffle=False)
    save(directory / f"distiller_{name}.keras", distiller)


def save(path, model):
    model.save(path)
    x, _ = floats(8)
    outputs = keras.ops.convert_to_numpy(model(x, training=False))
    np.savez_compressed(path.with_suffix(".npz"), inputs=x, outputs=outputs)


def trained(model, callbacks=()):
    model.compile(keras.optimizers.SGD(1e-2), cross_entropy())
    model.fit(*floats(), batch_size=12, epochs=1, verbose=0, shuffle=False, callbacks=callbacks)
    return model


def save_compressed(directory):
    """Pruned, clustered and quantization-aware models, in every form that a file may have."""
    constant = compression.ConstantSparsity(0.5, 0, -1, 1)
    decay = compression.PolynomialDecay(0.2, 0.6, 0, 4, frequency=1)
    step = [compression.UpdatePruningStep()]
    pruned = compression.prune_low_magnitude(network("pruned"), decay)
    save(directory / "pruned.keras", trained(pruned, step))
    pattern = compression.prune_low_magnitude(network("pattern"), constant, sparsity_m_by_n=(2, 4))
    save(directory / "pruned_2_of_4.keras", trained(pattern, step))
    # Within a model, a layer alone.
    marked = keras.models.clone_model(network("layers"), clone_function=_pruned_dense)
    save(directory / "pruned_layer.keras", trained(marked, step))

    clustered = compression.cluster_weights(network("clustered"), 4)
    save(directory / "clustered.keras", trained(clustered))
    marked = keras.models.clone_model(network("layers"), clone_function=_clustered_dense)
    save(directory / "clustered_layer.keras", trained(marked))

    save(directory / "quantized.keras", trained(compression.quantize_model(network("quantized"))))
    annotated = keras.models.clone_model(network("annotated"), clone_function=_annotated_dense)
    save(directory / "annotated_layer.keras", annotated)
    save(directory / "quantized_layer.keras", trained(compression.quantize_apply(annotated)))
    own = keras.models.clone_model(network("own"), clone_function=_annotated_otherwise)
    save(directory / "annotated_otherwise.keras", own)
    save(directory / "quantized_otherwise.keras", trained(compression.quantize_apply(own)))
    whole = compression.quantize_annotate_model(network("whole"))
    save(directory / "annotated_model.keras", whole)
    for name, scheme, start in (
        (
            "quantized_keeping_zeros",
            compression.Default8BitPrunePreserveQuantizeScheme(),
            compression.strip_pruning(pruned),
        ),
        (
            "quantized_keeping_clusters",
            compression.Default8BitClusterPreserveQuantizeScheme(False),
            compression.strip_clustering(clustered),
        ),
    ):
        annotated = compression.quantize_annotate_model(start)
        save(directory / f"{name}.keras", trained(compression.quantize_apply(annotated, scheme)))


def _pruned_dense(layer):
    schedule = compression.ConstantSparsity(0.5, 0, -1, 1)
    is_dense = isinstance(layer, keras.layers.Dense)
    return compression.prune_low_magnitude(layer, schedule) if is_dense else _copy(layer)


def _clustered_dense(layer):
    is_dense = isinstance(layer, keras.layers.Dense)
    return compression.cluster_weights(layer, 4) if is_dense else _copy(layer)


def _annotated_dense(layer):
    if not isinstance(layer, keras.layers.Dense):
        return _copy(layer)
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry as registry,
    )

    own = registry.Default8BitQuantizeConfig(["kernel"], ["activation"], False)
    return compression.quantize_annotate_layer(layer, own)


def _annotated_otherwise(layer):
    """With a configuration of the user's own, and with others of TF-MOT's."""
    from tensorflow_model_optimization.python.core.quantization.keras import quantize_config
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_configs as outputs,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry as registry,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.experimental.default_n_bit import (  # noqa: E501
        default_n_bit_quantize_registry as n_bits,
    )

    eight_bits = registry.Default8BitQuantizeConfig(["kernel"], ["activation"], False)
    chosen = {
        "conv": n_bits.DefaultNBitConvQuantizeConfig(["kernel"], ["activation"], False, 4, 8),
        "stage1": outputs.Default8BitOutputQuantizeConfig(),
        "stage2": quantize_config.FixedQuantizeConfig(eight_bits, 8, 0.0, 4.0, False),
        "logits": own_quantize_config()(bits=4),
    }
    if layer.name not in chosen:
        return _copy(layer)
    return compression.quantize_annotate_layer(layer, chosen[layer.name])


@functools.cache
def own_quantize_config():
    """A `QuantizeConfig` as users write and register them."""
    quantizers = compression.LastValueQuantizer

    @keras.saving.register_keras_serializable("fixtures")
    class FewBitKernels(compression.QuantizeConfig):
        def __init__(self, bits):
            self.bits = bits

        def get_weights_and_quantizers(self, layer):
            return [(layer.kernel, quantizers(self.bits, False, True, True))]

        def get_activations_and_quantizers(self, layer):
            return []

        def set_quantize_weights(self, layer, quantize_weights):
            layer.kernel = quantize_weights[0]

        def set_quantize_activations(self, layer, quantize_activations):
            pass

        def get_output_quantizers(self, layer):
            return []

        def get_config(self):
            return {"bits": self.bits}

    return FewBitKernels


def _copy(layer):
    return type(layer).from_config(layer.get_config())


def save_kdz(directory):
    """A model whose weights are coded in each way that there is."""
    model, random = network("compressed"), np.random.default_rng(0)
    for layer in model.layers:
        weights = [np.where(random.random(w.shape) < 0.4, w, 0) for w in layer.get_weights()]
        if layer.name == "stage2":
            weights = [np.round(8 * w) / 8 for w in layer.get_weights()]  # A codebook.
        elif layer.name in ("depthwise", "norm"):
            weights = layer.get_weights()
        layer.set_weights(weights)
    _save_kdz(model, directory / "compressed.kdz")


def save_signs(directory):
    """A model of binary weights with a scale for each output, a bit a number."""
    model, random = network("signs"), np.random.default_rng(0)
    for layer in model.layers:
        weights = layer.get_weights()
        if weights and weights[0].ndim > 1:
            scales = np.abs(random.normal(size=weights[0].shape[-1])).astype("float32")
            weights[0] = np.where(weights[0] < 0, -scales, scales)
            layer.set_weights(weights)
    _save_kdz(model, directory / "signs.kdz")


def _save_kdz(model, path):
    print(kdzoo.save_compressed(model, path))
    x, _ = floats(8)
    outputs = keras.ops.convert_to_numpy(model(x, training=False))
    np.savez_compressed(path.with_suffix(".npz"), inputs=x, outputs=outputs)


def save_others(directory):
    members = [network("first"), network("second", 6)]
    save(directory / "ensemble.keras", kdzoo.Ensemble(members, "probabilities"))

    shared = network("shared")
    kdzoo.save_pretrained(shared, directory / "shared", card="# A fixture\n")
    kdzoo.save_pretrained(shared, directory / "shared_float16", dtype="float16")
    x, _ = floats(8)
    np.savez_compressed(directory / "shared.npz", inputs=x, outputs=shared(x, training=False))

    keras.utils.set_random_seed(0)
    student = network("student")
    distiller = kdzoo.Distiller(network("teacher", 6), student, losses.SoftTargets(2.0))
    distiller.compile(keras.optimizers.Adam(1e-2), cross_entropy(), metrics=["accuracy"])
    data = kdzoo.data.from_arrays(*examples(), classes=CLASSES, name="random", validation=0.25)
    kdzoo.schemes.train(
        distiller,
        lambda epoch: data.train.batches(6, initial_epoch=epoch),
        2,
        directory / "checkpoint",
        data.validation.batches(6),
        settings={"seed": 0},
        verbose=0,
    )
    outputs = keras.ops.convert_to_numpy(student(x, training=False))
    np.savez_compressed(directory / "checkpoint.npz", inputs=x, outputs=outputs)

    kdzoo.data.npy.write(data, directory / "data")
    teacher = network("teacher", 6)
    kdzoo.save_pretrained(teacher, directory / "teacher")
    for name, options in (
        ("recorded", {"dtype": "float32"}),
        ("recorded_top_k", {"top_k": 1, "layers": ["features"]}),
    ):
        augmentation = kdzoo.data.Augmentation(shift=1) if name == "recorded" else None
        views = 2 if augmentation else 1
        kdzoo.data.record_teacher(
            teacher, data.train, directory / name, views, augmentation=augmentation, **options
        )
    recorded = kdzoo.data.with_recorded_teacher(data.train, directory / "recorded")
    answers = [
        np.concatenate(
            [np.asarray(targets["teacher"]) for _, targets in recorded.batches(6, initial_epoch=e)]
        )
        for e in range(2)
    ]
    np.savez_compressed(directory / "recorded.npz", outputs=np.stack(answers))

    report = kdzoo.export.to_litert(shared, directory / "shared.tflite", labels=["a", "b", "c"])
    print(report.bytes)


def main(directory):
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True)
    warnings.simplefilter("ignore")
    for name, loss in every_loss().items():
        save_distiller(directory, name, loss)
    keras.utils.set_random_seed(0)
    save_compressed(directory)
    keras.utils.set_random_seed(0)
    save_others(directory)
    save_kdz(directory)  # Written later.
    save_signs(directory)  # Later still.


if __name__ == "__main__":
    main(sys.argv[1])
