"""From episodes to scores with intervals."""
