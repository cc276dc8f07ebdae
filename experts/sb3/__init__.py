"""Experts trained by stable-baselines3."""
