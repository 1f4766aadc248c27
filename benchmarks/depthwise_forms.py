"""Which form of a depthwise 3x3 convolution trains fastest on this machine: forward and backward.

    python benchmarks/depthwise_forms.py [--rounds 7] [--json PATH] [--smoke]

TensorFlow's own op, in float32, in bfloat16 and in bfloat16 as `kdzoo.accelerate` leaves it, and
nine shifted products summed up; op and products in float32 also compiled by XLA; on the layers of
`separable_025` for batches of 128 images of 32x32. The figure is the processor's time of a step
over all layers, the median of the rounds.
"""

import statistics
import time

import command_line

BATCH = 128


def own_op(x, kernel, strides):
    """TensorFlow's depthwise convolution."""
    import tensorflow as tf

    return tf.nn.depthwise_conv2d(x, kernel, (1, strides, strides, 1), "SAME")


def accelerated(x, kernel, strides):
    """TensorFlow's depthwise convolution, as `kdzoo.accelerate` computes it in bfloat16."""
    from kdzoo.graph.acceleration import depthwise_conv

    if strides == 1:
        return own_op(x, kernel, strides)
    return depthwise_conv(x, kernel, (strides, strides), "same")


def shifted_products(x, kernel, strides):
    """The sum of nine shifted images, each times the kernel's value for its shift."""
    import tensorflow as tf

    height, width = x.shape[1:3]
    before = 1 if strides == 1 else 0  # What "SAME" pads of images of an even side.
    x = tf.pad(x, ((0, 0), (before, 1), (before, 1), (0, 0)))
    return sum(
        x[:, row : row + height : strides, column : column + width : strides]
        * kernel[row, column, :, 0]
        for row in range(3)
        for column in range(3)
    )


FORMS = {
    "own op": (own_op, False, "float32"),
    "own op, XLA": (own_op, True, "float32"),
    "own op, bfloat16": (own_op, False, "bfloat16"),
    "accelerated, bfloat16": (accelerated, False, "bfloat16"),
    "shifted products": (shifted_products, False, "float32"),
    "shifted products, XLA": (shifted_products, True, "float32"),
}


def step(function, compiled, strides):
    """Returns a function: images, kernel, gradient of the output -> output and both gradients."""
    import tensorflow as tf

    @tf.function(jit_compile=compiled)
    def forward_and_backward(x, kernel, gradient):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = function(x, kernel, strides)
        return (y, *tape.gradient(y, [x, kernel], gradient))

    return forward_and_backward


def layers():
    """Returns (side, channels, strides) of each depthwise layer of `separable_025`."""
    import keras

    import kdzoo

    model = kdzoo.create("separable_025", 10, (32, 32, 3))
    return [
        (layer.input.shape[1], layer.input.shape[3], layer.strides[0])
        for layer in model.layers
        if isinstance(layer, keras.layers.DepthwiseConv2D)
    ]


def main(arguments=None):
    """Prints a line for each form, and writes all as JSON if asked to."""
    import tensorflow as tf

    from kdzoo.evaluation.latency import machine_name

    parser = command_line.parser(__doc__, "two images, one round", rounds=7)
    given = parser.parse_args(arguments)
    batch, rounds = (2, 1) if given.smoke else (BATCH, given.rounds)
    milliseconds, expected = dict.fromkeys(FORMS, 0.0), {}
    for place, (side, channels, strides) in enumerate(layers()):
        x = tf.random.normal((batch, side, side, channels))
        kernel = tf.random.normal((3, 3, channels, 1))
        gradient = tf.random.normal((batch, side // strides, side // strides, channels))
        for name, (function, compiled, dtype) in FORMS.items():
            run = step(function, compiled, strides)
            tensors = [tf.cast(tensor, dtype) for tensor in (x, kernel, gradient)]
            found = [tf.cast(tensor, "float32") for tensor in run(*tensors)]
            for ours, theirs in zip(found, expected.setdefault(place, found), strict=True):
                if dtype == "float32":
                    tf.debugging.assert_near(ours, theirs, rtol=1e-3, atol=1e-2)
                else:
                    largest = tf.reduce_max(tf.abs(theirs))
                    tf.debugging.assert_less(tf.reduce_max(tf.abs(ours - theirs)), 3e-2 * largest)
            times = []
            for _ in range(rounds):
                start = time.process_time()
                run(*tensors)
                times.append(1e3 * (time.process_time() - start))
            milliseconds[name] += statistics.median(times)
    for name, time_of_all in milliseconds.items():
        print(f"{name}: {time_of_all:.0f} ms")
    results = {"machine": machine_name(), "batch": batch, "milliseconds": milliseconds}
    command_line.write(given.json, results)
    return results


if __name__ == "__main__":
    main()
