"""Writes tests/golden/regex.json: how the `tokenizers` package (Oniguruma) cuts texts by expressions.

    python3 tests/golden/regexes.py          (tokenizers 0.23)

For each expression, and each text, the lengths in bytes of the pieces that an isolating Split gives;
then, for a few, the pieces of each behavior of Split, inverted ("~") or not.
"""
import json
import pathlib

from tokenizers import Regex, pre_tokenizers

PLACE = pathlib.Path(__file__).parent / "regex.json"

TEXTS = [
    "", "a", "\n", "aaa aab\nabc\n\nb", "It's 1234567 o'clock, DON'T ask: \t x=0xFF;  y\r\n",
    "ß ss SS ẞ ſs sſs ﬃ ffi FFI ﬀi ﬆ st ẚ aʾ ΐ ǰ k K \u212a i İ i̇ ı",
    "e\u0301te\u0301 naïve_x ‿ ²³¼½ Ⅷ ١٢٣ १२ ªº µ 𝟘 שָׁלוֹם हिन्दी ไทย 漢字かなカナ한국어",
    "\u00a0\u1680\u180e\u2003\u2028\u2029\u202f\u3000\u200b\u0085x\x0b\x0c y",
    "\u0363\u0897\u1c89\u1c8a\ua7cb\u0264\U00010d50\U00010d70\U0001171e\U00031350 a\u2427",  # Unicode 15, 16
    "aZ09_-[]{}()&^$.*+?|\\/#~\"'<>=!,;:@%", "aaaabbbbccccdddd", "abababab xyzzy foofoo", "ab12CD34_é٣",
]

PATTERNS = r"""
a* a+? a?? a{2} a{2,} a{,2} a{2,3}? a{3,1} a{3,1}a a{2}? a{2}+ a{1,2}+ a{2}{2} a** a+* a?+ a*+a a++ab (?:a??)* (?:a+?)?
(?:a|ab)(?:c|bc) (?>a|ab)c (?>a+)b (?=a)aa (?!a)\w (?<=a)b (?<!a)b (?<=a|bc)b (?<![ab]c)d (?<=\n)a ^a a$ ^ $ \Aa a\z a\Z \Ga \G
\b \B \b\w \w\b \B\w+ . (?m:.)+ (?m:a.) \N \O+ \R \R+ \s \S+ \w+ \W+ \d \D+ \h+ \H+
[a-c] [^a-c]+ []a] [^]a]+ [a-] [-a] [a-c-e] [--a] [!--] [[a]-c] [a-c&&b-d] [a-z&&[^b]] [^a-z&&[^b]]+ [a&&] [&&a] [a&b] [a&&&b]
[[ab][^\w]] [^[^ab]] [^[ab]\d]+ [a[^b]] [\W_]+ [^\Wx]+ [\D&&\w]+ [\w&&[^\d]]+ [\s\S] [^\s\S] [\P{L}x]+ [[:^alpha:]x]+ [\p{^Lu}&&\p{L}]+
[[:alnum:]]+ [[:alpha:]]+ [[:blank:]]+ [[:cntrl:]]+ [[:digit:]]+ [[:graph:]]+ [[:lower:]]+ [[:print:]]+ [[:punct:]]+ [[:space:]]+
[[:upper:]]+ [[:xdigit:]]+ [[:word:]]+ [[:ascii:]]+ [:alpha:]+
\p{L}+ \p{Lu} \p{Lowercase_Letter}+ \p{M} \p{Mn} \p{Mc} \p{N}+ \p{No} \p{P} \p{S}+ \p{Z}+ \p{C}+ \p{Cn} \p{LC}+ \p{Any} \p{Assigned}+ \P{L}+
\p{^N}+ \p{alpha}+ \p{Punct}+ \p{Word}+ [\p{Word}]+ \p{Space}+ \p{Han}+ \p{hira_gana} \p{Latin}+ [\p{Greek}\p{Hebrew}]+ [^\p{Mn}\p{L}]+ \p{Upper} \p{Lower}+
[^\p{C}]+ [^\p{Mn}]+ [\p{Cn}x]
(?i:ss) (?i:ß) (?i:sss) (?i:ffi) (?i:ﬀi) (?i:st) (?i:k) (?i:i) (?i:İ) (?i:ʾ) (?i:aʾ) (?i:[ß]) (?i:[ßs])+ (?i:[^ß])+ (?i:[a-k])+ (?i:[^\s\p{L}])+
(?i:\p{Lu}) (?i:ɤ) (?i:[Ᲊ]) (?i:\x{10d50}) (?i:s(?:s)) (?i:s)(?i:s) (?i:s)s s(?i:s) (?i:ss+) (?i:s{2}) (?<=(?i:s))s (?i:'s|'t|'re|'ve|'m|'ll|'d)
(?i)a|B a(?i)b|c (?i:a(?-i)b)|C (?i:a)b (?-i:a)
(a)\1 (ab)+\1 (?:(a)|b)\1 (a|b)(c)?\2 \1(a) (?<x>ab)\k<x> (?'n'o)\k'n' (.)\k<-1> (a)|\1b
\x61 \x{61} \x{1F600}|a \u0061 [\u0061-\u0063] \141 \o{141} [\141] \xC3\xA9 \x \xZ \t \n \e|a \cA|b \. \" \- \< \Q \pL \8|a a{ a{1 a{,} a{1, {a }
(?x:a\ b) (?#comment)a a(?#x)+ (?x:a#c b)|c a()b () (?:) a||b | (?:a|)+ (?:a*)+ (?:a?)*b (?:|a)* (a|b*)*c
""".split()
PATTERNS += [
    "(?x: a b # c\n)", "(?x:\u3000x)", "(?x:a\tb\u0085)", "(?x: [ a ] + )", " ?[^(\\s|[.,!?])]+", "a |b", " {2,}", "[ \t]+", "\\s+(?!\\S)|\\s+", "'s| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|\s+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
]

