"""What goes wrong on purpose, many times over, and how captioner bears it: `make faults`."""
