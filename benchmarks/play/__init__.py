"""Playing episodes and keeping them: policies, the environment loop, recordings."""
