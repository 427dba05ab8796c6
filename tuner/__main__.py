"""`python -m tuner` is `tuner`."""

from tuner.cli.app import main

main()
