"""The console entry: serve the hot commands without loading anything, hand everything else to Typer.

``append``, ``packet`` and ``status --json`` are run by every turn of an agent, so they pay for `sys`, `os`, `time` and
the C modules `_socket` and `_json` only. The table below understands the plain spellings of their options; at the first
word it does not understand, at help, at an empty value, the whole command line goes to `main`, which stays the
definition of the interface (a test feeds both the same command lines). One attempt is made here; when it does not
end with a result, `engram.transport` repeats the same line with all its patience, and errors are shown by `errors`.
"""

import os
import sys
import time

SCOPE = (("tenant_id", "--tenant", "ENGRAM_TENANT"), ("user_id", "--user", "ENGRAM_USER"),
         ("agent_id", "--agent", "ENGRAM_AGENT"), ("session_id", "--session", "ENGRAM_SESSION"),
         ("run_id", "--run", "ENGRAM_RUN"))
COMMON = ("--tenant", "--user", "--agent", "--session", "--run", "--socket", "--timeout")
# command: options with one value, options that may be repeated, flags, most words that are no option
HOT = {
    "append": ((*COMMON, "--role", "--name", "--kind", "--id", "--ts"), ("--tag", "--entity"),
               ("--json", "--require-commit"), 1),
    "packet": ((*COMMON, "--purpose", "--query", "-q", "--max-tokens", "--format", "--part", "--max-chars",
                "--policy", "--task-type", "--now", "--tokenizer"), ("--tag", "--entity", "--keyword"),
               ("--json", "--bare", "--no-persist", "--no-limit"), 0),
    "status": (COMMON, (), ("--json",), 0),
}
TIMEOUT_S = 10.0
# Errors after which the patient transport tries again: no room, or a daemon that may be older than this.
AGAIN = (b'"kind":"busy"', b'"kind":"method_not_found"', b'"kind":"unknown_field"', b'"kind":"protocol"',
         b'"kind":"internal"')
MAX_INPUT = 16 << 20
MAX_REQUEST = 1 << 20
MAX_TOKENS = 100_000_000
# Settings that move the socket or the deadline; a file or environment without them leaves the defaults.
MOVING = (b"url", b"socket", b"timeout")
PLACES = ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
MOVING_ENV = ("ENGRAM_STORE_URL", "ENGRAM_CONFIG", "ENGRAM_DAEMON_REQUEST_TIMEOUT_MS")

Options = dict[str, str | bool | list[str]]


def main() -> int:
    """Run this process's command line."""
    found = understand(sys.argv[1:])
    if found is None:
        from engram_cli.main import main as everything

        return everything()
    try:
        code = serve(*found)
    except BaseException as exc:
        code = fail(exc, as_json="--json" in found[1])
    os._exit(code)  # nothing is buffered; tearing the interpreter down would cost a tenth of the command


# ---- the command line


def understand(args: list[str]) -> tuple[str, Options, str | None] | None:
    """Return command, options and the one word, or None for what Typer has to read."""
    if not args or args[0] not in HOT:
        return None
    single, repeated, flags, most = HOT[args[0]]
    options: Options = {}
    words: list[str] = []
    at = 1
    while at < len(args):
        word = args[at]
        at += 1
        if word == "-" or word[:1] != "-":
            words.append(word)
            continue
        name, given, value = word.partition("=")
        if name in flags and not given:
            options[name] = True
            continue
        if (name not in single and name not in repeated) or (given and name == "-q"):
            return None
        if not given:
            value = args[at] if at < len(args) else ""
            at += 1
            if value[:1] == "-":
                return None
        if not value:
            return None
        if name in repeated:
            values = options.setdefault(name, [])
            assert isinstance(values, list)
            values.append(value)
        else:
            options["--query" if name == "-q" else name] = value
    if len(words) > most or "" in words or not usual(args[0], options):
        return None
    return args[0], options, words[0] if words else None


def usual(command: str, options: Options) -> bool:
    """Tell whether the values need no explanation of what is wrong with them; Typer gives those."""
    for name, most in (("--max-tokens", MAX_TOKENS), ("--max-chars", (1 << 53) - 1)):
        value = options.get(name, "1")
        if not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 17
                and 0 < int(value) <= most):
            return False
    for name in ("--ts", "--now"):  # a date, and how long ago, are for Typer
        value = str(options.get(name, "2026-01-01T00:00:00Z"))
        if len(value) < 20 or value[10] != "T" or not (value[-1] == "Z" or value[-6] in "+-"):
            return False
    if "--no-limit" in options and "--max-tokens" in options:
        return False
    timeout = str(options.get("--timeout", "1"))
    if not (timeout.isascii() and timeout.replace(".", "", 1).isdigit() and 0 < float(timeout) <= 3600):
        return False
    return command != "status" or "--json" in options


# ---- one command


