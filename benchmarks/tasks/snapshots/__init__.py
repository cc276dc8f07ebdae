"""Saving an environment's state in the middle of an episode and restoring it."""
