"""Folders of pictures by class that several tests read: shapes of a colour, with noise."""

import pathlib

import numpy as np
from PIL import Image

CLASSES = ("blue_rings", "green_stripes", "grey_noise", "red_discs", "yellow_checks")


def picture(label, size, rng):
    """A picture of a class, (size, size, 3) uint8, that no two calls make alike."""
    rows, columns = np.mgrid[:size, :size] / size
    centre, phase = 0.3 + 0.4 * rng.random(2), rng.random()
    far = np.hypot(rows - centre[0], columns - centre[1])
    pattern, colour = (
        (np.abs(far - 0.25) < 0.1, (40, 80, 220)),
        (np.sin(20 * (rows + columns * phase)) > 0, (40, 190, 60)),
        (rng.random((size, size)) > 0.5, (128, 128, 128)),
        (far < 0.25, (210, 40, 40)),
        ((np.floor(6 * rows + phase) + np.floor(6 * columns)) % 2 > 0, (220, 210, 40)),
    )[label]
    light = 40 * rng.random() + np.where(pattern, 1.0, 0.3)[..., None] * np.array(colour)
    return np.clip(light + rng.normal(0, 20, (size, size, 3)), 0, 255).astype("uint8")


def write_pictures(folder, each, size, classes=CLASSES, seed=0):
    """Writes a folder of PNG files, so many of each class; returns it."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        pathlib.Path(folder, name).mkdir(parents=True)
        for number in range(each):
            image = Image.fromarray(picture(label, size, rng))
            image.save(pathlib.Path(folder, name, f"{number:04}.png"))
    return pathlib.Path(folder)
