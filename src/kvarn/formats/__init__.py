"""Bytes to arrays and back, one module for each format.  No graph, no engine."""
