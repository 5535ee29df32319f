"""``python -m ndpsim``."""

from ndpsim.cli import main

if __name__ == "__main__":
    main()
