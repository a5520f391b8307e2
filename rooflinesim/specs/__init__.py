"""DESCRIBE: frozen nouns, with the unit of every quantity declared once."""
