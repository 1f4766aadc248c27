"""Deep Compression: a dense network with few weights of few values, in a small file.

python examples/20_deep_compression.py            MNIST, minutes
python examples/20_deep_compression.py --smoke    scikit-learn's digits, half a minute
"""

import pathlib
import sys

import kdzoo
import keras

SMOKE = "--smoke" in sys.argv
ROUNDS, EPOCHS = (1, 1) if SMOKE else (3, 4)

data = kdzoo.data.load("digits" if SMOKE else "mnist")
runs = pathlib.Path(
    "runs/example-deep-compression-smoke" if SMOKE else "runs/example-deep-compression"
)
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
keras.utils.set_random_seed(0)


def batches(epoch):
    """Returns the training images in batches, shuffled, from this epoch on."""
    return data.train.batches(128, shuffle=True, initial_epoch=epoch)


dense = kdzoo.create("lenet_300_100", data.classes, data.input_shape)
dense.compile(keras.optimizers.Adam(1e-3), cross_entropy, metrics=["accuracy"])
kdzoo.schemes.train(dense, batches, 2 * EPOCHS, runs / "dense", verbose=2)
# Pruned in rounds, then with shared weights, taught by what it was; by the paper's tables.
preset = kdzoo.schemes.DEEP_COMPRESSION_PRESETS["lenet_300_100"]
small, history = kdzoo.schemes.deep_compression(
    dense,
    batches,
    runs / "small",
    sparsity=preset["sparsity"],
    bits=preset["bits"],
    rounds=ROUNDS,
    epochs=EPOCHS,
    loss=cross_entropy,
    teacher=dense,
    optimizer=keras.optimizers.Adam(1e-3),
    metrics=["accuracy"],
    verbose=2,
)

# The file has the zeros as gaps, the shared values as codebooks, and Huffman codes.
report = kdzoo.save_compressed(small, runs / "small.kdz")
print(report)
again = kdzoo.load_compressed(runs / "small.kdz")
test = data.test.arrays()
print(f"The dense network: {kdzoo.evaluation.accuracy(dense, *test):.1%}")
times = report.plain / report.bytes
print(f"Test accuracy: {kdzoo.evaluation.accuracy(again, *test):.1%}, {times:.0f} times smaller")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
