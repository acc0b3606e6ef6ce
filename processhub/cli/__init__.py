"""The command line and its prompt, on the public API alone."""
