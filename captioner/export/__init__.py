"""Trained models for others: ONNX graphs, safetensors files, model cards, and packages that can be installed."""
