"""Exported models: media bytes -> vectors."""
