"""Media: catalogs of references, and bytes -> arrays."""
