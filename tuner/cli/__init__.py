"""The command line: a thin door over `api`."""
