"""Do the vectors of a class lie together when nobody says which classes there are?

Silhouette and k-means are scikit-learn's, on one thread, so that the same vectors give the same figures.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score, silhouette_score
from threadpoolctl import threadpool_limits

from sim_transforms.quality.exact import Floats

_RESTARTS = 3


def cluster_scores(vectors: Floats, labels: Sequence[str]) -> dict[str, float] | None:
    """Silhouette of the classes and NMI of k-means clusters with them.

    - `silhouette` (Rousseeuw 1987), from -1 to 1: by how much items are nearer to their own class than to the next.
    - `nmi`, from 0 to 1: normalised mutual information (arithmetic mean) of the classes with k-means clusters, as many
      as there are classes. It can only be compared for the same classes.

    Time and memory: the silhouette compares all pairs, in blocks; give a sample.

    Args:
        vectors: [n, d] float32, compared by Euclidean distance (for unit vectors that ranks as the cosine does).
        labels: n labels.

    Returns:
        Both, with `items` and `classes`; null for fewer than two classes, or as many as items.

    Raises:
        ValueError: numbers of vectors and labels differ.
    """
    if len(vectors) != len(labels):
        raise ValueError(f"found {len(vectors)} vectors and {len(labels)} labels; as many are expected")
    names, numbers = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    if not 2 <= len(names) < len(vectors):
        return None
    wide = np.asarray(vectors, np.float64)
    with threadpool_limits(1):
        found = KMeans(len(names), n_init=_RESTARTS, random_state=0).fit_predict(wide)
        silhouette = silhouette_score(wide, numbers)
    return {
        "silhouette": float(silhouette),
        "nmi": float(normalized_mutual_info_score(numbers, found)),
        "items": float(len(vectors)),
        "classes": float(len(names)),
    }
