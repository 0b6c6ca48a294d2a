from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from engram_core.kernel.analysis cimport Tokens
from engram_core.kernel.lexicon cimport Lexicon

cdef enum Flag:
    ALIVE = 1
    DIALOGUE = 2
    TALK = 4  # another speaker than that of the turn before
    ASSISTANT = 8
    INSTRUCTION = 16
    HAS_TIME = 32
    HAS_NUMBER = 64
    QUESTION = 128

cdef enum:
    EXTRA = 0x80000000  # set in a document's list for a word that only adds to another
    NO_DAY = -1000000
    FAR = 255  # where the turns around a turn stand as they stand around hardly any other

cdef struct Link:  # neighbours of a turn within its session, -1 for none
    int32_t before
    int32_t after

cdef struct Beside:  # how many numbers away the turns are that a turn shares with, 0 for none
    int8_t before
    int8_t second_before
    int8_t after
    int8_t second_after

cdef struct Around:  # the turns a turn shares with: as far as speakers take turns, -1 for none
    int32_t before
    int32_t second_before
    int32_t after
    int32_t second_after

cdef struct Lengths:  # in words, and in 4-grams
    uint32_t lead
    uint32_t body
    uint32_t grams

cdef struct Listing:  # the document's words in order, kept for feedback, pairs and removal
    uint32_t* words
    uint32_t lead
    uint32_t n

cdef struct Session:
    int32_t last
    int32_t live
    int64_t length

cdef struct Interval:
    uint32_t doc
    int32_t first
    int32_t last

cdef class Documents:
    cdef readonly Lexicon lexicon
    cdef Tokens tokens
    cdef Py_ssize_t n
    cdef Py_ssize_t live
    cdef Py_ssize_t live_sessions
    cdef Py_ssize_t named_turns  # live turns whose speaker is no role
    cdef Py_ssize_t unpurged
    cdef int64_t lead_total
    cdef int64_t body_total
    cdef int64_t gram_total
    cdef int64_t session_total
    cdef uint32_t operation  # the newest that marked stems

    cdef uint8_t* flags
    cdef bint first_person  # while words are entered: somebody speaks of themselves
    cdef Link* links
    cdef uint8_t* beside  # which of the patterns: none for the first
    cdef Beside[FAR] patterns
    cdef int pattern_count
    cdef int32_t* session
    cdef int32_t* speaker
    cdef int32_t* day
    cdef Lengths* lengths
    cdef uint8_t* word_sizes  # words of a document that is nothing but lead; 0, as for few: see its lengths
    cdef uint8_t* gram_sizes  # its 4-grams
    cdef Listing* listings
    cdef Py_ssize_t[10] capacity

    cdef Session* sessions
    cdef Py_ssize_t session_count
    cdef Py_ssize_t session_capacity
    cdef Interval* intervals
    cdef Py_ssize_t interval_count
    cdef Py_ssize_t interval_capacity
    cdef uint32_t* instructions  # documents with that flag, in their order
    cdef Py_ssize_t instruction_count
    cdef Py_ssize_t instruction_capacity
    cdef uint32_t* buffer
    cdef Py_ssize_t buffer_capacity
    cdef int64_t listing_bytes

    cdef dict session_numbers
    cdef dict speaker_numbers
    cdef list speaker_names
    cdef list speaker_turns  # live turns by speaker
    cdef set speakers  # names of those with live turns
    cdef readonly Py_ssize_t speakers_version

    cdef Py_ssize_t add(self, str text, str session, str speaker, bint dialogue, int64_t ts_ms,
                        object intervals) except -1
    cdef int remove(self, Py_ssize_t doc) except -1
    cdef int64_t nbytes(self) noexcept

    cdef int _room(self) except -1
    cdef int _words(self, str text, Py_ssize_t doc) except -1
    cdef int _intern(self) except -1
    cdef int _post(self, Py_ssize_t doc, Py_ssize_t lead) except -1
    cdef int _enter_session(self, Py_ssize_t doc, str session) except -1
    cdef int _enter_speaker(self, Py_ssize_t doc, str speaker) except -1
    cdef int _leave_dialogue(self, Py_ssize_t doc) except -1
    cdef int _talk(self, Py_ssize_t doc) except -1
    cdef void _surround(self, int32_t doc) noexcept
    cdef uint8_t _pattern(self, int32_t doc) noexcept
    cdef Around around(self, Py_ssize_t doc) noexcept
    cdef Py_ssize_t first_interval(self, Py_ssize_t doc) noexcept
