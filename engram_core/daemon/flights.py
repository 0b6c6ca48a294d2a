"""Appends that the event loop itself sends to a database server, and answers once that has committed them.

Driven by the server, which asks for each write whether it goes this way. On the way through the writer's thread loop
and writer wake each other at every turn and share one interpreter, which takes longer than the work. Whatever may have
to wait, for a connection, a lock or a server that is away, is still the writer's.
"""

from __future__ import annotations

from collections import deque

from engram_core.daemon.writer import defect
from engram_core.daemon.writing import Append
from engram_core.errors import EngramError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

    from engram_core.daemon.handlers import Flight
    from engram_core.daemon.server import Connection, Server
    from engram_core.daemon.writer import Outcome, Prepared
    from engram_core.protocol.requests import Request

    Waiting = tuple[Connection, Request, Append]

__all__ = ["Flights"]

MOST = 64  # appends that fly together
MOST_BYTES = 16 << 10  # of their requests: the socket takes them at once, even from a server that is silent
MANY = 6  # of so many clients one half is committed while the other comes back; fewer share each commit
SEEN = 4  # answers by which it is known how many clients there are
LATE_S = 0.001  # how long those that are there wait for the others
STUCK_S = 0.25  # whoever gets no answer in this time is left to the writer, which has the patience


class Flights:
    """The groups that are under way to the server, and the appends that wait for the next."""

    def __init__(self, server: Server) -> None:
        self.server, self.engine, self.writer, self.loop = server, server.engine, server.writer, server.loop
        self._far = self.engine.store.far
        self._waiting: list[Waiting] = []
        self._flying: deque[tuple[list[Waiting], Flight]] = deque()
        self._count = 0  # of those that fly
        self._seen = deque((1,), maxlen=SEEN)  # how many there were at once, lately
        self._mine = False  # the turn to use the connection that writes
        self._fd = -1
        self._late: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None

    def take(self, connection: Connection, request: Request, prepared: Prepared) -> bool:
        """Take a write that was just accepted, or say that it is the writer's, which then gets those before it too."""
        if self._far and isinstance(prepared, Append) and self._has_turn():
            self._waiting.append((connection, request, prepared))
            self._send()
            return True
        if self._waiting:
            self._give_up()
        return False

    def _has_turn(self) -> bool:
        """Tell whether the connection may be used, and nothing is with the writer that came before."""
        if self.writer.waiting - 1 > len(self._waiting) + self._count:
            return False
        if self._mine:
            return not self.writer.turn.wanted
        self._mine = self.writer.turn.take()
        return self._mine

    def _send(self) -> None:
        """Send the groups that are complete."""
        while self._waiting:
            peers = max(*self._seen, len(self._waiting) + self._count)
            group = min((peers + 1) // 2 if peers >= MANY else peers, MOST)
            if self._flying:
                group = min(group, peers - self._count) if len(self._flying) == 1 and peers >= MANY else 0
            if not 0 < group <= len(self._waiting):
                break
            self._post(group)
        if self._waiting and not self._flying and self._late is None:
            self._late = self.loop.call_later(LATE_S, self._go_without)

    def _go_without(self) -> None:
        self._late = None
        if self._waiting and not self._flying:
            self._seen = deque((1,), maxlen=SEEN)
            self._send()

    def _post(self, count: int) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        group = self._waiting[:self._fitting(count)]
        try:
            flight = self.engine.post([(request.method, request.params) for _, request, _ in group],
                                      [append for _, _, append in group])
        except Exception:  # the writer will meet it too, and say so
            flight = None
        if flight is None:
            self._give_up()
            return
        del self._waiting[:len(group)]
        self._flying.append((group, flight))
        self._count += len(group)
        fd = self.engine.store.fileno()
        if fd < 0:
            self.hand_over()
            return
        if fd != self._fd:  # not the connection of the flights before
            self._deaf()
            self._fd = fd
            self.loop.add_reader(fd, self._landed)
        if self._watch is None:
            self._watch = self.loop.call_later(STUCK_S, self._look_at, flight)

    def _fitting(self, count: int) -> int:
        """Return how many of the first ones are sent at once: one at least."""
        size = 0
        for at, (_, request, _) in enumerate(self._waiting[:count]):
            size += request.size
            if at and size > MOST_BYTES:
                return at
        return count

    def _landed(self) -> None:
        """Answer what was committed, after the next group is on its way."""
        answers: list[tuple[Connection, Request, Outcome]] = []
        store = self.engine.store
        while self._flying and store.has_come():
            group, flight = self._flying[0]
            if not store.land(flight.posted):
                self.hand_over()
                break
            self._flying.popleft()
            self._seen.append(len(self._waiting) + self._count)
            self._count -= len(group)
            answers += [(connection, request, outcome) for (connection, request, _), outcome in
                        zip(group, self.engine.settle(flight), strict=True)]
        if answers:
            self._send()
            self.server.deliver(answers)
            self.writer.wake()
        self._rest()

    def _rest(self) -> None:
        """Give the turn back when there is nothing under way."""
        if not self._flying:
            self._deaf()
            if self._mine and not self._waiting:
                self._mine = False
                self.writer.turn.give()

    def _deaf(self) -> None:
        """Expect no answer any more."""
        if self._fd >= 0:
            self.loop.remove_reader(self._fd)
            self._fd = -1

    def _give_up(self) -> None:
        """Leave what waits to the writer."""
        waiting, self._waiting = self._waiting, []
        for connection, request, append in waiting:
            self.server.submit(connection, request, None, append)
        self._rest()

    def hand_over(self) -> None:
        """Leave everything to the writer: what flies before all that it has, what waits behind."""
        flying, self._count = list(self._flying), 0
        self._flying.clear()
        if flying:
            self.writer.first(lambda: self._settle(flying))
        self._give_up()

    def _settle(self, flying: list[tuple[list[Waiting], Flight]]) -> None:
        """See flights to their end, in the writer's thread."""
        for group, flight in flying:
            outcomes: list[Outcome]
            try:
                outcomes = self.engine.settle(flight)
            except EngramError as error:
                outcomes = [error] * len(group)
            except Exception as exc:
                outcomes = [defect("append_event", exc)] * len(group)
            self.server.finish((connection, request, outcome)
                               for (connection, request, _), outcome in zip(group, outcomes, strict=True))

    def _look_at(self, flight: Flight) -> None:
        """Leave a flight to the writer that was under way a while ago already."""
        self._watch = None
        if self._flying:
            if self._flying[0][1] is flight:
                self.hand_over()
            else:
                self._watch = self.loop.call_later(STUCK_S, self._look_at, self._flying[0][1])
