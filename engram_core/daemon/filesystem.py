"""Tell whether a path lies on a file system that other machines share: SQLite's log and our lock are not safe there.

Driven by the start of a daemon, which refuses, and by the doctor. Linux says what is mounted where; elsewhere the
answer is that nothing is known.
"""

from __future__ import annotations

import os

__all__ = ["MOUNTS", "network_file_system"]

MOUNTS = "/proc/self/mountinfo"
SHARED = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "9p", "ceph", "lustre", "gfs2", "ocfs2", "gpfs",
    "beegfs", "glusterfs", "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.cephfs", "fuse.davfs2",
    "fuse.s3fs",
    "fuse.rclone", "fuse.gcsfuse", "fuse.juicefs", "fuse.beegfs", "acfs", "vboxsf", "prl_fs",
})


def network_file_system(path: str) -> str:
    """Return the name of the shared file system a path lies on, "" when it lies on a local one or nobody can say."""
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            rows = file.read().splitlines()
    except OSError:
        return ""
    real = os.path.realpath(path)
    best, kind = "", ""
    for row in rows:
        left, _, right = row.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        place = _plain(fields[4])
        if len(place) >= len(best) and (real == place or real.startswith(place.rstrip("/") + "/")):
            best, kind = place, right.split(" ")[0]
    return kind if kind in SHARED else ""


def _plain(text: str) -> str:
    """Undo the octal escapes of the mount table."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
