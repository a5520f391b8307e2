"""Results -> tables, frames and files; every text about a result is made here, no number is."""
