"""HNSW graphs without Beam: partition, build, link, merge, and the native NMSLIB file."""
