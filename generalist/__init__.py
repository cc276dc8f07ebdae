"""The player of all tasks: one transformer that learns from trajectories, whoever made them."""
