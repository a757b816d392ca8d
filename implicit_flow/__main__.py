"""`python -m implicit_flow` is `implicit-flow`."""

from .cli import main


if __name__ == "__main__":
    main()
