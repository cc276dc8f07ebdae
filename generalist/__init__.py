"""The generalist: one transformer for all tasks, which learns from trajectories of any origin."""
