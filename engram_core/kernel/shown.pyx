# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What a packet shows of its candidates: their lines, their order and tokens in it, and the lists of what is in and out.

Driven by recall/lines.py and recall/compose.py, after the budget was spent on a pool.
"""

from libc.stdint cimport int32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from engram_core.kernel.jsontext cimport JsonText
from engram_core.kernel.pool cimport Cand, Pool


cdef inline bint ahead(Cand* a, Cand* b) noexcept nogil:
    """Tell whether a is shown before b, which has the smaller number: parts of the state keep their order."""
    if a.doc < 0 or b.doc < 0:
        return False
    return a.pinned > b.pinned if a.pinned != b.pinned else a.score > b.score


def lines(Pool pool not None, list numbers, list books, dict found):
    """Look the lines of ranked candidates up in each layer's ``books``, by document number.

    Puts into ``found``, by number, what is there and returns the numbers of what is not.
    """
    cdef Cand* one
    cdef list missing = []
    for number in numbers:
        if number in found:
            continue
        one = pool._item(number)
        line = (<dict>books[one.layer]).get(one.doc)
        if line is None:
            missing.append(number)
        else:
            found[number] = line
    return missing


def arranged(Pool pool not None, list kept):
    """Return (array, numbers) for each array that has something.

    Parts of the state are in the order they came, all else is pinned first and then by score.
    """
    cdef Py_ssize_t i, j, n = len(kept), size
    cdef int32_t[32] sizes
    cdef int32_t array, number
    cdef int32_t* numbers
    cdef list found = []
    memset(sizes, 0, sizeof(sizes))
    numbers = <int32_t*>malloc(max(1, n) * sizeof(int32_t))
    if numbers == NULL:
        raise MemoryError()
    try:
        for i in range(n):
            numbers[i] = kept[i]
            sizes[pool._item(numbers[i]).array & 31] += 1
        for array in range(32):
            if not sizes[array]:
                continue
            size = 0
            for i in range(n):  # those of this array, moved to the front and kept in their order there
                if pool.items[numbers[i]].array == array:
                    number = numbers[i]
                    for j in range(i, size, -1):
                        numbers[j] = numbers[j - 1]
                    numbers[size] = number
                    size += 1
            arrange(pool, numbers, size)
            found.append((array, [numbers[i] for i in range(size)]))
            for i in range(size, n):
                numbers[i - size] = numbers[i]
            n -= size
    finally:
        free(numbers)
    return found


def tokens(Pool pool not None, list numbers):
    """Return the tokens of some candidates in the form they are kept in, when they are shown in this order."""
    cdef Cand* one
    cdef long long tokens = 0
    cdef Py_ssize_t i, n = len(numbers)
    for i in range(n):
        one = pool._item(numbers[i])
        tokens += one.cost[2 * max(0, one.kept) + (i == n - 1)]
    return tokens


cdef void arrange(Pool pool, int32_t* numbers, Py_ssize_t n) noexcept:
    """Sort by number, which is the order of scores but for joined candidates, and then by what is shown first."""
    cdef Py_ssize_t i, j
    cdef int32_t number
    for i in range(1, n):
        number = numbers[i]
        j = i
        while j and numbers[j - 1] > number:
            numbers[j] = numbers[j - 1]
            j -= 1
        numbers[j] = number
    for i in range(1, n):
        number = numbers[i]
        j = i
        while j and ahead(&pool.items[number], &pool.items[numbers[j - 1]]):
            numbers[j] = numbers[j - 1]
            j -= 1
        numbers[j] = number


def shortened(Pool pool not None, list kept):
    """Return (number, form, section, tokens saved) of those that are not kept in full."""
    cdef Cand* one
    cdef list found = []
    for number in kept:
        one = pool._item(number)
        if one.kept > 0:
            found.append((number, one.kept, one.section, max(one.cost[0], one.cost[1]) - max(
                one.cost[2 * one.kept], one.cost[2 * one.kept + 1])))
    return found


def docs(Pool pool not None, list numbers):
    """Return (layer, document number) of the ranked ones among some candidates."""
    cdef Cand* one
    cdef list found = []
    for number in numbers:
        one = pool._item(number)
        if one.doc >= 0:
            found.append((one.layer, one.doc))
    return found


def ids_of(Pool pool not None, list numbers, set kinds):
    """Return the ids of those of some kinds among some candidates."""
    return {pool.id(number) for number in numbers if pool._item(number).kind in kinds}


def selected(Pool pool not None, list numbers, list sections):
    """Return id, section and score of some candidates as one JSON text; ``sections`` are their names."""
    cdef JsonText out = JsonText()
    cdef Cand* one
    for number in numbers:
        one = pool._item(number)
        out.raw(',{"id":' if out.n else '{"id":')
        out.quoted(pool._id(one))
        out.raw(',"section":"')
        out.raw(<str>sections[one.section])
        out.raw('","score":')
        out.places(one.score)
        out.raw("}")
    return out.text()


def omissions(Pool pool not None, list heads, list tails):
    """Return the omitted as one JSON text; ``heads`` by section and ``tails`` by reason enclose each id."""
    cdef Py_ssize_t i
    cdef Cand* one
    cdef JsonText out = JsonText()
    for i in range(pool.n):
        one = &pool.items[i]
        pool._fetch_ids(i)
        if one.kept < 0:
            if out.n:
                out.raw(",")
            out.raw(<str>heads[one.section])
            out.quoted(pool._id(one))
            out.raw(<str>tails[one.reason])
    return out.text()


def left_out(Pool pool not None):
    """Return (section, reason, number of candidates) for all that was omitted."""
    cdef Py_ssize_t i
    cdef int counts[16][32]
    cdef int section, reason
    memset(counts, 0, sizeof(counts))
    for i in range(pool.n):
        if pool.items[i].kept < 0:
            counts[pool.items[i].section & 15][pool.items[i].reason & 31] += 1
    return [(section, reason, counts[section][reason]) for section in range(16) for reason in range(32)
            if counts[section][reason]]
