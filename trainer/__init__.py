"""The trainer: fits an embedding model to examples by metric learning (Keras 3) and exports it."""
