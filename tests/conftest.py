"""What holds for all tests."""

from tests.quick_beam import remember

remember()
