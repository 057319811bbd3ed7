"""Captions from checkpoints: restored models, ensembles, decoding methods and photographs."""
