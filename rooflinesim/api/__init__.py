"""The questions as plain functions over frozen values: what the command line calls, and notebooks too."""
