"""Terms that need no labels: losses on two augmented views of the same items."""
