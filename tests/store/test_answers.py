"""MySQL's answers as they come: a whole one is known as such at its last byte and not before, wherever it was cut."""

from __future__ import annotations

import socket

import pytest

pymysql = pytest.importorskip("pymysql")

from engram_core.store.answers import Answers, size_of  # noqa: E402 - it needs the driver


def packet(number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


def done(number: int, changed: bytes, *, more: bool, says: bytes = b"") -> bytes:
    return packet(number, b"\0" + changed + b"\0" + bytes([10 if more else 2, 0, 0, 0]) + says)


WHOLE = (done(1, b"\0", more=True) + done(2, b"\xfc\x2c\x01", more=True, says=b"Records: 300  Duplicates: 0")
         + done(3, b"\xfd\0\0\1", more=True) + done(4, b"\0", more=False))
REFUSED = done(1, b"\0", more=True) + packet(2, b"\xff\x18\x04#23000Column 'revision' cannot be null")


class Raw:
    """As much of PyMySQL's connection as is needed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock


@pytest.mark.parametrize("answer", [WHOLE, REFUSED])
def test_an_answer_is_complete_at_its_last_byte(answer: bytes) -> None:
    assert [size_of(answer[:at]) for at in range(len(answer))] == [0] * len(answer)
    assert size_of(answer) == size_of(answer + WHOLE) == len(answer)


def test_answers_are_taken_in_their_order_wherever_they_are_cut() -> None:
    for cut in range(1, len(REFUSED + WHOLE)):
        server, client = socket.socketpair()
        with server, client:
            client.settimeout(5)
            answers = Answers(Raw(client))  # type: ignore[arg-type]
            assert answers.read(wait=False) == 0
            server.sendall((REFUSED + WHOLE)[:cut])
            assert answers.read(wait=False) == (len(REFUSED) if cut >= len(REFUSED) else 0)
            server.sendall((REFUSED + WHOLE)[cut:])
            with pytest.raises(pymysql.Error, match="cannot be null"):
                answers.take()
            answers.take()
            server.close()
            with pytest.raises(pymysql.OperationalError, match="Lost"):
                answers.read(wait=False)
