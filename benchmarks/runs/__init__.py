"""How a run works: stages, failures, parallel jobs, tracking."""
