"""The real tokenizers, built offline from the shipped ranks and published patterns, and texts for them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from unittest.mock import patch

import tiktoken
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from tiktoken_ext import openai_public  # type: ignore[import-untyped]

VOCABULARIES = Path(__file__).parent.parent / "engram_core" / "vocab"


def packed_tokens(name: str) -> list[bytes]:
    """Read a packed vocabulary in plain Python: magic, counts, lengths, bytes."""
    data = (VOCABULARIES / f"{name}.bpe").read_bytes()
    tokens = int.from_bytes(data[8:12], "little")
    found, at = [], 16 + tokens
    for length in data[16:at]:
        found.append(data[at:at + length])
        at += length
    assert at == len(data)
    return found


@cache
def encoding(name: str) -> tiktoken.Encoding:
    """Return tiktoken's encoding of this name; special-token text is ordinary text in it."""
    with patch.object(openai_public, "load_tiktoken_bpe", lambda *_, **__: {}):  # it would download
        pattern = getattr(openai_public, name)()["pat_str"]
    ranks = {token: rank for rank, token in enumerate(packed_tokens(name))}
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def count(name: str, text: str) -> int:
    """Return tiktoken's count of a text."""
    return len(encoding(name).encode_ordinary(text))


TEXTS = {
    "empty": "",
    "english": "The quick brown fox can't jump over 13 lazy dogs; they'll've SEEN it. O'Neill's CD's.",
    "german": "Straßenbahnhaltestellenhäuschen, Ärger über Größe: „Übermut“ – 1.234,56 €",
    "czech": "Příliš žluťoučký kůň úpěl ďábelské ódy. Zażółć gęślą jaźń.",
    "vietnamese": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
    "turkish": "İstanbul'da ılık bir ağustos akşamı; DİYARBAKIR'ın ışıkları",
    "russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. ЁЖИК",
    "greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι. ΣΊΣΥΦΟΣ ς",
    "georgian": "ყველა ადამიანი იბადება თავისუფალი. ᲥᲐᲠᲗᲣᲚᲘ",
    "armenian": "Բոլոր մարդիկ ծնվում են ազատ ու հավասար:",
    "hebrew": "כָּל בְּנֵי הָאָדָם נוֹלְדוּ בְּנֵי חוֹרִין וְשָׁוִים בְּעֶרְכָּם",
    "arabic": "يُولَدُ جميعُ النّاسِ أحرارًا متساوين في الكرامة والحقوق، ١٢٣٤٥",
    "hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है। १२३४",
    "tamil": "மனிதப் பிறிவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்",
    "thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ๑๒๓",
    "burmese": "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် မွေးဖွားလာသူများ ဖြစ်သည်။",
    "tibetan": "འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས་ལ་སྐྱེས་ཙམ་ཉིད་ནས་ཆེ་མཐོངས་དང༌།",
    "amharic": "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው።",
    "chinese": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "japanese": "すべての人間は、生まれながらにして自由であり、ｶﾀｶﾅ、①②③、㍿",
    "korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "cherokee": "ᏂᎦᏓ ᎠᏂᏴᏫ ᏂᎨᎫᏓᎸᎾ ᎠᎴ ᎤᏂᏠᏱ",
    "rare": "𠀀𠀁𪛖 𓀀𓂀 𐍈 𞤀𞤢 𝔘𝔫𝔦 Ⅻ ½ ⅷ 𒐀",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈 🙂🙂🙂 👍🏽 🇩🇪🇫🇷 ❤️‍🔥",
    "marks": "e\u0301\u0301 \u0301\u0301a n\u0303o !\u0301 \u0903क a\u20dd",
    "combined": "ʰword WORDʰ ǅungla Ǆ ªº \u0130\u0131 ſ 'ſ don'ſ I'S WE'LL you'Re",
    "spaces": "a  b   c\u00a0\u00a0d\u2003e\u3000f\tg \t h\u2028i\u2029j\u0085k \u200b l  ",
    "line ends": "a\n\nb\r\nc\rd \n e\n \n\t\nf\n/g\n  /h\n!\n\n/\n",
    "json": '{"id": "01J8", "text": "a\\n\\"b\\"", "n": [1, 22, 333, 4444], "ok": true, "x": null}',
    "code": "def f(x):\n    if x >= 0x1F:\n        return {k: v for k in x}  # done\n\n\treturn None\n",
    "diff": "--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@\n-    old()\n+    new()\n//////// https://x.y/z?q=1&r=%20#f",
    "table": "| a | b |\n|---|---|\n| 1 | 2 |\n" + "=" * 90 + "\n" + "-" * 130 + "\n" + "." * 300,
    "hex": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "base64": "SGVsbG8sIHdvcmxkISBUaGlzIGlzIGEgdGVzdC4gTG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQsIGNvbnNlY3RldHVy",
    "special": "<|endoftext|><|im_start|>user<|fim_prefix|><|endofprompt|>",
    "control": "\x00\x01\x1b[31mred\x1b[0m\x7f\ufeff\ufffe\uffff\U0010ffff\ue000",
    "unassigned": "\u0378\u0379\U000e0001\U00016ea0\U000323b0",
}

# Characters at which the patterns decide: contractions, letters of each case, marks, digits, white space.
EDGES = "'sStTrReEvVmMlLdD\u017f \t\n\r\u0085\u00a0\u2028/!;<|>½123\u0301\u0903ǅʰªñÑЖж你の한\u200d🙂aAzZ"


def hostile_texts(max_size: int = 60) -> SearchStrategy[str]:
    """Return texts of edge characters, of all Unicode, of long runs and of the fixed texts, mixed."""
    runs = st.tuples(st.sampled_from(EDGES), st.integers(1, 300)).map(lambda drawn: drawn[0] * drawn[1])
    parts = st.one_of(
        st.text(st.sampled_from(EDGES), max_size=max_size),
        st.text(max_size=max_size),
        runs,
        st.sampled_from(sorted(TEXTS.values())),
    )
    return st.lists(parts, max_size=4).map("".join)
