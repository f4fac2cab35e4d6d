"""Other programs' names for what kvarn has."""
