"""What Google's client raises -> errors that say what to do next."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from google.api_core import exceptions as refused
from google.auth import exceptions as unknown_user

from sim_transforms.errors import DamagedArtefact, RuijiError, StoreError


@contextmanager
def clear_errors(url: str, corrupt: type[Exception], action: str) -> Iterator[None]:
    """Turns what is raised within into our errors.

    Args:
        url: of the store.
        corrupt: what the client raises where a checksum differs; gcs.py alone knows the client.
        action: what is being done, such as `read LATEST`.

    Raises:
        StoreError: no bucket, no permission, no credentials, no answer.
        DamagedArtefact: a checksum differs on the way.
    """
    try:
        yield
    except RuijiError:
        raise
    except (unknown_user.GoogleAuthError, refused.Unauthorized) as error:
        if isinstance(error, unknown_user.TransportError):
            raise _silent(url, action, error) from error
        raise StoreError(
            f"{url}: cannot {action}: the Google credentials were refused ({error}); run `gcloud auth "
            "application-default login`, or give the service account another key"
        ) from error
    except refused.Forbidden as error:
        raise StoreError(
            f"{url}: cannot {action}: no permission ({error.message}); let the owner of the bucket grant the role "
            "Storage Object User (for searching alone: Storage Object Viewer)"
        ) from error
    except refused.NotFound as error:
        raise StoreError(
            f"{url}: cannot {action}: there is no such bucket; make it (`gcloud storage buckets create "
            f"gs://{url.removeprefix('gs://').partition('/')[0]}`), or mend its name"
        ) from error
    except refused.BadRequest as error:
        if "crc32c" in error.message.lower():
            raise DamagedArtefact(f"{url}: cannot {action}: the bytes that arrived differ from those sent") from error
        raise StoreError(f"{url}: cannot {action}: {error.message}") from error
    except (refused.RetryError, refused.ServerError, refused.TooManyRequests) as error:
        raise _silent(url, action, error) from error
    except refused.GoogleAPIError as error:
        raise StoreError(f"{url}: cannot {action}: {error}") from error
    except (requests.RequestException, ConnectionError) as error:
        raise _silent(url, action, error) from error
    except corrupt as error:
        raise DamagedArtefact(f"{url}: cannot {action}: its checksum differs after the way: {error}") from error


def _silent(url: str, action: str, error: Exception) -> StoreError:
    return StoreError(
        f"{url}: cannot {action}: the store does not answer ({type(error).__name__}: {error}); look at the network and "
        "run again: what was published before stays as it is"
    )
