"""What recall knows about English: words that carry no meaning, and words that tell what a text or question is.

Read by the text analysis; another language starts without such lists and loses only these cues.
"""

from __future__ import annotations

_STOP = """
    a about after all also am an and any are aren't as at be because been before being between both but by can can't
    cannot could couldn't did didn't do does doesn't doing don't down during each few for from further get got had
    hadn't has hasn't have haven't having he her here hers herself him himself his how i i'd i'll i'm i've if in into
    is isn't it it's its itself just let's like me more most my myself no nor not now of off on once only or other our
    ours ourselves out over own really same she should so some such than that that's the their theirs them themselves
    then there these they this those through to too under until up us very was wasn't we we're were weren't what
    what's when where which while who whom why will with won't would you you'd you'll you're you've your yours
    yourself yourselves s t d m ll re ve hey hi yeah wow oh thanks thank
    """
STOP = frozenset(_STOP.split())

FIRST_PERSON = frozenset(["i", "me", "mine", "my"])

_NUMBERS = "one two three four five six seven eight nine ten dozen hundred thousand couple"
NUMBERS = frozenset(_NUMBERS.split())

# A speaker who says one of these states a standing wish.
INSTRUCTIONS = (
    "always", "never", "from now on", "i prefer", "i'd prefer", "i like to", "i'd like you to", "make sure to",
    "make sure you", "don't ever", "please always", "please use", "please avoid", "please include", "please keep",
    "whenever i", "whenever i'm", "whenever i've", "whenever i'd", "whenever i'll", "when i ask",
)  # fmt: skip

# What a question asks for; matched against the question as typed, without regard to case.
ASKS_WHEN = (
    r"^\s*(when|what (date|day|month|year|time)|how long|which (day|month|year))"
    r"|\b(what|which) (date|month|year)\b"
)
ASKS_NUMBER = r"\bhow (many|much|old|long|often)\b"
ASKS_ASSISTANT = (
    r"\b(did|do|have|had|were|are) you\b"
    r"|\byou (recommend|suggest|said|say|told|tell|advise|mention|explain|give|gave|provide|list|propos)"
    r"|\byour (advice|recommendation|suggestion|answer|explanation|list|response)"
)

# Groups of words that an expression of time has to hold, as bits; with them a text is searched only for the
# expressions it can have.
FIGURE, YEAR, MONTH, WEEKDAY, SEASON, UNIT, AGO, WHICH, DAYTIME, NOW, IN, ON = (1 << bit for bit in range(12))

TIME_WORDS = {
    MONTH: """
        january february march april may june july august september october november december jan feb mar apr jun jul
        aug sep sept oct nov dec
        """,
    WEEKDAY: "monday tuesday wednesday thursday friday saturday sunday",
    SEASON: "spring summer fall autumn winter",
    UNIT: "day days week weeks weekend weekends month months year years",
    AGO: "ago back earlier",
    WHICH: "last past this next coming other",
    DAYTIME: "night morning afternoon",
    NOW: "yesterday today tonight tomorrow",
    IN: "in",
    ON: "on",
}
