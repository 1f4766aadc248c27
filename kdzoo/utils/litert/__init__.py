"""LiteRT files, which export writes and evaluation measures: how they are opened and tried."""
