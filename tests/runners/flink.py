"""A standalone Flink cluster: a JobManager, two TaskManagers, Beam's job server and a pool of Python workers."""

import json
import os
import shutil
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from tests.runners.install import FLINK
from tests.runners.processes import Service, free_ports, last_lines, listens

TASK_MANAGERS = 2
_READY_SECONDS = 120.0
_OPENS = [
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.lang.invoke", "java.net", "java.nio", "java.time", "java.util", "sun.net.util")
]
# They live for minutes: compiling their code well would take longer than it saves.
_SHORT_LIVED = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
# Compiled as it starts.
_JOB_SERVER = str(Path(__file__).with_name("JobServer.java"))
# Every size that a TaskManager asks for where no start script works it out.
_SIZES = {
    "taskmanager.cpu.cores": "1.0",
    "taskmanager.memory.task.heap.size": "512m",
    "taskmanager.memory.managed.size": "512m",
    "taskmanager.memory.task.off-heap.size": "0b",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.network.min": "384m",
    "taskmanager.memory.network.max": "384m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
}
_LOGGING = """rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss,SSS} %-5p %c{1} %m%n
"""


class FlinkCluster:
    """Started on entering, stopped on leaving, whatever happened between.

    Args:
        folder: of the configuration and the logs; files of the cluster too.

    Attributes:
        flags: of a Beam job that runs here.
    """

    def __init__(self, folder: Path) -> None:
        """Chooses ports that are free."""
        self._folder, self._stack = folder, ExitStack()
        self._rest, self._rpc, self._job, self._artifacts, self._expansion, self._pool = free_ports(6)
        self.task_managers: list[Service] = []
        self.flags = (
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{self._job}",
            # As in configs/kubernetes, where what the server calls it leads nowhere.
            f"--artifact_endpoint=localhost:{self._artifacts}",
            # Tells the command the stages.
            f"--flink_master=localhost:{self._rest}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{self._pool}",
            f"--parallelism={TASK_MANAGERS}",
            # Without it a worker ends with each stage, and the next one starts another, which imports all again.
            "--environment_cache_millis=600000",
        )

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._stack.callback(shutil.rmtree, self._folder / "tmp", ignore_errors=True)
        (self._folder / "conf").mkdir(exist_ok=True)
        (self._folder / "conf" / "config.yaml").write_text(self._configuration())
        (self._folder / "conf" / "log4j.properties").write_text(_LOGGING)
        manager = self._java("job-manager", _JOB_MANAGER, _cluster_jars(), ["-Xmx600m"], self._configured())
        manager.wait_for(lambda: self.overview() is not None, _READY_SECONDS)
        for number in range(TASK_MANAGERS):
            self.start_task_manager(number)
        self.wait_for_task_managers(TASK_MANAGERS)
        server = self._job_server()
        server.wait_for(lambda: listens(self._job), _READY_SECONDS)
        # The pool starts `python`, which must be this one: another leaves the job waiting for ever.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        pool = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={self._pool}"]
        self.pool = self._keep(Service("worker-pool", pool, self._folder, {**os.environ, "PATH": path}))
        self.pool.wait_for(lambda: listens(self._pool), _READY_SECONDS)

    def start_task_manager(self, number: int) -> Service:
        """One more, `task-manager-<number>`; what those that were killed have left is removed."""
        for before in self.task_managers:
            if before.process.poll() is not None:
                shutil.rmtree(self._folder / "tmp" / before.name, ignore_errors=True)
        sizes = [part for name, value in _SIZES.items() for part in ("-D", f"{name}={value}")]
        options = ["-Xmx1g", "-XX:MaxDirectMemorySize=1g"]
        place = ("-D", f"io.tmp.dirs={self._temporary(f'task-manager-{number}')}")
        arguments = [*self._configured(), *sizes, *place]
        service = self._java(f"task-manager-{number}", _TASK_MANAGER, _cluster_jars(), options, arguments)
        self.task_managers.append(service)
        return service

    def wait_for_task_managers(self, count: int) -> None:
        """Until so many have told the JobManager of themselves."""
        self.task_managers[-1].wait_for(lambda: (self.overview() or {}).get("taskmanagers") == count, _READY_SECONDS)

    def overview(self) -> dict[str, Any] | None:
        """What the JobManager says of the cluster."""
        found: dict[str, Any] = json.loads(self.get("/overview"))
        return found

    def get(self, path: str) -> bytes:
        """Of the JobManager's REST interface."""
        with urllib.request.urlopen(f"http://localhost:{self._rest}{path}", timeout=5.0) as answer:
            body: bytes = answer.read()
            return body

    def jobs(self) -> list[dict[str, Any]]:
        """Jobs of the cluster, running and ended: `jid`, `name`, `state`."""
        found: list[dict[str, Any]] = json.loads(self.get("/jobs/overview"))["jobs"]
        return found

    def cancel(self, job: str) -> None:
        """Asks the cluster to end a job."""
        request = urllib.request.Request(f"http://localhost:{self._rest}/jobs/{job}?mode=cancel", method="PATCH")
        with urllib.request.urlopen(request, timeout=5.0):
            pass

    def logs(self) -> str:
        """The ends of all logs, for a test that failed."""
        parts = [f"== {path.name}\n{last_lines(path)}" for path in sorted(self._folder.glob("*.log"))]
        return "\n".join(parts)

    def _configured(self) -> list[str]:
        return ["--configDir", str(self._folder / "conf")]

    def _configuration(self) -> str:
        lines = {
            "jobmanager.rpc.address": "localhost",
            "jobmanager.rpc.port": self._rpc,
            "jobmanager.bind-host": "localhost",
            "jobmanager.memory.process.size": "1600m",
            "taskmanager.bind-host": "localhost",
            "taskmanager.host": "localhost",
            "taskmanager.numberOfTaskSlots": 1,
            "parallelism.default": TASK_MANAGERS,
            "rest.address": "localhost",
            "rest.port": self._rest,
            "rest.bind-address": "localhost",
            "classloader.resolve-order": "parent-first",
            "io.tmp.dirs": self._temporary("job-manager"),
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 3,
            "restart-strategy.fixed-delay.delay": "1 s",
            "heartbeat.interval": 1000,
            "heartbeat.timeout": 10000,
        }
        return "".join(f"{name}: {value}\n" for name, value in lines.items())

    def _temporary(self, name: str) -> Path:
        """A folder of one process, which Flink makes only where the one above is there."""
        folder = self._folder / "tmp" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _job_server(self) -> Service:
        ports = {"job-port": self._job, "artifact-port": self._artifacts, "expansion-port": self._expansion}
        arguments = ["--job-host", "localhost", "--flink-master", f"localhost:{self._rest}"]
        arguments += [part for name, port in ports.items() for part in (f"--{name}", str(port))]
        arguments += ["--artifacts-dir", str(self._folder / "artifacts")]
        # On the cluster's own jars, as in configs/kubernetes.
        return self._java("job-server", _JOB_SERVER, _cluster_jars(), ["-Xmx800m"], arguments)

    def _java(self, name: str, main: str, jars: str, options: Sequence[str], arguments: Sequence[str]) -> Service:
        java = shutil.which("java")
        assert java is not None, "java is missing: make test-flink installs it"
        logging = f"-Dlog4j.configurationFile={self._folder / 'conf' / 'log4j.properties'}"
        command = [java, *_OPENS, *_SHORT_LIVED, logging, *options, "-cp", jars, main, *arguments]
        return self._keep(Service(name, command, self._folder))

    def _keep(self, service: Service) -> Service:
        self._stack.callback(service.stop)
        return service


def _cluster_jars() -> str:
    """Flink's jars, and Beam's beside them.

    As a user puts them into Flink's `lib`: of jars that come with each job, Beam does not keep workers from one stage
    to the next (`environment_cache_millis`), and their threads outlive the job's class loader.
    """
    return os.pathsep.join([f"{FLINK}/cluster/*", *(jar for jar in _beam_jars() if not _is_flinks(jar))])


def _beam_jars() -> list[str]:
    """In one order for all: the older job service holds some classes of the runner too, and stands behind it."""
    jars = sorted((FLINK / "job-server").glob("*.jar"), key=lambda jar: ("job-service" in jar.name, jar.name))
    return [str(jar) for jar in jars]


def _is_flinks(jar: str) -> bool:
    return Path(jar).name.startswith(("flink-", "slf4j-", "log4j-"))