def serve(command: str, options: Options, word: str | None) -> int:
    """Ask the daemon and write its answer."""
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        occupy_closed()
    timeout = float(str(options.get("--timeout", TIMEOUT_S)))
    body = {"append": append, "packet": packet, "status": status}[command](options, word)
    method = {"append": "append_event", "packet": "build_memory_packet"}.get(command, command)
    line = (f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{body},"cwd":{text(folder())},'
            f'"timeout_ms":{max(1, round(timeout * 1000))}}}}}\n')
    try:
        sent = line.encode()
    except UnicodeEncodeError as exc:
        raise bad_input("the command line is not UTF-8", "convert it, for example with iconv") from exc
    if len(sent) > MAX_REQUEST + 1:
        raise bad_input(f"the request has {len(sent)} bytes; allowed are {MAX_REQUEST}",
                        "split the text, or send a list in parts")
    try:
        reply = ask(sent, options, timeout)
    except Exception as exc:
        if command != "append" or getattr(exc, "exit_code", 0) != 69:
            raise
        from engram_cli.spooled import spooled

        asked = options.get("--socket")
        event_id = spooled(sent, exc, socket=str(asked) if asked else None, required="--require-commit" in options)
        write(f'{{"schema":"engram.append/1","event_id":{text(event_id)},"durability":"spooled"}}\n'.encode()
              if "--json" in options else event_id.encode() + b"\n")
        return 0
    at = reply.find(b',"result":', 0, 64)
    if at < 0:
        from engram.transport import error_in

        raise error_in(reply)
    result = reply[at + 10:reply.rindex(b"}")]
    if result[:1] == b'"':
        import _json

        write(_json.scanstring(result.decode(), 1, True)[0].encode())
    else:
        write(b'{"schema":"engram.%b/1",%b\n' % (command.encode(), result[1:]))
    return 0


def append(options: Options, word: str | None) -> str:
    """Return the params of an event; its id and time are fixed here, so that a repetition stores it once."""
    now = time.time_ns() // 1_000_000
    if word is None and sys.stdin is not None and os.isatty(0):
        raise no_text()
    said = text(word if word is not None and word != "-" else read_stdin())
    if "--role" in options or "--name" in options:
        name = f',"name":{text(options["--name"])}' if "--name" in options else ""
        said = f'{{"role":{text(options.get("--role", "user"))},"content":{said}{name}}}'
    members = [f'"event_id":{text(options.get("--id") or new_id(now))}', f'"scope":{scope(options)}',
               f'"payload":{said}']
    members += [f'"{key}":{text(options[name])}' for key, name in (("kind", "--kind"), ("ts", "--ts"))
                if name in options]
    members += [f'"{key}":{texts(options[name])}' for key, name in (("tags", "--tag"), ("entities", "--entity"))
                if name in options]
    render = "" if "--json" in options else ',"render":true'
    return f'"event":{{{",".join(members)}}},"at_ms":{now}{render}'


def packet(options: Options, word: str | None) -> str:
    """Return the params of a packet."""
    members = [f'"scope":{scope(options)}']
    members += [f'"{key}":{text(options[name])}' for key, name in (
        ("purpose", "--purpose"), ("query", "--query"), ("task_type", "--task-type"), ("policy_id", "--policy"),
        ("now", "--now")) if name in options]
    cues = [f'"{key}":{texts(options[name])}' for key, name in (
        ("tags", "--tag"), ("entities", "--entity"), ("keywords", "--keyword")) if name in options]
    if cues:
        members.append(f'"cues":{{{",".join(cues)}}}')
    if "--no-limit" in options or "--max-tokens" in options:
        members.append(f'"budget":{{"max_tokens":{int(str(options.get("--max-tokens", 0)))}}}')
    if "--no-persist" in options:
        members.append('"persist":false')
    show = ['"render":true']
    if "--json" in options or "--format" in options:
        show.append(f'"format":{text("json" if "--json" in options else options["--format"])}')
    show += [f'"{key}":{text(options[name])}' for key, name in (("part", "--part"), ("tokenizer", "--tokenizer"))
             if name in options]
    if "--max-chars" in options:
        show.append(f'"max_chars":{int(str(options["--max-chars"]))}')
    if "--bare" in options:
        show.append('"bare":true')
    return f'"request":{{{",".join(members)}}},{",".join(show)}'


def status(options: Options, word: str | None) -> str:
    """Return the params of a status."""
    return f'"scope":{scope(options)}'


def text(value: object) -> str:
    """Return a text as JSON."""
    import _json

    return _json.encode_basestring(str(value))


def texts(values: object) -> str:
    """Return a list of texts as JSON."""
    assert isinstance(values, list)
    return f'[{",".join([text(value) for value in values])}]'


def scope(options: Options) -> str:
    """Return the ids that flags and environment give; the daemon completes the others."""
    given = [(key, options.get(flag) or os.environ.get(variable)) for key, flag, variable in SCOPE]
    return f'{{{",".join([f"{text(key)}:{text(value)}" for key, value in given if value])}}}'


def new_id(now_ms: int) -> str:
    """Make an event id that sorts by its time, as ``engram_core.ids.new_id`` does."""
    number = (now_ms & ((1 << 50) - 1)) << 60 | int.from_bytes(os.urandom(8), "big") >> 4
    return "e_" + "".join(["0123456789abcdefghjkmnpqrstvwxyz"[number >> shift & 31] for shift in range(105, -5, -5)])


