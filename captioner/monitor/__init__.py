"""A page in the browser that follows a training run, from another process and without writing to the run folder."""
