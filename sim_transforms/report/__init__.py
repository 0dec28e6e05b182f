"""Static pages from plain data."""
