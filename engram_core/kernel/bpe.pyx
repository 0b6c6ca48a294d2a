# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Count tokens of byte-level BPE vocabularies exactly.

Driven by engram_core.tokens, and by the kernel's other modules through bpe.pxd. A vocabulary is a packed file
(engram_core/vocab/pack.py tells its layout), mapped, not read; the hash table over it is built on opening and
never changes, so that counting takes no lock and large texts are counted without the interpreter's.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove

from engram_core.kernel.pieces cimport find_invalid, piece_end

import hashlib
import mmap

ctypedef unsigned char u8
ctypedef unsigned int u32
ctypedef unsigned long long u64

cdef enum:
    NO_RANK = 0xFFFFFFFF
    SHORT_PIECE = 128   # above it the heap wins over scanning for the lowest rank
    RELEASE_ABOVE = 4096
    HEADER = 16

MAGIC = b"EBPE1\0\0\0"

cdef inline u64 hash_bytes(const u8* s, Py_ssize_t n) noexcept nogil:
    cdef u64 h = <u64>n * 0x9E3779B97F4A7C15ULL
    cdef u64 k = 0
    cdef u32 first, last
    if n < 4:
        k = s[0] | <u64>s[n >> 1] << 8 | <u64>s[n - 1] << 16
    elif n < 8:
        memcpy(&first, s, 4)
        memcpy(&last, s + n - 4, 4)
        k = first | <u64>last << 32
    else:
        while n > 8:
            memcpy(&k, s, 8)
            h = (h ^ k) * 0xBF58476D1CE4E5B9ULL
            h ^= h >> 29
            s += 8
            n -= 8
        memcpy(&k, s + n - 8, 8)    # overlaps the word before it; the length is in the seed
    h = (h ^ k) * 0xBF58476D1CE4E5B9ULL
    h = (h ^ h >> 29) * 0x94D049BB133111EBULL
    return h ^ h >> 32


