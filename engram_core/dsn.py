"""Which database a ``store.url`` means, and how it is shown without its secrets.

The one table of the schemes there are; everything behind a scheme is in its driver. Driven by the settings and the
store. Imports nothing: the client's fast path may use it.
"""

from __future__ import annotations

__all__ = ["DRIVERS", "driver_of", "identity", "is_server", "masked", "pairs", "parse", "secrets", "shown", "unquote"]

DRIVERS = {"sqlite": "sqlite", "postgres": "postgres", "postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}
"""The driver's module in `engram_core.store` for each scheme of a URL; "sqlite" is also a plain path's."""
_OF_PAIRS = "postgres"  # whose tools also take a text like "host=db dbname=engram"
_SECRET = ("password", "passwd", "sslpassword")


def scheme_of(url: str) -> str:
    """Return what stands before ``://``, "" for a path and for key=value pairs."""
    return url.partition("://")[0].lower() if "://" in url else ""


def driver_of(url: str) -> str:
    """Return the name of the driver for a URL, a path or key=value pairs; "" for a scheme nobody serves."""
    if "://" in url:
        return DRIVERS.get(scheme_of(url), "")
    return _OF_PAIRS if _is_pairs(url) else "sqlite"


def is_server(url: str) -> bool:
    """Tell whether the URL names a database on a server, whatever its name."""
    return driver_of(url) not in ("", "sqlite")


def _is_pairs(url: str) -> bool:
    name, sign, _ = url.partition("=")
    return bool(sign) and name.strip().replace("_", "").isalnum() and not url.startswith(("/", "~", ".", ":"))


def parse(url: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return user, password, hosts and database of a URL as texts, and its options; all "" where it has none."""
    rest, _, query = url.partition("://")[2].partition("?")
    authority, _, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    name, _, password = user.partition(":") if at else ("", "", "")
    options = {}
    for part in query.split("&") if query else ():
        key, _, value = part.partition("=")
        options[unquote(key)] = unquote(value)
    return {"user": unquote(name), "password": unquote(password), "hosts": unquote(hosts),
            "database": unquote(path)}, options


def unquote(text: str) -> str:
    """Undo the percent signs of a URL; what is no such sign stays as it is."""
    head, *parts = text.encode().split(b"%")
    out = head
    for part in parts:
        try:
            out += bytes.fromhex(part[:2].decode()) + part[2:] if len(part) >= 2 else b"%" + part
        except ValueError:
            out += b"%" + part
    return out.decode("utf-8", "replace")


def pairs(text: str) -> dict[str, str]:
    """Return the settings of a text of key=value pairs; values may be in single quotes, with backslashes."""
    found: dict[str, str] = {}
    rest = text.strip()
    while rest:
        key, _, rest = rest.partition("=")
        rest = rest.lstrip()
        value, quoted = "", rest.startswith("'")
        at = 1 if quoted else 0
        while at < len(rest) and (rest[at] != "'" if quoted else not rest[at].isspace()):
            at += rest[at] == "\\" and at + 1 < len(rest)
            value += rest[at]
            at += 1
        found[key.strip()] = value
        rest = rest[at + quoted:].strip()
    return found


def secrets(url: str) -> list[str]:
    """Return the secrets that stand in the URL itself."""
    if "://" not in url:
        found = pairs(url) if _is_pairs(url) else {}
    else:
        parts, found = parse(url)
        found = {**found, "password": parts["password"] or found.get("password", "")}
    return [found[name] for name in _SECRET if found.get(name)]


def shown(url: str) -> str:
    """Return the URL as it may stand in messages and logs: no password, no options."""
    if not is_server(url):
        return url
    if "://" not in url:
        found = pairs(url)
        return " ".join(f"{key}={found[key]}" for key in ("host", "port", "user", "dbname") if key in found)
    parts, _ = parse(url)
    user = f"{parts['user']}@" if parts["user"] else ""
    return f"{scheme_of(url)}://{user}{parts['hosts']}/{parts['database']}"


def masked(url: str) -> str:
    """Return the URL whole, with stars in the place of its secrets."""
    if not secrets(url):
        return url
    if "://" not in url:
        return " ".join(f"{key}={'***' if key in _SECRET else value}" for key, value in pairs(url).items())
    scheme, _, rest = url.partition("://")
    rest, mark, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    name, colon, _ = user.partition(":")
    options = [f"{key}=***" if key in _SECRET else f"{key}{sign}{value}" for key, sign, value in (
        part.partition("=") for part in query.split("&"))]
    return f"{scheme}://{name}{colon and ':***'}{at}{hosts}{slash}{path}{mark}{'&'.join(options)}"


def identity(url: str) -> str:
    """Return what is the same for everyone who means the same server and database: no secret is in it."""
    if "://" not in url:
        found = pairs(url)
        return "\n".join([_OF_PAIRS, found.get("user", ""), ",".join(
            f"{host}:{found.get('port', '')}" for host in found.get("host", "").split(",")), found.get("dbname", "")])
    parts, _ = parse(url)
    return "\n".join([driver_of(url), parts["user"], parts["hosts"], parts["database"]])
