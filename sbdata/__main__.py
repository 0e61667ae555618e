"""``python -m sbdata``: the command line."""

from sbdata.cli import main

if __name__ == "__main__":
    main()
