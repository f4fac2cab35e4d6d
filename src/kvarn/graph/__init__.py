"""Graphs, operations and the sessions that run them; what an op is, but no single op."""
