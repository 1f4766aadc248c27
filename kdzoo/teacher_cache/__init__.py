"""A teacher's outputs kept on disk: predicted once, recorded, read with the training data."""
