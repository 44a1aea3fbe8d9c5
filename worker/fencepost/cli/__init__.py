"""The ``fencepost`` command. Tables go to standard output, logs to standard error; docs/cli.md has the JSON.

Nothing here is imported before it is needed: the commands are named in tables (main.py) and drivers, engine and client
are imported inside the functions that use them, so that ``--help`` answers at once.
"""
