"""The same network again: under names that do not depend on the process, or in full precision."""

import re
from typing import Any

import keras

from trainer.backbones.layer_scale import LayerScale


def with_stable_names(model: keras.Model) -> keras.Model:
    """The model made anew, its layers numbered from its own input on where Keras gave them numbers of the process.

    Keras counts layers and weights without a name over all models of a process, and the paths of weights, of which
    fingerprints are made, hold those numbers. The weights are drawn anew.
    """
    config = model.get_config()
    counts: dict[str, int] = {}
    names: dict[str, str] = {}
    for layer in config["layers"]:
        kind = _snake(layer["class_name"].rpartition(">")[2])
        if re.fullmatch(rf"{kind}(_\d+)?", layer["name"]):
            names[layer["name"]] = f"{kind}_{counts.setdefault(kind, 0)}"
            counts[kind] += 1
    for layer in config["layers"]:
        layer["name"] = layer["config"]["name"] = names.get(layer["name"], layer["name"])
        layer["inbound_nodes"] = _renamed(layer["inbound_nodes"], names)
        if layer["class_name"].rpartition(">")[2] == LayerScale.__name__:  # whose weight has no name
            layer["module"], layer["class_name"] = LayerScale.__module__, LayerScale.__name__
            layer["registered_name"] = keras.saving.get_registered_name(LayerScale)
    return type(model).from_config(config)


def in_float32(model: keras.Model) -> keras.Model:
    """The same model with the same weights, which computes in float32 where the given one mixes precisions.

    Weights are float32 under a mixed policy too, so that nothing is rounded. What is trainable stays so.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # of the inputs and of the model itself, whose configurations tell none
    try:
        again = type(model).from_config(_in_float32(model.get_config()))
    finally:
        keras.config.set_dtype_policy(before)
    again.set_weights(model.get_weights())
    return again


def _renamed(node: Any, names: dict[str, str]) -> Any:
    """Configurations of calls, which name layers in `keras_history`: [name, call, output]."""
    if isinstance(node, dict):
        changed = {key: _renamed(value, names) for key, value in node.items()}
        if "keras_history" in changed:
            layer, *place = changed["keras_history"]
            changed["keras_history"] = [names.get(layer, layer), *place]
        return changed
    return [_renamed(part, names) for part in node] if isinstance(node, (list, tuple)) else node


def _in_float32(node: Any) -> Any:
    if isinstance(node, dict):
        if node.get("class_name") == "DTypePolicy" and node["config"]["name"].startswith("mixed_"):
            return {**node, "config": {**node["config"], "name": "float32"}}
        return {key: _in_float32(value) for key, value in node.items()}
    return [_in_float32(part) for part in node] if isinstance(node, (list, tuple)) else node


def _snake(name: str) -> str:
    """As Keras makes names of layers from those of classes."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
