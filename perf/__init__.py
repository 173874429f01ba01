"""Throughput: the served pipeline against its own ceiling."""
