"""Variables of every kind, the scopes that make and share them, and their initializers."""
