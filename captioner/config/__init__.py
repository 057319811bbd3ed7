"""Options of a run: dataclasses, constraints, schema, values and YAML."""
