"""Train and resume: solver, run folder, validation, self-critical training."""
