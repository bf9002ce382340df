"""The `operis` command: an operator's client of the public API, which knows the hub by nothing else."""
