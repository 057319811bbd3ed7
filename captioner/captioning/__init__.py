"""Captions from checkpoints: opened models, ensembles, decoding methods and photographs."""
