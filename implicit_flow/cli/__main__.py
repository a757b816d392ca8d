"""`python -m implicit_flow.cli` is `implicit-flow`."""

from ._main import main


if __name__ == "__main__":
    main()
