# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Split text into pieces as the patterns of o200k and cl100k do; no token spans two pieces.

Driven by the token counter (bpe.pyx). The pre-tokenizer is written by hand after the two published patterns.
No piece of theirs spans a line end that is followed by a character that is neither white space nor ``/``: the
counts of such lines add up, which is what the packet's budget rests on.
"""

from libc.string cimport memcmp, memcpy

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
    MAX_BLOCKS = 256

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


cdef Py_ssize_t piece_end(const u8* s, Py_ssize_t i, Py_ssize_t n, bint o200k) noexcept nogil:
    cdef int width
    cdef u8 cls = class_at(s + i, &width)
    cdef Py_ssize_t end, j
    end = word_o200k(s, i, n, cls, width) if o200k else word_cl100k(s, i, n, cls, width)
    if end >= 0:
        return end
    if cls & NUMBER:
        return number_end(s, i, n)
    end = j = i + 1 if s[i] == c' ' else i
    while end < n and not class_at(s + end, &width) & (SPACE | LETTER | NUMBER):
        end += width
    if end == j:
        return space_end(s, i, n, o200k)
    while end < n and (s[end] == c'\n' or s[end] == c'\r' or o200k and s[end] == c'/'):
        end += 1
    return end
