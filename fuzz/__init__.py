"""Coverage-guided fuzzing of everything that parses files of strangers; see fuzz/README.md."""