BEHAVIORS = ["Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"]
BEHAVING = ["a", "a*", "", "ab|b", r"\s+|\w+", r"(?=b)", r"$|a", r"[ab]|^"]
BEHAVING_TEXTS = ["", "a", "b", "aab", "baab abba", "ab\nab\n", " a  b", "aaa", "bbb", "é a\u0301b\U00031350a"]


def cut(split, text):
    return [len(piece.encode()) for piece, _ in split.pre_tokenize_str(text)]


def main():
    cases = []
    for pattern in PATTERNS:
        try:
            split = pre_tokenizers.Split(Regex(pattern), "isolated")
        except Exception as error:  # pylint: disable=broad-except
            cases.append({"pattern": pattern, "error": str(error).replace("Oniguruma error: ", "")})
            continue
        cases.append({"pattern": pattern, "sizes": [cut(split, text) for text in TEXTS]})
    behaving = []
    for pattern in BEHAVING:
        for behavior in BEHAVIORS:
            snake = "".join("_" + c.lower() if c.isupper() else c for c in behavior)[1:]
            for invert in False, True:
                split = pre_tokenizers.Split(Regex(pattern), snake, invert)
                behaving.append({"pattern": pattern, "behavior": "~" * invert + behavior,
                                 "pieces": [[piece for piece, _ in split.pre_tokenize_str(text)]
                                            for text in BEHAVING_TEXTS]})
    lines = [json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in cases]
    more = [json.dumps(case, separators=(",", ":")) for case in behaving]
    PLACE.write_text('{"texts":%s,\n"cases":[\n%s\n],\n"behaving_texts":%s,\n"behaving":[\n%s\n]}\n' %
                     (json.dumps(TEXTS), ",\n".join(lines), json.dumps(BEHAVING_TEXTS), ",\n".join(more)))


main()