def folder() -> str:
    """Return the current folder, or / when it was removed under us."""
    try:
        return os.getcwd()
    except OSError:
        return "/"


# ---- the daemon


def ask(line: bytes, options: Options, timeout: float) -> bytes:
    """Return the reply line: of one plain attempt, or of the patient transport."""
    path = usual_socket(options)
    reply = attempt(path, line, timeout) if path else b""
    if reply and (b',"error":' not in reply[:400] or not any(kind in reply for kind in AGAIN)):
        return reply
    from engram.transport import UnixTransport, find

    asked = options.get("--socket")
    return UnixTransport(find(env=os.environ, socket=str(asked) if asked else None)).exchange(line, timeout=timeout)


def attempt(path: str, line: bytes, timeout: float) -> bytes:
    """Send one line and return its reply, b"" when there is none but may be one at another attempt."""
    import _socket

    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    except OSError:
        return b""  # a sandbox: the transport says what to allow
    sock.settimeout(timeout)
    try:
        sock.connect(path)
        sock.sendall(line)
        data = sock.recv(65536)
        if data[-1:] != b"\n":
            pieces = [data]
            while data and data[-1:] != b"\n":
                data = sock.recv(262144)
                pieces.append(data)
            data = b"".join(pieces) if data else b""
        return data
    except TimeoutError as exc:
        from engram_core.errors import DeadlineExceeded

        raise DeadlineExceeded(f"the daemon did not answer within {timeout:g} s",
                               hint="try again; an append repeated with the same --id happens once") from exc
    except OSError:
        return b""
    finally:
        sock.close()


def usual_socket(options: Options) -> str:
    """Return the socket's path when flags and defaults alone decide it, "" when the settings must be read."""
    env = os.environ
    if any(env.get(name, "/")[:1] not in "/" for name in PLACES):
        return ""  # which is refused
    asked = options.get("--socket") or env.get("ENGRAM_SOCKET")
    if asked:
        return str(asked) if str(asked)[:1] == "/" else ""
    home = env.get("HOME", "")
    if home[:1] != "/" or home == "/" or any(env.get(name) for name in MOVING_ENV):
        return ""
    for path in ("/etc/engram/engram.toml", base("XDG_CONFIG_HOME", home + "/.config") + "/engram/engram.toml"):
        try:
            with open(path, "rb", buffering=0) as file:
                data = file.read(1 << 20)
        except FileNotFoundError:
            continue
        except OSError:
            return ""
        if any(word in data for word in MOVING):
            return ""
    runtime = base("XDG_RUNTIME_DIR", "")
    path = runtime + "/engram/engram.sock" if runtime else \
        base("XDG_STATE_HOME", home + "/.local/state") + "/engram/run/engram.sock"
    record = base("XDG_DATA_HOME", home + "/.local/share") + "/engram/engram.db.endpoint"
    try:  # another home or data folder has another database, but may share the folder of sockets
        with open(record, "rb", buffering=0) as file:
            return path if f'"{path}"'.encode() in file.read(4096) else ""
    except (OSError, UnicodeEncodeError):
        return ""


def base(variable: str, fallback: str) -> str:
    """Return an XDG folder."""
    path = os.environ.get(variable, "")
    return path.rstrip("/") if path[:1] == "/" else fallback


# ---- streams


def read_stdin() -> str:
    """Return all of stdin as text without the line ends at its end."""
    if sys.stdin is None:
        raise OSError(9, "stdin is closed")
    pieces, size = [], 0
    while piece := os.read(0, 1 << 16):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_INPUT:
            raise bad_input(f"stdin holds more than {MAX_INPUT} bytes", "split it into several commands")
    try:
        found = b"".join(pieces).decode().rstrip("\n")
    except UnicodeDecodeError as exc:
        raise bad_input(f"stdin is not UTF-8: byte {exc.start}", "convert it, for example with iconv") from exc
    if not found:
        raise bad_input("no text given: stdin is empty", "write it as an argument, or pipe it in")
    return found


def write(data: bytes) -> None:
    """Write all of it to stdout."""
    try:
        if sys.stdout is None:
            raise OSError(9, "closed")
        while data:
            data = data[os.write(1, data):]
    except OSError as exc:
        exc.filename = "stdout"
        raise


def occupy_closed() -> None:
    """Put something harmless where a standard stream is closed, so that the socket does not take its place."""
    while (fd := os.open("/dev/null", os.O_RDWR)) <= 2:
        pass
    os.close(fd)


# ---- errors


def bad_input(message: str, hint: str) -> Exception:
    """Return the error for what the caller gave."""
    from engram_core.errors import BadInput

    return BadInput(message, hint=hint)


def no_text() -> Exception:
    """Return the error for a command that would wait for its text to be typed, worded as everywhere else."""
    from engram_core.errors import UsageError

    return UsageError("no text given", hint="write it as an argument, or pipe it in")


def fail(exc: BaseException, *, as_json: bool) -> int:
    """Show an error and return its exit code."""
    if isinstance(exc, BrokenPipeError):
        return 141
    if isinstance(exc, KeyboardInterrupt):
        return 130
    from engram_cli.errors import report

    return report(exc, as_json=as_json)
