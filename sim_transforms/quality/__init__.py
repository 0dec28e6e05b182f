"""How good an index and a model are: exact neighbours, recall with its interval, retrieval by class."""
