"""Beam mains and the command line of Ruiji: wiring only."""
