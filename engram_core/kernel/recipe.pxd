cdef struct Recipe:
    float k1
    float b
    float session_b
    float body
    float grams
    float pairs
    float feedback
    float feedback_documents
    float feedback_terms
    float related
    float related_documents
    float related_beside
    float previous
    float next
    float second_previous
    float second_next
    float assistant
    float assistant_asked
    float speaker
    float session
    float session_least
    float time
    float time_days
    float asked
    float question
    float instruction
    float meaning

cdef int read_recipe(object weights, Recipe* recipe) except -1
