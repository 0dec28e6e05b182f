"""The error tree of Ruiji.

RuijiError                     exit 1, shown without a stack trace
|- UsageError                  exit 2: the command line or a file it names is wrong
|  |- ConfigError              a configuration key: file, key, what was found, what is allowed
|  `- CatalogError             the catalog: missing columns, duplicate item ids, unreadable file
|- MediaError                  one item cannot be decoded: becomes a FailedItem, never fails the job
|- TooManyRejects              the share of rejects is above the limit
|- Drifted                     the catalog is further from what the model in use was trained on than is allowed
|- LedgerError                 a stage lost or invented items
|- RecallError                 an index misses the recall it was configured for
|- DamagedArtefact             an artefact is missing, half-written or its checksums differ
|- ModelMismatch               vectors of another model
|- NotFound                    an item, version or object that does not exist
|- Collapsed                   training lost the embedding space
|- NotReady                    a runner that a job would fail on
|- NotAccepted                 a new model is worse than the one in use, which stays
|- StoreError                  an object store cannot be reached or used: bucket, permission, credentials, network
|- PublishConflict             another publisher moved LATEST first
|- LeaseHeld                   another run holds the lease that this one needs
|- JobFailed                    a job that ran elsewhere has failed there
|- Detached                     the command left a remote job to itself (exit 130)
`- NotForgotten                an item still stands somewhere after `ruiji forget`
"""


def one_line(error: BaseException, most: int = 200) -> str:
    """What an error says, on one line and cut; its type where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


class RuijiError(Exception):
    """Base of every error a user can cause or meet; `exit_code` is what the command ends with."""

    exit_code = 1


class UsageError(RuijiError):
    """Wrong usage or configuration."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration value that cannot be used.

    Args:
        source: file (or flag) the value came from.
        key: dotted key, such as `index.m`.
        found: what stood there, as the user would recognise it.
        allowed: what may stand there, or what to do.
    """

    def __init__(self, source: str, key: str, found: str, allowed: str) -> None:
        super().__init__(f"{source}: {key}: found {found}; {allowed}")
        self.source, self.key, self.found, self.allowed = source, key, found, allowed


class CatalogError(UsageError):
    """The catalog as a whole cannot be used."""


class MediaError(RuijiError):
    """One item's media cannot be used.

    Args:
        reason: stable code in snake_case, such as `truncated` (the column `reason` of rejects.parquet).
        message: one sentence for a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class TooManyRejects(RuijiError):
    """More items were rejected than the configuration allows."""


class Drifted(RuijiError):
    """The examples are further from those of the model in use than `preprocess.max_drift`."""


class LedgerError(RuijiError):
    """in = out + rejected + skipped does not hold for a stage."""


class RecallError(RuijiError):
    """The index misses `recall_target`; it is not published."""


class DamagedArtefact(RuijiError):
    """A file is missing, truncated or differs from its checksum; the message says which and where."""


class ModelMismatch(RuijiError):
    """Vectors of one model would meet an index of another."""


class NotFound(RuijiError):
    """An item, version, artefact or object that does not exist."""


class Collapsed(RuijiError):
    """Training ended in an embedding space that tells nothing apart."""


class NotAccepted(RuijiError):
    """A newly trained model is worse than the one in use; the one in use stays."""


class StoreError(RuijiError):
    """A remote store refuses or does not answer; the message says what to do."""


class PublishConflict(RuijiError):
    """LATEST was moved by another publisher; nothing was published."""


class LeaseHeld(RuijiError):
    """Another run holds the lease, or has taken over the one that was ours."""


class NotForgotten(RuijiError):
    """Something that holds a forgotten item could not be removed; the receipt says what, why, and when to try again."""


class JobFailed(RuijiError):
    """A job that ran on a remote runner has failed; the message says which, and what the runner said."""


class Detached(RuijiError):
    """The user has left a remote job to itself: what it writes stays until the next run."""

    exit_code = 130


class NotReady(RuijiError):
    """A runner, or what a job needs beside it, is not as it must be; the checks say what."""
