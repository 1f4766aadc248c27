"""Recipes: each reproduces a published result, or one of ours, from a frozen dataclass."""

from kdzoo.recipes.comparison import RECIPES, Comparison

__all__ = ["RECIPES", "Comparison"]
