# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Count tokens of byte-level BPE vocabularies exactly: the pre-tokenizer of o200k and cl100k, and the merging.

Driven by engram_core.tokens, and by the kernel's other modules through bpe.pxd. A vocabulary is a packed file (see
engram_core/vocab/pack.py), mapped, not read; the hash table over it is built on opening and never changes, so that
counting takes no lock and large texts are counted without the interpreter's.

The pre-tokenizer is written by hand after the two published patterns. No piece of theirs spans a line end that is
followed by a character that is neither white space nor ``/``; counts of such lines add up.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove

import hashlib
import mmap

cdef extern from "unicode_classes.h":
    enum: CLASS_RANGE_COUNT
    const unsigned int CLASS_RANGES[]

ctypedef unsigned char u8
ctypedef unsigned int u32
ctypedef unsigned long long u64

cdef enum:
    UPPER = 1           # Lu Lt
    LOWER = 2           # Ll
    UNCASED = 4         # Lm Lo
    MARK = 8            # M
    NUMBER = 16         # N
    SPACE = 32          # \s
    LINE_END = 64       # \r \n
    LETTER = 7
    HEAD = 13           # what may stand before the lower-case part of a word in o200k
    TAIL = 14           # and what in it

cdef enum:
    NO_RANK = 0xFFFFFFFF
    SHORT_PIECE = 128   # above it the heap wins over scanning for the lowest rank
    RELEASE_ABOVE = 4096
    HEADER = 16
    MAX_BLOCKS = 256

MAGIC = b"EBPE1\0\0\0"

# Character classes in two stages: blocks of 256 code points, runs of equal blocks stored once.
cdef u8 BLOCK_OF[0x1100]
cdef u8 BLOCKS[MAX_BLOCKS * 256]


cdef int expand_classes() except -1:
    cdef u8 block[256]
    cdef int number, cell, at = 0, used = 0
    for number in range(0x1100):
        for cell in range(256):
            while at + 1 < CLASS_RANGE_COUNT and (CLASS_RANGES[at + 1] >> 8) <= <u32>(number << 8 | cell):
                at += 1
            block[cell] = <u8>CLASS_RANGES[at]
        if used == 0 or memcmp(&BLOCKS[(used - 1) << 8], block, 256) != 0:
            if used == MAX_BLOCKS:
                raise SystemError("unicode_classes.h has too many different blocks")
            memcpy(&BLOCKS[used << 8], block, 256)
            used += 1
        BLOCK_OF[number] = <u8>(used - 1)
    return 0


expand_classes()


def char_class(int code):
    """Return the class flags of a code point."""
    if not 0 <= code < 0x110000:
        raise ValueError("not a code point")
    return BLOCKS[BLOCK_OF[code >> 8] << 8 | code & 255]


cdef inline u8 class_at(const u8* s, int* width) noexcept nogil:
    """Class of the character at s, which must be valid UTF-8; width becomes its bytes."""
    cdef u32 a = s[0]
    cdef u32 code
    if a < 0x80:
        width[0] = 1
        return BLOCKS[a]
    if a < 0xE0:
        width[0] = 2
        code = (a & 0x1F) << 6 | s[1] & 0x3F
    elif a < 0xF0:
        width[0] = 3
        code = (a & 0x0F) << 12 | (s[1] & 0x3F) << 6 | s[2] & 0x3F
    else:
        width[0] = 4
        code = (a & 7) << 18 | (s[1] & 0x3F) << 12 | (s[2] & 0x3F) << 6 | s[3] & 0x3F
    return BLOCKS[BLOCK_OF[code >> 8] << 8 | code & 255]


cdef inline int sequence_width(const u8* s, Py_ssize_t left) noexcept nogil:
    """Bytes of the valid multi-byte sequence at s, 0 if there is none."""
    cdef u8 a = s[0]
    cdef u8 low = 0x80
    cdef u8 high = 0xBF
    cdef int width = 2 if 0xC2 <= a < 0xE0 else 3 if 0xE0 <= a < 0xF0 else 4 if 0xF0 <= a < 0xF5 else 0
    cdef int i
    if width == 0 or left < width:
        return 0
    if a == 0xE0:
        low = 0xA0                  # overlong
    elif a == 0xED:
        high = 0x9F                 # surrogates
    elif a == 0xF0:
        low = 0x90                  # overlong
    elif a == 0xF4:
        high = 0x8F                 # above U+10FFFF
    if not low <= s[1] <= high:
        return 0
    for i in range(2, width):
        if s[i] & 0xC0 != 0x80:
            return 0
    return width


