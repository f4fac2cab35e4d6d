"""For tests of kvarn and of programs on it: file systems that fail, strategies, golden cases."""
