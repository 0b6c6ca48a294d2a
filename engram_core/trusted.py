"""Tell whether a configuration file can be believed: it says where memories go. Driven by the settings."""

from __future__ import annotations

import os

from engram_core.errors import ConfigError

__all__ = ["check_owner"]


def check_owner(path: str, stat: os.stat_result) -> None:
    """Refuse a file that anyone but us and root can change, and anything that is no regular file."""
    if (stat.st_mode & 0o170000) != 0o100000:
        raise ConfigError(f"{path}: is not a regular file", hint="remove it or name another with --config")
    if stat.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path}: belongs to another user (uid {stat.st_uid})",
                          hint=f"run: chown $(id -u) {path}")
    if stat.st_mode & 0o002 or (stat.st_mode & 0o020 and not _own_group(stat.st_gid)):
        raise ConfigError(f"{path}: can be written by others (mode {stat.st_mode & 0o777:04o})",
                          hint=f"run: chmod go-w {path}")


def _own_group(gid: int) -> bool:
    """Tell whether the group is the user's private one, as many systems make for each user with umask 002."""
    import grp  # late: only a group-writable file needs it
    import pwd

    try:
        me, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return gid == me.pw_gid and not set(group.gr_mem) - {me.pw_name}
