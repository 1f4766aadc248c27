"""Which layers make as many channels after pruning as before, whatever steps it took."""

import keras

from kdzoo.compression.filter_pruning.channel_groups import follow, groups_of
from kdzoo.compression.filter_pruning.coupling import Coupling
from kdzoo.compression.filter_pruning.report import BY_ITS_SCORES


def unpruned_layers(before: keras.Model, after: keras.Model) -> dict[str, str]:
    """Returns the layers that have all of their channels: path -> why.

    Args:
        before: The functional or sequential model that was pruned.
        after: What `prune_filters` or `schemes.filter_pruning` made of it.
    """
    coupling = follow(before)
    reasons: dict[str, str] = {}
    for group in groups_of(coupling):
        for path in group.layers:
            reasons[path] = reasons.get(path) or group.reason
    were, are = _channels(coupling), _channels(follow(after))
    left = {
        path: reason or BY_ITS_SCORES
        for path, reason in reasons.items()
        if were[path] == are.get(path)
    }
    return left | coupling.untouched


def _channels(coupling: Coupling) -> dict[str, int]:
    """Path of a layer -> how many channels it makes."""
    found: dict[str, int] = {}
    for group in groups_of(coupling):
        for path, filters in zip(group.layers, group.filters_each, strict=True):
            found[path] = found.get(path, 0) + group.size * filters
    return found
