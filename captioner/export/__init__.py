"""Models in the file formats of other libraries: ONNX graphs, and tensors in safetensors files."""
