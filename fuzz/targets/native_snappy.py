"""Snappy streams, as native/fuzz/fuzz_snappy.cc has them: the whole input is one."""

from fuzz.targets.snappy import LONGEST, WORDS, check, seeds

__all__ = ["LONGEST", "WORDS", "check", "seeds"]
