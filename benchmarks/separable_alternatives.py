"""What other blocks make of the parameters of `separable_025`: accuracy, training time, latency.

    python benchmarks/separable_alternatives.py [NAME ...] [--epochs 6] [--json PATH]

Networks of at most 60,000 parameters are trained alone on 45,000 images of CIFAR-10, shifted and
flipped, by the optimizer of the zoo's students, in bfloat16 with `kdzoo.accelerate`, and judged by
the 5,000 that are held out. Time is the processor's, of all threads. Latencies are measured first,
with fresh weights: only they need an idle machine. With `--json`, what that file has of this
machine is not measured again.
"""

import json
import math
import pathlib
import tempfile
import time

import command_line

LIMIT = 60_000


def conv(x, channels, side=1, strides=1, relu=True):
    """A convolution, a normalization and, unless told otherwise, a ReLU."""
    from keras import layers

    options = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
    x = layers.Conv2D(channels, side, strides=strides, **options)(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3)(x)
    return layers.ReLU()(x) if relu else x


def depthwise(x, strides, relu=True):
    """A depthwise 3x3 convolution, a normalization and, unless told otherwise, a ReLU."""
    import keras
    from keras import layers

    scale = keras.initializers.RandomNormal(stddev=math.sqrt(2 / 9))
    options = {"padding": "same", "use_bias": False, "depthwise_initializer": scale}
    x = layers.DepthwiseConv2D(3, strides=strides, **options)(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3)(x)
    return layers.ReLU()(x) if relu else x


def with_shortcut(x, channels, strides):
    """The zoo's block, with a shortcut wherever input and output have one shape."""
    return added(x, conv(depthwise(x, strides), channels))


def linear_depthwise(x, channels, strides):
    """The zoo's block without the ReLU between its two convolutions."""
    return conv(depthwise(x, strides, relu=False), channels)


def inverted_residual(x, channels, strides):
    """The block of MobileNetV2: four times as wide inside, no ReLU at the end, a shortcut."""
    y = depthwise(conv(x, 4 * x.shape[-1]), strides)
    return added(x, conv(y, channels, relu=False))


def residual(x, channels, strides):
    """The block of a ResNet: two 3x3 convolutions and a shortcut."""
    from keras import layers

    y = conv(conv(x, channels, 3, strides), channels, 3, relu=False)
    if y.shape != x.shape:
        x = conv(x, channels, 1, strides, relu=False)
    return layers.ReLU()(layers.Add()([x, y]))


def added(x, y):
    """The sum where the shapes agree, else y."""
    from keras import layers

    return layers.Add()([x, y]) if x.shape == y.shape else y


def network(block, stem, channels, counts, last=None):
    """Returns a function: input shape -> model of stages of blocks at 1, 1/2, 1/4 resolution."""
    import keras
    from keras import layers

    def build(input_shape):
        inputs = keras.Input(input_shape)
        x = conv(inputs, stem, 3)
        for stage, (width, count) in enumerate(zip(channels, counts, strict=True)):
            for number in range(count):
                x = block(x, width, 2 if stage and not number else 1)
        x = conv(x, last) if last else x
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, layers.Dense(10, dtype="float32")(x))

    return build


def networks():
    """Returns name -> function that builds the network for an input shape."""
    import kdzoo

    return {
        "separable_025": lambda shape: kdzoo.create("separable_025", 10, shape),
        "shortcuts": network(with_shortcut, 16, (32, 64, 128), (2, 2, 3)),
        "no ReLU after the depthwise convolution": network(
            linear_depthwise, 16, (32, 64, 128), (2, 2, 3)
        ),
        "inverted residuals": network(inverted_residual, 16, (16, 24, 32), (2, 3, 3), last=128),
        "residual 3x3 convolutions": network(residual, 12, (12, 24, 44), (2, 2, 1)),
    }


def size(name, data):
    """Returns what one network costs on a phone; its weights do not matter for that."""
    import keras

    from kdzoo import evaluation
    from kdzoo.export import to_litert

    keras.utils.set_random_seed(0)
    model = networks()[name](data.input_shape)
    assert model.count_params() <= LIMIT
    row = {
        "network": name,
        "parameters": evaluation.count_parameters(model),
        "macs": evaluation.count_macs(model),
        "latency_ms": {},
        "bytes": {},
    }
    with tempfile.TemporaryDirectory() as room:
        for form in ("float32", "int8"):
            path = pathlib.Path(room) / "model.tflite"
            quantize = None if form == "float32" else form
            to_litert(model, path, quantize, data.train.arrays()[0][:256], min_agreement=0.0)
            row["latency_ms"][form] = evaluation.latency(path).median_ms
            row["bytes"][form] = evaluation.file_bytes(path)
    return row


def train(name, data, epochs):
    """Trains one network and returns how well it learns, and the time that it takes."""
    import keras

    import kdzoo
    from kdzoo import evaluation
    from kdzoo.experiments import optimizer_and_schedule
    from kdzoo.recipes import RECIPES

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = networks()[name](data.input_shape)
    keras.config.set_dtype_policy("float32")
    kdzoo.accelerate(model)
    training = RECIPES["zoo_cifar10"].stage("separable_025, alone").training
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        optimizer_and_schedule.optimizer(training, data, epochs), loss, metrics=["accuracy"]
    )
    batches = data.train.batches(128, True, training.augmentation_for(data.name))
    times = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: times.append(-time.process_time()),
        on_epoch_end=lambda epoch, logs: times.append(times.pop() + time.process_time()),
    )
    history = model.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=[clock])
    images, labels = data.validation.arrays()
    return {
        "train_accuracy": history.history["accuracy"][-1],
        "validation_accuracy": evaluation.accuracy(model, images, labels),
        "processor_seconds_per_epoch": min(times),  # The first one compiles.
    }


def main(arguments=None):
    """Prints a line for each network, and writes all as JSON if asked to."""
    import kdzoo.data
    from kdzoo.evaluation.latency import machine_name

    parser = command_line.parser(__doc__, "one epoch of handwritten digits", epochs=6)
    parser.add_argument("names", nargs="*", help="networks; all by default")
    given = parser.parse_args(arguments)
    epochs = 1 if given.smoke else given.epochs
    results = {"epochs": epochs, "machine": machine_name(), "rows": []}
    if given.json and given.json.exists():
        before = json.loads(given.json.read_text())
        if (before["epochs"], before["machine"]) == (epochs, results["machine"]):
            results = before
    data = kdzoo.data.load("digits" if given.smoke else "cifar10")
    names, rows = given.names or list(networks()), results["rows"]
    rows += [size(name, data) for name in names if not any(row["network"] == name for row in rows)]
    command_line.write(given.json, results)
    print("Latencies are measured.", flush=True)
    for row in rows:
        if row["network"] not in names or "validation_accuracy" in row:
            continue
        row.update(train(row["network"], data, epochs))
        print(
            f"{row['network']}: validation {100 * row['validation_accuracy']:.1f} %, "
            f"{row['processor_seconds_per_epoch']:.0f} s of processor time an epoch, "
            f"{row['parameters']} parameters, {row['macs']} MACs, "
            f"{row['latency_ms']['int8']:.3f} ms in int8",
            flush=True,
        )
        command_line.write(given.json, results)
    return results


if __name__ == "__main__":
    main()
