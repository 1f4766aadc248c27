"""Recipes: each reproduces a published result, or one of ours, from a frozen dataclass."""

from kdzoo.recipes import (
    digits,
    fashion_mnist,
    fitnet_mnist,
    hinton_mnist,
    hinton_mnist_temperatures,
    losses_compared,
)
from kdzoo.recipes.comparison import Comparison
from kdzoo.recipes.compression import Compression
from kdzoo.recipes.student import Student

RECIPES = {
    "digits": digits.RECIPE,
    "fashion_mnist": fashion_mnist.RECIPE,
    "hinton_mnist": hinton_mnist.RECIPE,
    "hinton_mnist_temperatures": hinton_mnist_temperatures.RECIPE,
    "fitnet_mnist": fitnet_mnist.RECIPE,
    "losses_compared": losses_compared.RECIPE,
}

__all__ = ["RECIPES", "Comparison", "Compression", "Student"]
