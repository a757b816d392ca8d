"""`python -m implicit_flow` is `implicit-flow`."""

if __name__ == "__main__":
    from .cli import main

    main()
