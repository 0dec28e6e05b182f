"""The file that a Flex Template's launcher starts; beside no other, since Python looks for modules where it lies."""

from pipelines.launch import console

console()
