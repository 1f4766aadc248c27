"""Callbacks, checkpoints, and the runner of resumable stages."""
