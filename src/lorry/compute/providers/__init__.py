"""Who rents machines, one file each; `_base` says what lorry asks of them and what it is promised."""
