"""The losses once more, as loops over single pairs in double precision."""

import math
from collections.abc import Callable, Sequence

import numpy as np

Vectors = np.ndarray
Oracle = Callable[[Sequence[int], Vectors, Vectors | None], float]


def cosine(a: Vectors, b: Vectors) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def euclidean(a: Vectors, b: Vectors) -> float:
    return float(np.linalg.norm(a - b))


def _others(labels: Sequence[int], anchor: int) -> tuple[list[int], list[int]]:
    if labels[anchor] < 0:
        return [], []
    positives = [j for j, label in enumerate(labels) if j != anchor and label == labels[anchor]]
    return positives, [j for j, label in enumerate(labels) if label >= 0 and label != labels[anchor]]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def multi_similarity(labels: Sequence[int], x: Vectors, proxies: Vectors | None = None) -> float:
    values = []
    for i in range(len(labels)):
        positives, negatives = ([cosine(x[i], x[j]) for j in part] for part in _others(labels, i))
        hard = [s for s in negatives if positives and s + 0.1 > min(positives)]
        weak = [s for s in positives if negatives and s - 0.1 < max(negatives)]
        value = math.log(1 + sum(math.exp(-2 * (s - 0.5)) for s in weak)) / 2
        value += math.log(1 + sum(math.exp(40 * (s - 0.5)) for s in hard)) / 40
        values += [value] if labels[i] >= 0 else []
    return _mean(values)


def triplet(labels: Sequence[int], x: Vectors, proxies: Vectors | None = None) -> float:
    values = []
    for i in range(len(labels)):
        positives, negatives = ([1 - cosine(x[i], x[j]) for j in part] for part in _others(labels, i))
        terms = []
        for near in positives:
            beyond = [d for d in negatives if d > near]
            if negatives:
                terms.append(max(0.0, near - (min(beyond) if beyond else max(negatives)) + 0.2))
        values += [_mean(terms)] if terms else []
    return _mean(values)


def triplet_soft_and_hard(labels: Sequence[int], x: Vectors, proxies: Vectors | None = None) -> float:
    values = []
    for i in range(len(labels)):
        positives, negatives = ([1 - cosine(x[i], x[j]) for j in part] for part in _others(labels, i))
        if positives and negatives:
            values.append(math.log(1 + math.exp(max(positives) - min(negatives))))
    return _mean(values)


def contrastive(labels: Sequence[int], x: Vectors, proxies: Vectors | None = None) -> float:
    values = []
    for i in range(len(labels)):
        positives, negatives = ([euclidean(x[i], x[j]) for j in part] for part in _others(labels, i))
        push = [(1 - d) ** 2 for d in negatives if d < 1]
        values += [(_mean([d**2 for d in positives]) + _mean(push)) / 2] if positives or negatives else []
    return _mean(values)


def pn(labels: Sequence[int], x: Vectors, proxies: Vectors | None = None) -> float:
    values = []
    for i in range(len(labels)):
        positives, negatives = _others(labels, i)
        if positives and negatives:
            far = max(positives, key=lambda j: 1 - cosine(x[i], x[j]))
            foe = min(negatives, key=lambda j: 1 - cosine(x[i], x[j]))
            nearer = min(1 - cosine(x[i], x[foe]), 1 - cosine(x[far], x[foe]))
            values.append(math.log(1 + math.exp(1 - cosine(x[i], x[far]) - nearer)))
    return _mean(values)


def circle(labels: Sequence[int], x: Vectors, proxies: Vectors | None = None) -> float:
    values = []
    for i in range(len(labels)):
        positives, negatives = ([cosine(x[i], x[j]) for j in part] for part in _others(labels, i))
        near = sum(math.exp(-80 * max(0.0, 1.25 - s) * (s - 0.75)) for s in positives)
        far = sum(math.exp(80 * max(0.0, s + 0.25) * (s - 0.25)) for s in negatives)
        values += [math.log(1 + near * far)] if positives and negatives else []
    return _mean(values)


def lifted_structure(labels: Sequence[int], x: Vectors, proxies: Vectors | None = None) -> float:
    values = []
    for i in range(len(labels)):
        positives, _ = _others(labels, i)
        terms = []
        for j in positives:
            both = [(end, foe) for end in (i, j) for foe in _others(labels, end)[1]]
            push = sum(math.exp(1 - euclidean(x[end], x[foe])) for end, foe in both)
            terms.append(max(0.0, math.log(push) + euclidean(x[i], x[j])) ** 2 if both else 0.0)
        values += [_mean(terms) / 2] if positives else []
    return _mean(values)


