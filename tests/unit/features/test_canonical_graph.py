"""Graphs that do the same have the same bytes, whatever the process has traced before, and go on doing it."""

from pathlib import Path

import pytest
import tensorflow as tf

from sim_transforms.features.canonical_graph import canonical_model


class _Scaled(tf.Module):
    """Two functions, one of which calls the other, and a table that is named as TensorFlow Transform names it."""

    def __init__(self, vocabulary: Path, factor: float = 3.0) -> None:
        super().__init__()
        asset = tf.saved_model.Asset(str(vocabulary))
        self._asset = asset
        lines = tf.lookup.TextFileIndex
        initializer = tf.lookup.TextFileInitializer(
            asset, tf.string, lines.WHOLE_LINE, tf.int64, lines.LINE_NUMBER, vocab_size=3
        )
        self.table = tf.lookup.StaticHashTable(initializer, -1)
        path = str(vocabulary).encode()
        self.table._shared_name = f"hash_table_tf.Tensor({path!r}, shape=(), dtype=string)_-2_-1"
        self.factor = tf.constant(factor)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def numbers(self, words: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.table.lookup(words), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def scaled(self, words: tf.Tensor) -> tf.Tensor:
        return self.factor * self.numbers(words)


def _canonical(folder: Path, words: str = "a\nb\nc\n", factor: float = 3.0) -> bytes:
    folder.mkdir()
    vocabulary = folder / "labels"
    vocabulary.write_text(words)
    module = _Scaled(vocabulary, factor)
    tf.saved_model.save(module, str(folder / "model"), signatures=module.scaled)
    path = folder / "model" / "saved_model.pb"
    made = canonical_model(path.read_bytes(), lambda name: (folder / "model" / "assets" / name).read_bytes())
    assert made != path.read_bytes()
    path.write_bytes(made)
    return made


def test_canonical_model_is_the_same_after_other_graphs_and_elsewhere(tmp_path: Path) -> None:
    first = _canonical(tmp_path / "first")
    for number in range(1200):
        tf.constant(number)
    tf.function(lambda x: x * 2)(tf.constant(1.0))
    again = _canonical(tmp_path / "again")
    assert first == again
    assert str(tmp_path).encode() not in first
    assert canonical_model(first, lambda name: b"a\nb\nc\n") == first


@pytest.mark.parametrize("other", [{"words": "a\nc\nb\n"}, {"factor": 4.0}])
def test_canonical_model_of_another_graph_or_vocabulary_differs(tmp_path: Path, other: dict[str, object]) -> None:
    assert _canonical(tmp_path / "one") != _canonical(tmp_path / "two", **other)  # type: ignore[arg-type]


def test_canonical_model_does_the_same(tmp_path: Path) -> None:
    _canonical(tmp_path / "one")
    _canonical(tmp_path / "two", words="c\nb\na\n")
    (tmp_path / "one" / "model" / "fingerprint.pb").unlink()
    one, two = (tf.saved_model.load(str(tmp_path / name / "model")) for name in ("one", "two"))
    words = tf.constant(["a", "c", "?"])
    assert one.signatures["serving_default"](words)["output_0"].numpy().tolist() == [0.0, 6.0, -3.0]
    assert two.signatures["serving_default"](words)["output_0"].numpy().tolist() == [6.0, 0.0, -3.0]
