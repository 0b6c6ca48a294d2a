from libc.stdint cimport int32_t, uint8_t

from engram_core.kernel.documents cimport FAR, Around, Beside, Documents
from engram_core.kernel.matching cimport Sheet
from engram_core.kernel.question cimport Question

cdef struct Weights:  # what the sums over all documents are made with
    float asked  # factor on the turns that are ``halved`` and on what they receive
    float speaker
    float previous
    float second_previous
    float next
    float second_next
    float session
    float instruction
    int32_t named  # the speaker, or -1
    uint8_t halved  # flags
    uint8_t wanted  # flags that tell of what is asked for
    float[256] cues  # what a live document gains by its flags

cdef void add_up(Documents documents, Sheet* sheet, Question question, const Weights* weights, const float* sessions,
                 float* data) noexcept
cdef float near(Documents documents, const Sheet* sheet, const Weights* weights, Py_ssize_t doc) noexcept
cdef float session_part(float context, float session, const Weights* weights) noexcept
cdef float share_around(Documents documents, const Sheet* sheet, Question question, Py_ssize_t doc) noexcept
cdef uint8_t terms_around(Documents documents, const Sheet* sheet, Py_ssize_t doc, int plane) noexcept
