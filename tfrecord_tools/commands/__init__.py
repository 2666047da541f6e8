"""One module a command: docstring, `define_flags(flag_values)`, `main(flag_values) -> int | None`."""
