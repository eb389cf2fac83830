"""Benchmarks that print and keep their figures: `make bench`. See docs/performance.md for what they say."""
