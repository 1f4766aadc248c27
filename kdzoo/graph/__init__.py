"""Keras graphs: taps, rebuilding, and the only place that touches Keras's private parts."""
