"""Players of one task: trained by stable-baselines3, gated, recorded, and loaded without pickle."""
