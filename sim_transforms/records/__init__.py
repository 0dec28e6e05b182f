"""The nouns of Ruiji: frozen dataclasses and the one way they become JSON and come back."""
