"""`python -m lorry` is `lorry`."""

from lorry.cli.main import main

main()
