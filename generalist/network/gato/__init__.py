"""Gato's network: every value is a token."""
