"""A real Galera cluster of MariaDB on loopback: nodes are processes of Debian's packages in folders of their own.

python -m tests.cluster.galera [NODES]      starts one, prints how to reach it, and ends it on Enter
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pymysql

from tests.servers import free_port

PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
PATH = os.environ["PATH"] + ":/usr/sbin"


def missing() -> str:
    """Return what is not installed, "" when everything is there."""
    if not PROVIDER.exists():
        return f"{PROVIDER} is missing (Debian: apt-get install galera-4)"
    if not shutil.which("mariadbd", path=PATH) or not shutil.which("mariadb-install-db", path=PATH):
        return "mariadbd is missing (Debian: apt-get install mariadb-server)"
    return ""


# Galera sets the priority of a thread to what it has; there are sandboxes whose kernel knows no thread by that call.
_SHIM = """
#include <pthread.h>
int pthread_setschedparam(pthread_t thread, int policy, const struct sched_param *param) { return 0; }
"""


def _kernel_sets_priorities() -> bool:
    refused: list[bool] = []

    def ask() -> None:
        try:
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_OTHER, os.sched_param(0))
        except OSError:
            refused.append(True)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return not refused


class Node:
    """One server of the cluster."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster, self.number = cluster, number
        self.folder = cluster.folder / f"n{number}"
        self.folder.mkdir()
        self.port, self.group, self.state, self.transfer = (free_port() for _ in range(4))
        self.process: subprocess.Popen[bytes] | None = None

    def initialise(self) -> None:
        """Make an empty data folder."""
        subprocess.run([shutil.which("mariadb-install-db", path=PATH) or "", "--no-defaults", *_as_mysql(),
                        f"--datadir={self.folder}/data", "--auth-root-authentication-method=normal", "--skip-test-db"],
                       check=True, capture_output=True)

    def start(self, *, first: bool = False) -> None:
        """Start the node, as the first one of a new cluster or to join the others."""
        others = ",".join(f"127.0.0.1:{node.group}" for node in self.cluster.nodes if node is not self)
        command = [shutil.which("mariadbd", path=PATH) or "", "--no-defaults", *_as_mysql(),
                   f"--datadir={self.folder}/data", f"--socket={self.folder}/s", f"--pid-file={self.folder}/pid",
                   f"--port={self.port}", "--bind-address=127.0.0.1", "--binlog-format=ROW",
                   "--default-storage-engine=InnoDB", "--innodb-autoinc-lock-mode=2",
                   "--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=64M", "--wsrep-on=ON",
                   f"--wsrep-provider={PROVIDER}", "--wsrep-cluster-name=engram",
                   f"--wsrep-cluster-address=gcomm://{'' if first else others}",
                   f"--wsrep-node-name=n{self.number}", "--wsrep-node-address=127.0.0.1",
                   f"--wsrep-node-incoming-address=127.0.0.1:{self.port}", "--wsrep-sst-method=rsync",
                   f"--wsrep-sst-receive-address=127.0.0.1:{self.state}",
                   f"--wsrep-provider-options=base_host=127.0.0.1;base_port={self.group};"
                   f"gmcast.listen_addr=tcp://127.0.0.1:{self.group};ist.recv_addr=127.0.0.1:{self.transfer};"
                   "gcache.size=32M;pc.recovery=true;evs.keepalive_period=PT0.5S;"
                   "evs.suspect_timeout=PT2S;evs.inactive_timeout=PT5S"]
        position = "" if first else self._recovered(command)
        if position:  # so that only what it missed is sent to it, and no donor has to stand still
            command.append(f"--wsrep-start-position={position}")
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder,
                                            env={**os.environ, "PATH": PATH, **self.cluster.environment})

    def _recovered(self, command: list[str]) -> str:
        """Return up to where a node has everything, after a kill too: what Debian's galera_recovery asks."""
        found = subprocess.run([*command, "--wsrep-recover"], check=False, capture_output=True, text=True,
                               errors="replace", cwd=self.folder,
                               env={**os.environ, "PATH": PATH, **self.cluster.environment})
        position = re.findall(r"Recovered position: *([0-9a-f-]{36}:-?[0-9]+)", found.stdout + found.stderr)
        return position[-1] if found.returncode == 0 and position and not position[-1].startswith("0000") else ""

    def status(self, name: str) -> str:
        """Return one of the node's wsrep facts, "" while it does not answer."""
        try:
            with pymysql.connect(host="127.0.0.1", port=self.port, user="root", connect_timeout=2,
                                 read_timeout=5) as raw, raw.cursor() as cursor:
                cursor.execute("SHOW STATUS LIKE %s", (f"wsrep_{name}",))
                row: Any = cursor.fetchone()
                return str(row[1]) if row else ""
        except (pymysql.Error, OSError):
            return ""

    def await_synced(self, size: int, seconds: float = 90.0) -> None:
        """Wait until the node serves, in a cluster of a size."""
        until = time.monotonic() + seconds
        while (self.status("local_state_comment"), self.status("cluster_size")) != ("Synced", str(size)):
            assert self.process is not None and self.process.poll() is None, self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.2)

    def log(self) -> str:
        """Return the end of the node's log."""
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the node by a signal and wait for its end."""
        if self.process is not None:
            self.process.send_signal(number)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


class Cluster:
    """Some nodes, started one after the other."""

    def __init__(self, size: int = 3) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="egc", dir="/tmp"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "mysql")
        self.environment: dict[str, str] = {}
        if not _kernel_sets_priorities():
            (self.folder / "shim.c").write_text(_SHIM)
            subprocess.run(["cc", "-shared", "-fPIC", "-o", str(self.folder / "shim.so"), str(self.folder / "shim.c")],
                           check=True)
            self.environment = {"LD_PRELOAD": str(self.folder / "shim.so")}
        self.nodes: list[Node] = []
        for number in range(size):
            self.nodes.append(Node(self, number))
            if os.geteuid() == 0:
                shutil.chown(self.nodes[-1].folder, "mysql")
        try:
            self.nodes[0].initialise()
            for node in self.nodes[1:]:  # the same empty server: nothing has to be sent to a node that joins
                shutil.copytree(self.nodes[0].folder / "data", node.folder / "data", symlinks=True)
                _give(node.folder / "data")
            for at, node in enumerate(self.nodes):
                node.start(first=at == 0)
                node.await_synced(at + 1)
        except BaseException:
            self.close()
            raise

    def url(self, first: int = 0, database: str = "engram") -> str:
        """Return the URL of a database on all nodes, one of them first."""
        order = self.nodes[first:] + self.nodes[:first]
        return f"mysql://root@{','.join(f'127.0.0.1:{node.port}' for node in order)}/{database}"

    def close(self) -> None:
        """End all nodes and delete what they kept."""
        for node in self.nodes:
            node.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def _as_mysql() -> list[str]:
    return ["--user=mysql"] if os.geteuid() == 0 else []


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        for found in [path, *path.rglob("*")]:
            shutil.chown(found, "mysql", "mysql")


def main() -> int:
    """Start a cluster and wait."""
    why = missing()
    if why:
        print(why, file=sys.stderr)
        return 1
    cluster = Cluster(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
    try:
        for number, node in enumerate(cluster.nodes):
            print(f"node {number}: ENGRAM_STORE_URL={cluster.url(number)}   log: {node.folder}/log")
        input("Enter ends it. ")
    finally:
        cluster.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
