"""Controls: baselines that learn from the same recordings as the generalist."""
