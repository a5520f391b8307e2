"""ASK: one file per question; arrays in, arrays out."""
