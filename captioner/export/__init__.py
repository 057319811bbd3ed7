"""Trained models for others: model files, safetensors files and model cards."""
