"""JAT's network: observation and action tokens alternate."""
