"""One module a command: `command` is a function, or `app` a typer application with sub-commands."""
