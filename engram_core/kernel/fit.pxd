cdef struct Section:
    double share
    long long limit        # the largest number when there is none
    long long cap
    long long used
    long long guard        # shortest cost among the better items omitted so far, within one pass
    long long opening
    long long modest       # no longer form is taken before every item had its turn
    long long places
    long long kept
    int tail               # where in by_section the section's last kept item stands, -1 without one

cdef class Fit:
    cdef int n, sections
    cdef bint ran
    cdef long long wrapper, budget, total, items
    cdef Section* section
    cdef int* home         # an item's section
    cdef int* first        # where an item's steps begin in cost and label, n + 1 entries
    cdef int* cost
    cdef int* label        # the caller's number of a step's form
    cdef int* chosen       # the kept step, or GONE or OVER
    cdef int* by_section   # items grouped by section, each group in rank order
    cdef int* place        # where in by_section an item stands
    cdef int* group        # where in by_section a section's group begins, sections + 1 entries

    cdef int _read_sections(self, list sections) except -1
    cdef int _check_shape(self, Py_ssize_t starts, Py_ssize_t lasts) except -1
    cdef int _check_items(self, int total, const int* homes, const int* starts, const int* costs,
                          const int* lasts) except -1
    cdef int _read_items(self, int total, const int* homes, const int* starts, const int* costs,
                         const int* lasts) except -1
    cdef int _group_by_section(self) except -1
    cdef void _reset(self, Section* one) noexcept
    cdef void _fill(self) noexcept
    cdef void _restore(self, bint modestly) noexcept
    cdef void _admit(self) noexcept
    cdef void _spread(self) noexcept
    cdef void _clear_guards(self) noexcept
    cdef long long _room(self, Section* one, long long ceiling) noexcept
    cdef int _longest(self, int i, long long room, long long modest) noexcept
    cdef void _keep(self, int i, int step) noexcept
    cdef void _swap(self, int i, int step, int last) noexcept
    cdef void _charge(self, Section* one, long long tokens) noexcept
    cdef int _must_have_run(self) except -1
    cdef int _item(self, object i) except -1
    cdef long long _lacks_in_section(self, int i) noexcept
    cdef long long _lacks_in_total(self, int i) noexcept
    cdef int kept_form(self, int at) noexcept
    cdef int why(self, int at) noexcept
    cdef long long lacks(self, int at) noexcept
