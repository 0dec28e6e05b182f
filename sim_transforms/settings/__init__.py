"""Settings: one frozen keyword-only dataclass a stage, and the strict YAML loader."""
