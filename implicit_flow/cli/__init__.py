"""The command line, `implicit-flow`. Each command is imported when it is called."""

from ._main import app as app, main as main
