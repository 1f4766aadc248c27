"""TF-MOT's pruning, clustering and quantization for Keras 3 models."""
