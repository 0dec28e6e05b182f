"""Open a published version and query it; imports neither Beam nor TensorFlow."""
