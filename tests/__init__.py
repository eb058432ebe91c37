"""Tests of traefikee."""
