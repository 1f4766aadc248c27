"""Measures what it costs to make a batch: gathering, augmentation and conversion to float.

Run: python benchmarks/augmentation_cost.py
"""

import statistics
import time

import numpy as np

from kdzoo.data import Augmentation, from_arrays
from kdzoo.data.batches import BatchMaker

BATCH_SIZE = 128
CASES = {
    "none": None,
    "shift 2": Augmentation(shift=2),
    "shift 2, flip": Augmentation(shift=2, flip=True),
    "shift 4, flip": Augmentation(shift=4, flip=True),
    "shift 4, flip, cutout 8": Augmentation(shift=4, flip=True, cutout=8),
}


def microseconds_per_image(shape, augmentation, repetitions=200):
    """Returns the median processor time of one image, in microseconds."""
    images = np.random.default_rng(0).integers(0, 256, (5000, *shape)).astype("uint8")
    split = from_arrays(images, np.arange(5000) % 10, validation=0).train
    maker = BatchMaker(split, BATCH_SIZE, True, augmentation, seed=0, drop_remainder=True)
    order = maker.order(0)
    times = []
    for repetition in range(repetitions):
        start = time.process_time()
        maker.batch(order, 0, repetition % maker.count)
        times.append(time.process_time() - start)
    return statistics.median(times) / BATCH_SIZE * 1e6


if __name__ == "__main__":
    print(f"Processor time of one image in batches of {BATCH_SIZE}, microseconds")
    for shape in ((28, 28, 1), (32, 32, 3)):
        for name, augmentation in CASES.items():
            cost = microseconds_per_image(shape, augmentation)
            print(f"{'x'.join(map(str, shape)):>8}  {name:<24} {cost:6.1f}")
