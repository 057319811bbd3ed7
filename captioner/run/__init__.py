"""The use cases: the only place where the config meets objects."""
