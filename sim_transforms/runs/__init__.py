"""Stages of a run: digests, skipping, folders that appear whole, the lock of a working directory."""