def soft_nearest_neighbor(labels: Sequence[int], x: Vectors, proxies: Vectors | None = None) -> float:
    values = []
    for i in range(len(labels)):
        near, far = (sum(math.exp(-(euclidean(x[i], x[j]) ** 2) / 0.2) for j in part) for part in _others(labels, i))
        values += [-math.log(near / (near + far))] if near else []
    return _mean(values)


def multiple_negatives(labels: Sequence[int], x: Vectors, proxies: Vectors | None = None) -> float:
    values = []
    for i in range(len(labels)):
        positives, negatives = ([math.exp(cosine(x[i], x[j]) / 0.1) for j in part] for part in _others(labels, i))
        terms = [-math.log(s / (s + sum(negatives))) for s in positives]
        values += [_mean(terms)] if terms else []
    return _mean(values)


def supervised_contrastive(labels: Sequence[int], x: Vectors, proxies: Vectors | None = None) -> float:
    values = []
    for i in range(len(labels)):
        positives, negatives = ([math.exp(cosine(x[i], x[j]) / 0.1) for j in part] for part in _others(labels, i))
        terms = [-math.log(s / (sum(positives) + sum(negatives))) for s in positives]
        values += [_mean(terms)] if terms else []
    return _mean(values)


def proxy_anchor(labels: Sequence[int], x: Vectors, proxies: Vectors | None = None) -> float:
    assert proxies is not None
    pull, push = [], []
    for c, proxy in enumerate(proxies):
        own = [cosine(proxy, x[i]) for i, label in enumerate(labels) if label == c]
        other = [cosine(proxy, x[i]) for i, label in enumerate(labels) if label not in (c, -1)]
        pull += [math.log(1 + sum(math.exp(-32 * (s - 0.1)) for s in own))] if own else []
        push.append(math.log(1 + sum(math.exp(32 * (s + 0.1)) for s in other)))
    return _mean(pull) + _mean(push)


def arcface(labels: Sequence[int], x: Vectors, proxies: Vectors | None = None) -> float:
    assert proxies is not None
    values = []
    for i, label in enumerate(labels):
        cosines = [cosine(x[i], proxy) for proxy in proxies]
        if label >= 0:
            angle = math.acos(cosines[label])
            beyond = cosines[label] - 0.5 * math.sin(math.pi - 0.5)
            own = math.cos(angle + 0.5) if angle + 0.5 < math.pi else beyond
            logits = [30 * (own if c == label else s) for c, s in enumerate(cosines)]
            values.append(math.log(sum(map(math.exp, logits))) - logits[label])
    return _mean(values)


def soft_triple(labels: Sequence[int], x: Vectors, proxies: Vectors | None = None) -> float:
    assert proxies is not None
    centres = proxies.reshape(-1, 5, proxies.shape[1])
    values = []
    for i, label in enumerate(labels):
        logits = []
        for c, of_class in enumerate(centres):
            cosines = [cosine(x[i], centre) for centre in of_class]
            weights = [math.exp(s / 0.1) for s in cosines]
            soft = sum(w * s for w, s in zip(weights, cosines, strict=True)) / sum(weights)
            logits.append(20 * (soft - 0.01 * (c == label)))
        values += [math.log(sum(map(math.exp, logits))) - logits[label]] if label >= 0 else []
    spread = [
        math.sqrt(max(0.0, 2 - 2 * cosine(a, b)))
        for group in centres
        for n, a in enumerate(group)
        for b in group[n + 1 :]
    ]
    # Divided by k (k - 1), while each pair is counted once.
    return _mean(values) + 0.2 * _mean(spread) / 2


ORACLES: dict[str, Oracle] = {
    name: globals()[name]
    for name in (
        "multi_similarity",
        "triplet",
        "contrastive",
        "pn",
        "circle",
        "lifted_structure",
        "soft_nearest_neighbor",
        "multiple_negatives",
        "supervised_contrastive",
        "proxy_anchor",
        "arcface",
        "soft_triple",
    )
}