cdef class Counter:
    """Count the tokens of one packed vocabulary exactly; immutable, so that threads may share it."""

    def __cinit__(self, str vocab_path, str style, *, str sha256=""):
        if style != "o200k" and style != "cl100k":
            raise ValueError(f"style {style!r} is not known, use o200k or cl100k")
        self._o200k = style == "o200k"
        self._open(vocab_path, sha256)

    def __dealloc__(self):
        free(self._offsets)
        free(self._table)
        free(self._filter)
        free(self._pairs)

    cdef int _open(self, str path, str sha256) except -1:
        """Map and check the file, then build the table."""
        cdef Py_buffer view
        cdef const u8* data
        cdef Py_ssize_t i, tokens, total = 0
        with open(path, "rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if sha256 and hashlib.sha256(mapping).hexdigest() != sha256:
            raise ValueError(f"{path} has another sha256 than {sha256}")
        if len(mapping) < HEADER or mapping[:8] != MAGIC:
            raise ValueError(f"{path} is no packed vocabulary")
        tokens = int.from_bytes(mapping[8:12], "little")
        PyObject_GetBuffer(mapping, &view, PyBUF_SIMPLE)
        data = <const u8*>view.buf
        PyBuffer_Release(&view)     # the mapping itself stays, and nobody else can close it
        if view.len - HEADER >= tokens:
            for i in range(tokens):
                total += data[HEADER + i]
        if tokens == 0 or HEADER + tokens + total != view.len or total >= NO_RANK:
            raise ValueError(f"{path} is damaged: its size does not fit its token lengths")
        self._mapping = mapping
        self.nvocab = tokens
        self._blob = data + HEADER + tokens
        return self._build(data + HEADER)

    cdef int _build(self, const u8* lengths) except -1:
        cdef u64 size = 1024, h, slot
        cdef Py_ssize_t i
        cdef u32 offset = 0, n
        while 4 * size < 5 * <u64>self.nvocab:  # four fifths full at most: the filter answers most misses
            size *= 2
        self._mask = size - 1
        self._table = <u64*>calloc(size, sizeof(u64))
        self._offsets = <u32*>malloc((self.nvocab + 1) * sizeof(u32))
        self._filter = <u8*>calloc(size, 1)
        self._pairs = <u32*>malloc(0x10000 * sizeof(u32))
        if self._filter == NULL or self._table == NULL or self._offsets == NULL or self._pairs == NULL:
            raise MemoryError
        for i in range(0x10000):
            self._pairs[i] = NO_RANK
        for i in range(self.nvocab):
            n = lengths[i]
            self._offsets[i] = offset
            if n == 0:
                raise ValueError("a packed vocabulary holds an empty token")
            if n == 2:
                self._pairs[self._blob[offset] << 8 | self._blob[offset + 1]] = <u32>i
            elif n > 2:             # single bytes and pairs are never looked up here
                h = hash_bytes(self._blob + offset, n)
                self._filter[h & self._mask] |= 1 << (h >> 61)
                slot = h & self._mask
                while self._table[slot]:
                    slot = slot + 1 & self._mask
                self._table[slot] = h >> 32 << 32 | <u64>(i + 1)
            self._longest = max(self._longest, n)
            offset += n
        self._offsets[self.nvocab] = offset
        return 0

    cdef u32 _rank(self, const u8* s, Py_ssize_t n) noexcept nogil:
        """Rank of the token that n >= 2 bytes make, NO_RANK if none."""
        cdef u64 h, slot, entry
        cdef u32 rank, offset
        if n == 2:
            return self._pairs[s[0] << 8 | s[1]]
        if n > self._longest:
            return NO_RANK
        h = hash_bytes(s, n)
        slot = h & self._mask
        if not self._filter[slot] >> (h >> 61) & 1:
            return NO_RANK
        while True:
            entry = self._table[slot]
            if entry == 0:
                return NO_RANK
            if entry >> 32 == h >> 32:
                rank = <u32>entry - 1
                offset = self._offsets[rank]
                if self._offsets[rank + 1] - offset == <u32>n and memcmp(self._blob + offset, s, n) == 0:
                    return rank
            slot = slot + 1 & self._mask

    cdef Py_ssize_t _merge(self, const u8* s, Py_ssize_t n) noexcept nogil:
        """Tokens of one piece, -1 when memory is short."""
        if n == 1 or self._rank(s, n) != NO_RANK:
            return 1
        if n <= SHORT_PIECE:
            return self._merge_short(s, <int>n)
        return self._merge_long(s, n)

    cdef Py_ssize_t _merge_short(self, const u8* s, int n) noexcept nogil:
        """Merge the leftmost pair of lowest rank until none is left, scanning for it."""
        cdef int start[SHORT_PIECE + 1]
        cdef u32 rank[SHORT_PIECE]      # of the pair that begins with this token
        cdef int m = n, i, best
        cdef u32 lowest
        for i in range(n + 1):
            start[i] = i
        for i in range(n - 1):
            rank[i] = self._pairs[s[i] << 8 | s[i + 1]]
        while m > 1:
            lowest = NO_RANK
            best = -1
            for i in range(m - 1):
                if rank[i] < lowest:
                    lowest = rank[i]
                    best = i
            if best < 0:
                break
            m -= 1
            memmove(&start[best + 1], &start[best + 2], (m - best) * sizeof(int))
            if best < m - 1:
                memmove(&rank[best + 1], &rank[best + 2], (m - best - 2) * sizeof(u32))
                rank[best] = self._rank(s + start[best], start[best + 2] - start[best])
            if best > 0:
                rank[best - 1] = self._rank(s + start[best - 1], start[best + 1] - start[best - 1])
        return m

    cdef Py_ssize_t _merge_long(self, const u8* s, Py_ssize_t n) noexcept nogil:
        """Do the same with a heap, so that a piece of a megabyte is no trouble."""
        cdef u8* size = <u8*>malloc(n)                  # a token's bytes, at its first and at its last one
        cdef u32* rank = <u32*>malloc(n * sizeof(u32))  # of the pair that begins here
        cdef u64* heap = <u64*>malloc(2 * n * sizeof(u64))
        cdef Py_ssize_t count = -1
        if size != NULL and rank != NULL and heap != NULL and n < NO_RANK:
            count = self._merge_heap(s, n, size, rank, heap)
        free(size)
        free(rank)
        free(heap)
        return count

    cdef Py_ssize_t _merge_heap(
        self, const u8* s, Py_ssize_t n, u8* size, u32* rank, u64* heap
    ) noexcept nogil:
        # An entry is rank << 32 | position. It is stale when the position has another rank by now: the end of
        # the pair at a position only grows, so that no rank returns. A merge pops one and pushes two at most.
        cdef Py_ssize_t filled = 0, count = n, a, b, end, before
        cdef u32 lowest
        cdef u64 entry
        for a in range(n):
            size[a] = 1
            rank[a] = self._pairs[s[a] << 8 | s[a + 1]] if a + 1 < n else <u32>NO_RANK
            if rank[a] != NO_RANK:
                heap[filled] = <u64>rank[a] << 32 | <u64>a
                filled += 1
        heapify(heap, filled)
        while filled:
            entry = heap[0]
            filled = pop(heap, filled)
            a = <Py_ssize_t>(entry & 0xFFFFFFFFULL)
            lowest = <u32>(entry >> 32)
            if rank[a] != lowest:
                continue
            b = a + size[a]
            end = b + size[b]
            size[a] = size[end - 1] = <u8>(end - a)
            rank[b] = NO_RANK
            count -= 1
            rank[a] = self._rank(s + a, end + size[end] - a) if end < n else <u32>NO_RANK
            if rank[a] != NO_RANK:
                filled = push(heap, filled, <u64>rank[a] << 32 | <u64>a)
            if a > 0:
                before = a - size[a - 1]
                rank[before] = self._rank(s + before, end - before)
                if rank[before] != NO_RANK:
                    filled = push(heap, filled, <u64>rank[before] << 32 | <u64>before)
        return count

    cdef Py_ssize_t count_utf8(self, const u8* text, Py_ssize_t n) except -1 nogil:
        cdef Py_ssize_t i = 0, end, tokens, total = 0
        while i < n:
            end = piece_end(text, i, n, self._o200k)
            tokens = self._merge(text + i, end - i)
            if tokens < 0:
                with gil:
                    raise MemoryError
            total += tokens
            i = end
        return total

    cdef Py_ssize_t _count_released(self, const u8* text, Py_ssize_t n) except -1:
        cdef Py_ssize_t total
        if n <= RELEASE_ABOVE:
            return self.count_utf8(text, n)
        with nogil:
            total = self.count_utf8(text, n)
        return total

    def count(self, str text not None):
        """Return the number of tokens of a text; UnicodeEncodeError for a lone surrogate."""
        cdef Py_ssize_t n
        cdef const char* s
        cdef bytes data
        if text.isascii():
            s = PyUnicode_AsUTF8AndSize(text, &n)
            return self._count_released(<const u8*>s, n)
        data = text.encode()        # not the cached form, which would stay as long as the text
        return self._count_released(<const u8*>data, len(data))

    def count_bytes(self, bytes data not None):
        """Return the number of tokens of a text in UTF-8; UnicodeDecodeError when it is not."""
        cdef Py_ssize_t bad = find_invalid(<const u8*>data, len(data))
        if bad >= 0:
            raise UnicodeDecodeError("utf-8", data, bad, bad + 1, "invalid byte")
        return self._count_released(<const u8*>data, len(data))

    def pieces(self, str text not None):
        """Return the pieces that the pattern splits a text into; no token spans two of them."""
        cdef bytes data = text.encode()
        cdef const u8* s = <const u8*>data
        cdef Py_ssize_t i = 0, end, n = len(data)
        found = []
        while i < n:
            end = piece_end(s, i, n, self._o200k)
            found.append(data[i:end])
            i = end
        return found


cdef void sift(u64* heap, Py_ssize_t n, Py_ssize_t i) noexcept nogil:
    cdef u64 entry = heap[i]
    cdef Py_ssize_t child
    while 2 * i + 1 < n:
        child = 2 * i + 1
        if child + 1 < n and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= entry:
            break
        heap[i] = heap[child]
        i = child
    heap[i] = entry


cdef void heapify(u64* heap, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n // 2 - 1, -1, -1):
        sift(heap, n, i)


cdef inline Py_ssize_t pop(u64* heap, Py_ssize_t n) noexcept nogil:
    heap[0] = heap[n - 1]
    if n > 1:
        sift(heap, n - 1, 0)
    return n - 1


cdef inline Py_ssize_t push(u64* heap, Py_ssize_t n, u64 entry) noexcept nogil:
    cdef Py_ssize_t i = n
    while i and entry < heap[(i - 1) >> 1]:
        heap[i] = heap[(i - 1) >> 1]
        i = (i - 1) >> 1
    heap[i] = entry
    return n + 1
