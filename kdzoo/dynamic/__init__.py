"""One network, several costs: early exits, and who chooses between them at run time."""

from kdzoo.dynamic.exit_learner import ExitLearner
from kdzoo.dynamic.exits import add_exits, exit_macs, exit_model, exit_parts

__all__ = ["ExitLearner", "add_exits", "exit_macs", "exit_model", "exit_parts"]
