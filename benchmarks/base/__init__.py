"""What every other folder stands on: artifacts, checkpoints, errors, console, seeds, CSV rows."""
