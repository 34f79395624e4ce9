"""Measurements: what a run costs, and how fast the kernel, the store and a cold start are. Never part of the tests."""
