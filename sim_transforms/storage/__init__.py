"""Files, checksums, object stores and the published versions in them."""
