"""The command line, ``netinverse invert | inspect | study | experiment``: one command a file, put together in ``app.py``."""

from netinverse.cli.app import main as main
