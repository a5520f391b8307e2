"""SHOW: one file and one `draw_...` function per figure, from results; no number is made here."""
