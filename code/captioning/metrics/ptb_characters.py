"""Which characters the Java tokenizer takes for letters, and which it drops, beyond what Python's `\\w` says.

Found by giving the program (PTBTokenizer of CoreNLP 3.4.1) each character of the Basic Multilingual Plane, alone, in a
word, in a number and beside a mark. Its Unicode is an old one: Devanagari's vowel signs belong to their word, those of
Malayalam in part, those of Sinhala or Khmer are dropped and cut the word in two.
"""


def _class(ranges: str) -> str:
    """The inside of a regular expression's class from "first-last" in hexadecimal."""
    ends = (part.partition("-") for part in ranges.split())
    return "".join(rf"\u{int(a, 16):04x}-\u{int(b or a, 16):04x}" for a, _, b in ends)


# Combining marks, and a few signs, that stand in a word as a letter does (but not in a word with a hyphen).
MARKS = _class(
    """2c2-2c5 2d2-2df 2e5-2eb 2ed 2ef-36f 375 384-385 3f6 483-487 55a-55f 591-5bd 5bf 5c1-5c2 5c4-5c5 5c7 615-61a
    64b-65e 670 6d6-6e4 6e7-6ed 6fd-6fe 70f 711 730-74a 7a6-7b0 7eb-7f3 900-903 93c 93e-94e 951-955 962-963 981-983
    9bc 9be-9cd 9d7 9e2-9e3 a01-a03 a3c-a4d a81-a83 abc abe-acd b82 bbe-bcd c01-c03 c3e-c56 d3e-d48 e31 e34-e3a
    e47-e4e eb1 eb4-ebc ec8-ecd 1885-1886"""
)
# Characters that it prints nothing for. They part words, as a blank does.
DROPPED = _class(
    """81-84 86-90 95 98-a0 37f 482 488-489 528-52f 560 588 58d-58f 5ef 604-605 60d-613 61c-61d 65f 7f9 7fd-7ff
    816-819 81b-823 825-827 829-83e 859-89f 8a1 8ad-8ff 93a-93b 94f 956-957 970 978 980 9f2-9fe a51 a70-a71 a75-a76
    ae2-ae3 af0-b03 b3c b3e-b57 b62-b63 b70 b72-b77 bd7 bf0-c00 c04 c34 c3c c5a-c5d c62-c63 c77-c84 cbc cbe-cdd
    ce2-ce3 d00-d04 d3b-d3c d4a-d4d d4f-d5f d62-d63 d70-d79 d81-d83 dca-df4 e5a-e5b e86 e89 e8c e8e-e93 e98 ea0
    ea8-ea9 eac f01-f1f f2a-f3f f71-f87 f8d-fda 102b-103e 104a-104f 1056-1059 105e-1060 1062-1064 1067-106d 1071-1074
    1082-108d 108f 109a-109f 10fb 135d-137c 1390-1399 13f5-1400 166d-166e 1680 169b-169c 16eb-16f8 170d 1712-171f
    1732-1736 1752-1753 1772-1773 17b4-17d6 17d8-17db 17dd 17f0-180f 1878 18a9 191d-1945 19b0-19c0 19c8-19c9 19da-19ff
    1a17-1a1f 1a55-1a7f 1aa0-1aa6 1aa8-1b04 1b34-1b44 1b4c 1b5a-1b82 1ba1-1bad 1be6-1bff 1c24-1c3f 1c7e-1ce8 1ced
    1cf2-1cf4 1cf7-1cfa 1dc0-1dff 1fbf-1fc1 1fcd-1fcf 1fdd-1fdf 1fed-1fef 1ffd-200f 2012 2024-2025 2027 202a-202f
    203c-203d 2043 2045-206f 20a1-20a3 20a5-20ab 20ad-20f0 2150-2152 215f-2182 2185-218b 2c2f 2c5f 2ce5-2cea 2cef-2cf1
    2cf9-2cff 2d70-2d7f 2de0-2e2e 2e30-3000 3003-3004 3007-3011 3013-3030 3036-303a 303d-303f 3099-309c 30a0 312e-312f
    3190-319f 31bb-31e3 3200-33ff 4db6-4dff 9fcd-9fff a490-a4c6 a4fe-a4ff a60d-a60f a66f-a67e a698-a69f a6e6-a716
    a720-a721 a789-a78a a78f a794-a79f a7ab-a7f7 a802 a806 a80b a823-a839 a874-a881 a8b4-a8cf a8e0-a8f1 a8f8-a8fa
    a8fc-a8ff a926-a92f a947-a95f a980-a983 a9b3-a9cd a9de-a9fe aa29-aa36 aa43 aa4c-aa4d aa5c-aa5f aa77-aa79 aa7b-aa7f
    aab0 aab2-aab4 aab7-aab8 aabe-aabf aac1 aade-aadf aaeb-aaf1 aaf5-aaf6 ab30-abbf abe3-abed fb1e fb29 fbb2-fbc2
    fd3e-fd4f fdcf fdfc-fe6b feff ffe2-ffe4 ffe8-fffd
    d800-dfff"""  # a lone half of a surrogate pair, which no program could read
)
