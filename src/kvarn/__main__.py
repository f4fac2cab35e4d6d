"""``python -m kvarn``: the command line."""

from kvarn.cli import main

if __name__ == "__main__":
    main()
