"""Benchmarks of the engine beside other proxies: `make bench`, described in docs/benchmarks.md."""
