"""From what people have to rows in a file: read, converted, compared, split and written, whole or not at all."""
