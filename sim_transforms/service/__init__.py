"""HTTP: searches of a store's latest version, and the page that asks for them."""
