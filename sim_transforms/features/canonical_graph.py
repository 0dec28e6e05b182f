"""A SavedModel whose bytes tell what it does, and not when, where and after what it was written.

TensorFlow numbers the functions of a graph by all that the process has traced before, TensorFlow Transform names a
table by the path of the temporary file that it was made from. Here the functions are numbered by their order, a table
is named by what it holds, and arguments without a name have one name.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2

_NUMBERED = re.compile(r"^(.*)_(\d+)$")
_TABLE = re.compile(rb"^hash_table_tf\.Tensor\(b'(.*)', shape=\(\), dtype=string\)(.*)$", re.DOTALL)

# Of an argument; one that nobody has named has the number of a tensor.
_GIVEN_NAME = "_user_specified_name"


def canonical_model(saved_model: bytes, asset: Callable[[str], bytes]) -> bytes:
    """Another `saved_model.pb` of the same graph.

    Args:
        saved_model: bytes of the file.
        asset: content of a file of the folder `assets`, by its name.
    """
    model = saved_model_pb2.SavedModel.FromString(saved_model)
    for graph in model.meta_graphs:
        functions = graph.graph_def.library.function
        _Names((function.signature.name for function in functions), asset).replace_in(graph)
        functions.sort(key=lambda function: function.signature.name)
    written: bytes = model.SerializeToString(deterministic=True)
    return written


class _Names:
    """New names of functions and tables.

    Args:
        functions: their names.
        asset: as of `canonical_model`.
    """

    def __init__(self, functions: Iterable[str], asset: Callable[[str], bytes]) -> None:
        numbered = [(int(match[2]), match[1], name) for name in functions if (match := _NUMBERED.match(name))]
        self._asset = asset
        self._functions: dict[str, str] = {
            name: f"{stem}_{place}" for place, (_, stem, name) in enumerate(sorted(numbered))
        }

    def replace_in(self, message: Any) -> None:
        """In all text and bytes of a message, and in the keys of its maps."""
        for field, value in message.ListFields():
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                self._replace_in_map(field, value)
            elif field.message_type is not None:
                for each in value if field.is_repeated else [value]:
                    self.replace_in(each)
            elif field.type in (field.TYPE_STRING, field.TYPE_BYTES):
                if field.is_repeated:
                    value[:] = [self._new(each) for each in value]
                else:
                    setattr(message, field.name, self._new(value))

    def _replace_in_map(self, field: Any, entries: Any) -> None:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        if value.message_type is not None:
            for name in list(entries):
                self.replace_in(entries[name])
                if name == _GIVEN_NAME and entries[name].s.isdigit():
                    entries[name].s = b"captured"
        for name in list(entries) if key.type == key.TYPE_STRING else ():
            renamed = self._new(name)
            if renamed == name:
                continue
            if value.message_type is not None:
                entries[renamed].CopyFrom(entries[name])
            else:
                entries[renamed] = entries[name]
            del entries[name]

    def _new(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._functions.get(value, value)
        if match := _TABLE.match(value):
            digest = hashlib.sha256(self._asset(Path(match[1].decode()).name)).hexdigest()
            return b"hash_table_" + digest[:32].encode() + match[2]
        text = value.decode("utf-8", "replace")
        return self._functions[text].encode() if text in self._functions else value
