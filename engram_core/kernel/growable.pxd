"""Growable C arrays and open-addressing tables, inline, for the kernel's modules.

Driven by tokens of analysis, the lexicon and the documents. A table maps the 64-bit hash of an entry to the entry's
number; entries live in an array of structs that begin with that hash.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy

cdef extern from *:
    void fetch "__builtin_prefetch"(const void* place) noexcept nogil  # asks for memory before it is read

cdef enum:
    NONE = 0xFFFFFFFF  # no entry

cdef struct Table:
    uint64_t* slots  # upper half: that of the hash; lower half: number of the entry plus one, 0 when free
    uint64_t mask
    uint64_t used


cdef inline int reserve(void** place, Py_ssize_t* capacity, Py_ssize_t needed, size_t item) except -1:
    cdef Py_ssize_t size
    cdef void* moved
    if needed <= capacity[0]:
        return 0
    size = capacity[0] + (capacity[0] >> 1) + 16
    if size < needed:
        size = needed
    moved = realloc(place[0], size * item)
    if moved == NULL:
        raise MemoryError()
    place[0] = moved
    capacity[0] = size
    return 0


cdef inline uint64_t mixed(uint64_t h) noexcept nogil:
    h ^= h >> 32
    h *= <uint64_t>0xD6E8FEB86659FD93
    h ^= h >> 32
    h *= <uint64_t>0xD6E8FEB86659FD93
    return h ^ (h >> 32)


cdef inline uint64_t hashed(const char* text, Py_ssize_t size) noexcept nogil:
    cdef uint64_t h = <uint64_t>size * <uint64_t>0x9E3779B97F4A7C15
    cdef uint64_t word
    while size >= 8:
        memcpy(&word, text, 8)
        h = (h ^ word) * <uint64_t>0xD6E8FEB86659FD93
        h ^= h >> 29
        text += 8
        size -= 8
    if size:
        word = 0
        memcpy(&word, text, size)
        h = (h ^ word) * <uint64_t>0xD6E8FEB86659FD93
        h ^= h >> 29
    return mixed(h)


cdef inline uint32_t find(const Table* table, uint64_t hash, const void* entries, size_t stride) noexcept nogil:
    cdef uint64_t place, slot
    cdef uint32_t number
    if table.slots == NULL:
        return NONE
    place = hash & table.mask
    while True:
        slot = table.slots[place]
        if slot == 0:
            return NONE
        if (slot ^ hash) >> 32 == 0:
            number = <uint32_t>slot - 1
            if (<const uint64_t*>(<const char*>entries + number * stride))[0] == hash:
                return number
        place = (place + 1) & table.mask


cdef inline int enter(Table* table, uint64_t hash, uint32_t number, const void* entries, size_t stride) except -1:
    """Add the entry under its hash; the caller has made sure that it is not there."""
    cdef uint64_t old, place, size, other
    cdef uint64_t* slots
    if table.slots == NULL or (table.used + 1) * 10 > (table.mask + 1) * 7:
        size = 64 if table.slots == NULL else (table.mask + 1) * 2
        slots = <uint64_t*>calloc(size, sizeof(uint64_t))
        if slots == NULL:
            raise MemoryError()
        if table.slots != NULL:
            for old in range(table.mask + 1):
                if table.slots[old]:
                    other = (<const uint64_t*>(<const char*>entries
                                               + (<uint32_t>table.slots[old] - 1) * stride))[0]
                    place = other & (size - 1)
                    while slots[place]:
                        place = (place + 1) & (size - 1)
                    slots[place] = table.slots[old]
            free(table.slots)
        table.slots = slots
        table.mask = size - 1
    place = hash & table.mask
    while table.slots[place]:
        place = (place + 1) & table.mask
    table.slots[place] = (hash & <uint64_t>0xFFFFFFFF00000000) | (number + 1)
    table.used += 1
    return 0


cdef inline int64_t table_bytes(const Table* table) noexcept nogil:
    return 0 if table.slots == NULL else <int64_t>(table.mask + 1) * 8
