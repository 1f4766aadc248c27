"""The largest logits of a sample alone, and all logits put together again from them.

Of many classes a record may keep the largest logits and their classes. Each of the other classes is
given one logit, such that all of them have the probability that they had together.
"""

import numpy as np

from kdzoo.teacher_cache.teacher_predictor import LOGITS

LARGEST, PLACES, REST = OF_TOP_K = "largest_logits", "largest_classes", "rest"


def logits_of(records: np.ndarray, classes: int) -> np.ndarray:
    """Returns the logits of all classes, (samples, classes), from records of all or the largest.

    Args:
        records: Array of records, (samples,).
        classes: The number of classes.
    """
    if LOGITS in (records.dtype.names or ()):
        return records[LOGITS]
    logits = np.repeat(records[REST], classes, axis=-1)
    np.put_along_axis(logits, records[PLACES], records[LARGEST], axis=-1)
    return logits


def largest_logits(logits: np.ndarray, top_k: int) -> dict[str, np.ndarray]:
    """Returns the largest logits, their classes, and the logit that each of the others is given.

    Args:
        logits: Array (samples, classes).
        top_k: How many are kept of each sample, below the number of classes.
    """
    places = np.argpartition(-logits, top_k - 1, axis=-1)[:, :top_k]
    rest = np.array(logits, "float64")
    np.put_along_axis(rest, places, -np.inf, axis=-1)
    highest = rest.max(-1, keepdims=True)
    mean = np.exp(rest - highest).sum(-1, keepdims=True) / (logits.shape[-1] - top_k)
    return {
        LARGEST: np.take_along_axis(logits, places, axis=-1),
        PLACES: places,
        REST: highest + np.log(mean),
    }
