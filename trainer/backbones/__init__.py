"""What stands before the embedding head: small networks, and those of `keras.applications`."""
