"""Models run for real: the only room in which torch is imported, and so it is imported only where it is used."""
