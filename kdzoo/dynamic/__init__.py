"""One network, several costs: exits, widths, and who chooses between them at run time."""

from kdzoo.dynamic.budget_report import BudgetedPredictions, BudgetReport
from kdzoo.dynamic.budgeted_classifier import BudgetedClassifier
from kdzoo.dynamic.controller import Controller, battery_policy
from kdzoo.dynamic.exit_learner import ExitLearner
from kdzoo.dynamic.exits import add_exits, exit_macs, exit_model, exit_parts
from kdzoo.dynamic.slimmable import Slimmable, extract
from kdzoo.dynamic.width_learner import WidthLearner

__all__ = [
    "BudgetReport",
    "BudgetedClassifier",
    "BudgetedPredictions",
    "Controller",
    "ExitLearner",
    "Slimmable",
    "WidthLearner",
    "add_exits",
    "battery_policy",
    "exit_macs",
    "exit_model",
    "exit_parts",
    "extract",
]
