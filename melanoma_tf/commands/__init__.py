"""One module per command: a docstring, `define_flags`, `main`."""
