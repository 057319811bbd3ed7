"""Train and resume: solver, run folder, validation and self-critical training."""
