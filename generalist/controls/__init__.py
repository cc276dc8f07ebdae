"""Agents that learn from the same recordings, to compare the generalist with."""