cdef Py_ssize_t find_invalid(const u8* s, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef u64 word
    cdef int width
    while i < n:
        if i + 8 <= n:
            memcpy(&word, s + i, 8)
            if word & 0x8080808080808080ULL == 0:
                i += 8
                continue
        if s[i] < 0x80:
            i += 1
            continue
        width = sequence_width(s + i, n - i)
        if width == 0:
            return i
        i += width
    return -1


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


cdef inline Py_ssize_t run_end(const u8* s, Py_ssize_t i, Py_ssize_t n, u8 wanted) noexcept nogil:
    """End of the run of characters of a wanted class that begins at i."""
    cdef int width
    while i < n and class_at(s + i, &width) & wanted:
        i += width
    return i


cdef inline int contraction(const u8* s, Py_ssize_t left) noexcept nogil:
    """Bytes of ``(?i:'s|'t|'re|'ve|'m|'ll|'d)`` at s, 0 if it is none."""
    cdef u8 a, b
    if left < 2 or s[0] != 39:
        return 0
    if s[1] >= 0x80:                # the long s folds to s
        return 3 if left > 2 and s[1] == 0xC5 and s[2] == 0xBF else 0
    a = s[1] | 32
    if a == c's' or a == c't' or a == c'm' or a == c'd':
        return 2
    if left < 3 or s[2] >= 0x80:
        return 0
    b = s[2] | 32
    return 3 if (a == c'r' or a == c'v') and b == c'e' or a == c'l' and b == c'l' else 0


cdef Py_ssize_t word_cl100k(const u8* s, Py_ssize_t i, Py_ssize_t n, u8 cls, int width) noexcept nogil:
    """End of the word of cl100k that begins at i, -1 if there is none."""
    cdef int w, taken = contraction(s + i, n - i)
    if taken:
        return i + taken
    if cls & LETTER:
        return run_end(s, i, n, LETTER)
    if cls & (NUMBER | LINE_END) or i + width >= n or not class_at(s + i + width, &w) & LETTER:
        return -1
    return run_end(s, i + width, n, LETTER)


cdef Py_ssize_t cased_end(const u8* s, Py_ssize_t i, Py_ssize_t n, Py_ssize_t* head) noexcept nogil:
    """End of ``HEAD* TAIL+`` at i, -1 if there is none; head becomes the end of the longest ``HEAD*``."""
    cdef Py_ssize_t j = i, last = -1
    cdef int width
    cdef u8 cls
    while j < n:
        cls = class_at(s + j, &width)
        if not cls & HEAD:
            if cls & LOWER:
                head[0] = j
                return run_end(s, j, n, TAIL)
            break
        j += width
        if cls & (UNCASED | MARK):
            last = j                # where giving back upper-case letters ends
    head[0] = j
    return last


cdef Py_ssize_t word_o200k(const u8* s, Py_ssize_t i, Py_ssize_t n, u8 cls, int width) noexcept nogil:
    """End of the word of o200k that begins at i, -1 if there is none.

    Both alternatives of the pattern are tried with a leading character that is no letter first, then without.
    """
    cdef Py_ssize_t end = -1, prefixed = -1, plain = -1
    if not cls & (LETTER | NUMBER | LINE_END):
        end = cased_end(s, i + width, n, &prefixed)
        if prefixed <= i + width:
            prefixed = -1           # HEAD+ of the second alternative needs one
    if end < 0 and cls & (LETTER | MARK):
        end = cased_end(s, i, n, &plain)
    if end < 0:
        end = prefixed if prefixed >= 0 else plain
        if end < 0:
            return -1
    return end + contraction(s + end, n - end)


cdef Py_ssize_t number_end(const u8* s, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """End of up to three digits."""
    cdef int width, digits = 0
    while i < n and digits < 3 and class_at(s + i, &width) & NUMBER:
        i += width
        digits += 1
    return i


cdef Py_ssize_t space_end(const u8* s, Py_ssize_t i, Py_ssize_t n, bint o200k) noexcept nogil:
    """End of the piece of white space at i: up to the last line end, else all but the last before a word."""
    cdef Py_ssize_t j = i, last = i, line = -1
    cdef int width
    cdef u8 cls
    while j < n:
        cls = class_at(s + j, &width)
        if not cls & SPACE:
            break
        last = j
        j += width
        if cls & LINE_END:
            line = j
    if j >= n and not o200k:        # cl100k takes white space at the end of the text whole
        return j
    if line >= 0:
        return line
    return j if j >= n or last == i else last


cdef class Counter:
    """Count the tokens of one packed byte-pair vocabulary exactly; immutable, so that threads may share it."""

    def __cinit__(self, str vocab_path, str style, *, str sha256=""):
        if style != "o200k" and style != "cl100k":
            raise ValueError(f"style {style!r} is not known, use o200k or cl100k")
        self._o200k = style == "o200k"
        self._open(vocab_path, sha256)

    def __dealloc__(self):
        free(self._offsets)
        free(self._table)
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
        while 4 * size < 5 * <u64>self.nvocab:
            size *= 2
        self._mask = size - 1
        self._table = <u64*>calloc(size, sizeof(u64))
        self._offsets = <u32*>malloc((self.nvocab + 1) * sizeof(u32))
        self._pairs = <u32*>malloc(0x10000 * sizeof(u32))
        if self._table == NULL or self._offsets == NULL or self._pairs == NULL:
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

    cdef Py_ssize_t _merge_heap(self, const u8* s, Py_ssize_t n, u8* size, u32* rank, u64* heap) noexcept nogil:
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

    cdef Py_ssize_t _piece_end(self, const u8* s, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
        """End of the piece that begins at i."""
        cdef int width
        cdef u8 cls = class_at(s + i, &width)
        cdef Py_ssize_t end, j
        end = word_o200k(s, i, n, cls, width) if self._o200k else word_cl100k(s, i, n, cls, width)
        if end >= 0:
            return end
        if cls & NUMBER:
            return number_end(s, i, n)
        end = j = i + 1 if s[i] == c' ' else i
        while end < n and not class_at(s + end, &width) & (SPACE | LETTER | NUMBER):
            end += width
        if end == j:
            return space_end(s, i, n, self._o200k)
        while end < n and (s[end] == c'\n' or s[end] == c'\r' or self._o200k and s[end] == c'/'):
            end += 1
        return end

    cdef Py_ssize_t count_utf8(self, const u8* text, Py_ssize_t n) except -1 nogil:
        cdef Py_ssize_t i = 0, end, tokens, total = 0
        while i < n:
            end = self._piece_end(text, i, n)
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
            end = self._piece_end(s, i, n)
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
