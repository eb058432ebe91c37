"""Providers: each emits whole dynamic configurations under its name."""
