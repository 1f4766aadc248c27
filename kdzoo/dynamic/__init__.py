"""One network, several costs: early exits, and who chooses between them at run time."""

from kdzoo.dynamic.budgeted_classifier import (
    BudgetedClassifier,
    BudgetedPredictions,
    BudgetReport,
)
from kdzoo.dynamic.controller import Controller, battery_policy
from kdzoo.dynamic.exit_learner import ExitLearner
from kdzoo.dynamic.exits import add_exits, exit_macs, exit_model, exit_parts

__all__ = [
    "BudgetReport",
    "BudgetedClassifier",
    "BudgetedPredictions",
    "Controller",
    "ExitLearner",
    "add_exits",
    "battery_policy",
    "exit_macs",
    "exit_model",
    "exit_parts",
]
