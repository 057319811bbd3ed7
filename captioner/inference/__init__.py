"""Captions from checkpoints: restored models, decoders, photographs and ensembles."""
