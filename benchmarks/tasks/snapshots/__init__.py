"""Save an environment's state in the middle of an episode and restore it."""
