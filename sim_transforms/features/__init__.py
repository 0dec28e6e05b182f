"""The example format, and the TensorFlow Transform graph that training, embedding and queries share."""
