"""The modules whose classes Keras finds by their registered names when it loads a file."""

from kdzoo import compression, losses
from kdzoo.distillation import distiller
from kdzoo.dynamic import exit_learner, slimmable, width_learner
from kdzoo.graph import old_activations
from kdzoo.models import ensemble, specialist_ensemble

MODULES = (
    compression,
    distiller,
    ensemble,
    exit_learner,
    losses,
    old_activations,
    slimmable,
    specialist_ensemble,
    width_learner,
)
