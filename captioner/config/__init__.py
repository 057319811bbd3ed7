"""The options of a run: dataclasses, constraints between them, and reading and writing YAML."""
