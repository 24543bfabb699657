"""`python -m drkd`."""

from drkd.cli import main

if __name__ == "__main__":
    main()
