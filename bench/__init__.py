"""Benchmarks that print and store their figures: `make bench`. docs/performance.md explains them."""
