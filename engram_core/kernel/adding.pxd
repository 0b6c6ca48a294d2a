from libc.stdint cimport int32_t, uint8_t

from engram_core.kernel.documents cimport FAR, Around, Beside, Documents
from engram_core.kernel.matching cimport Sheet

cdef struct Weights:  # what the sums over all documents are made with
    float asked  # factor on the turns that are ``halved``
    float speaker
    float previous
    float second_previous
    float next
    float second_next
    float long_turn_tokens
    float session
    float instruction
    int32_t named  # the speaker, or -1
    uint8_t halved  # flags
    int planes  # bytes of a document's terms
    float[256] cues  # what a live document gains by its flags
    float[8][256] worths  # the share of the question's worth that the terms of each byte have together

cdef void add_up(Documents documents, Sheet* sheet, const Weights* weights, const float* sessions, float* data) noexcept
cdef float near(Documents documents, const Sheet* sheet, const Weights* weights, Py_ssize_t doc) noexcept
cdef float session_part(float context, float session, const Weights* weights) noexcept
cdef float share_around(Documents documents, const Sheet* sheet, const Weights* weights, Py_ssize_t doc) noexcept
cdef uint8_t terms_around(Documents documents, const Sheet* sheet, Py_ssize_t doc, int plane) noexcept
