# cython: language_level=3
"""Name every weight of the text score, with its default, and read the weights of one question.

Driven by the index; policies set the weights by these names. Scores are normalised by the question's own total, so a
weight means the same for every question: 1 is about the score of a short text that holds all of its words.
"""

RECIPE = {
    # Words: BM25F over the fields of a text.
    "k1": 1.15,  # how soon more occurrences of a word stop to count
    "b": 0.49,  # how much a long text pays for its length
    "body": 0.1,  # a word behind the lead of a long text, against one in the lead
    # What is added to the words.
    "grams": 0.5,  # character 4-grams, which forgive spelling
    "pairs": 0.51,  # neighbouring words found as neighbours
    "feedback": 0.79,  # words typical of the best texts
    "feedback_documents": 3,
    "feedback_terms": 20,
    "related": 1.7,  # words related to those that hardly any memory holds ("kids" finds "children")
    "related_documents": 4,  # a word in more documents than this speaks for itself
    "related_beside": 0.6,  # how much of that related words are worth where some memory holds the word itself
    "meaning": 0,  # likeness to the question by the embedding model that embed.model names
    # Who speaks.
    "assistant": 0.33,  # factor on an assistant's turn, and what it receives, in chats of user and assistant
    "assistant_asked": 0.6,  # the same when the question asks what "you" said
    "speaker": 0.57,  # the one speaker the question names
    "instruction": 0.33,  # a standing wish ("always", "I prefer"), as far as it is about what the question is about
    "question": 0.58,  # taken from a turn that only asks
    # What stands around it: shares of the neighbours' scores, across a change of speaker.
    "previous": 0.26,
    "next": 0.19,
    "second_previous": 0.18,
    "second_next": 0.16,
    "session": 0.46,  # the session's own BM25 against the best session's
    "session_least": 0.14,  # against this much of the question's words, where no session has as many
    "session_b": 0.6,
    # Time.
    "time": 0.6,  # dated in the asked interval
    "time_days": 35,  # over which that fades
    # What the question asks for.
    "asked": 0.25,  # the text speaks of the asked days; where it asks when, of any; where it asks how many, of a number
}

SHARES = frozenset(["b", "session_b"])  # mixtures of two things; more than all of one makes no sense

cdef Recipe defaults


cdef int read_recipe(object weights, Recipe* recipe) except -1:
    """Fill the recipe with the defaults and, over them, the given weights."""
    recipe[0] = defaults
    if weights is None:
        return 0
    for name, value in weights.items():
        if name not in RECIPE:
            raise ValueError(f"weights has {name!r}; allowed are {', '.join(sorted(RECIPE))}")
        most = 1 if name in SHARES else 1000
        if not 0 <= value <= most:
            raise ValueError(f"weights.{name} is {value!r}; it must be a number from 0 to {most}")
        put(recipe, name, value)
    return 0


cdef int put(Recipe* recipe, str name, float value) except -1:
    if name == "k1":
        recipe.k1 = value
    elif name == "b":
        recipe.b = value
    elif name == "session_b":
        recipe.session_b = value
    elif name == "body":
        recipe.body = value
    elif name == "grams":
        recipe.grams = value
    elif name == "pairs":
        recipe.pairs = value
    elif name == "feedback":
        recipe.feedback = value
    elif name == "feedback_documents":
        recipe.feedback_documents = value
    elif name == "feedback_terms":
        recipe.feedback_terms = value
    elif name == "related":
        recipe.related = value
    elif name == "related_documents":
        recipe.related_documents = value
    elif name == "related_beside":
        recipe.related_beside = value
    elif name == "previous":
        recipe.previous = value
    elif name == "next":
        recipe.next = value
    elif name == "second_previous":
        recipe.second_previous = value
    elif name == "second_next":
        recipe.second_next = value
    elif name == "assistant":
        recipe.assistant = value
    elif name == "assistant_asked":
        recipe.assistant_asked = value
    elif name == "speaker":
        recipe.speaker = value
    elif name == "session":
        recipe.session = value
    elif name == "session_least":
        recipe.session_least = value
    elif name == "time":
        recipe.time = value
    elif name == "time_days":
        recipe.time_days = value
    elif name == "asked":
        recipe.asked = value
    elif name == "question":
        recipe.question = value
    elif name == "instruction":
        recipe.instruction = value
    elif name == "meaning":
        recipe.meaning = value
    return 0


for name, value in RECIPE.items():
    put(&defaults, name, value)
