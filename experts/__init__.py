"""Experts of one task each: trained with stable-baselines3, gated, recorded, and loaded without pickle."""
