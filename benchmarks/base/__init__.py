"""Common foundations: artifacts, checkpoints, errors, console, seeds, CSV rows."""
