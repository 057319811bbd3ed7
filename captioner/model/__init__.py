"""The captioning model: parameters, image inputs, inference step and ensembles."""
