"""Commands that are no Beam job: plain functions that the command line calls."""
