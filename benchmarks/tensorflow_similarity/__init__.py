"""The training of TensorFlow Similarity, in an environment of its own (`make similarity-deps`): it needs Keras 2."""
