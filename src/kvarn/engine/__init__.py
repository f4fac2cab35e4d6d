"""The embedding engine: tables from keys to rows, native and, as their specification, in plain NumPy."""
