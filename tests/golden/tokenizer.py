"""Writes tests/golden/tokenizer: tokenizers trained by the `tokenizers` package, and what they give.

    python3 tests/golden/tokenizer.py          (tokenizers 0.23)

gpt2.json cuts as GPT-2 does, split.json in three steps of another kind, added.json has added tokens
that overlap and strip. expected.json has the texts that gpt2.json was trained on, and for each file
texts with their ids: `special` with the special tokens found in the text, `plain` without.
"""
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PLACE = pathlib.Path(__file__).parent / "tokenizer"
WORDS = 600
SPECIAL = ["<|endoftext|>", "<|pad|>"]
GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

NASTY = [
    "", " ", "  ", "\n", "\n\n \n", "a", " a", "a ", "   leading and trailing   ",
    "It's we'll they've I'M you'RE don't 'twas ''s 'sdas", "tab\tand\r\nreturn\r\rand\x0b\x0c",
    "0 1 23 456 7890 1,234.5 3e-7 0x1F", "½ ⅷ ² ١٢٣ १२ 四 𝟘𝟙", "naïve café Å Ångström ẞß ŒœĲĳ",
    "Ελλάδα Россия עברית العربية हिन्दी ไทย 中文字符 日本語テキスト 한국어", "e\u0301 a\u0308\u0304 n\u0303o",
    "😀😃 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷", "\u00a0nbsp\u2003em\u2028line\u2029para\u3000wide\u200bzero\ufeffbom",
    "\x01\x02\x7f\x80\x85\x9f\u00ad\ufffd\uffff\U0010ffff", "if (x[i] != NULL) { return *p++; } // ok",
    "a" * 200, "ab" * 100, " " * 100 + "x", "\n" * 50 + " x", "!?" * 60, "0123456789" * 10,
    "<|endoftext|>", "a<|endoftext|>b <|pad|>", "<|endoftext|><|endoftext|>", "<|endoftext|",
    "<<|pad|>>", "<|pad|><|endof<|pad|>text|>", "word<sep> <separator> <sep", "\u017fs '\u017f",
    "the cat, the hat and THE BAT; 12 mats", "trailing newline\n", "x \n y \n\n  z",
]

ADDED = [  # content, special, normalized, lstrip, rstrip
    ("<a>", True, False, False, False), ("<a><b>", True, False, False, False),
    ("<b>", False, True, False, False), ("a><", False, True, False, False),
    ("<mask>", True, False, True, False), ("<cut>", False, True, False, True),
    ("mask", False, False, False, False), ("aab", False, True, False, False),
    ("abaa", False, True, False, False), ("aaaa", False, False, False, False),
    ("  ", False, False, True, True), ("\u2003e", False, False, False, False),
]
OVERLAPPING = [
    "<a>", "<a><b>", "<a><b><b>", "x<a><a><b>x", "a><a>", "<b><", "<mask>", "x \t\u3000<mask> y",
    "a <mask> <mask>", "<cut> \u2003e\u2003\u2003e", "<cut>  <cut>", "<<a><b", "<mask><cut>\n\nmask",
    "aab", "abaab", "aabaa", "aaab", "aaaab", "aaaaaaaab", "abaaaa", "abaaa", "aaabaaaa", "x  y   z",
    "  <mask>  ", "<a>  <a>", "a    b", "\u2003e \u2003e", "<cut>" * 3 + "\u00a0\u2028 <cut>",
]


def numbers(seed):
    """Numbers from 0 to 2^31 - 1, the same on every machine."""
    while True:
        seed = (seed * 1103515245 + 12345) % 2**31
        yield seed >> 8


def make_texts():
    """About 24 kB of sentences made of made-up words, some of them more frequent than others."""
    draw = numbers(2024)

    def pick(items):
        return items[min(next(draw) % len(items), next(draw) % len(items))]

    onsets = ["t", "s", "r", "n", "l", "c", "d", "th", "st", "pr", "b", "gr", "ß", "ж", "é"]
    cores = ["e", "a", "o", "i", "u", "ea", "ou", "ä", "и", "字"]
    codas = ["", "n", "r", "s", "t", "ng", "ll", "nd", "ck"]
    syllables = [pick(onsets) + pick(cores) + pick(codas) for _ in range(90)]
    words = ["".join(pick(syllables) for _ in range(1 + next(draw) % 3)) for _ in range(500)]
    marks = [" ", " ", " ", " ", ", ", ". ", "'s ", " (", ") ", "\n", " 12 ", "-", "!\n\n", "  "]
    return ["".join(pick(words) + pick(marks) for _ in range(130)) for _ in range(24)]


def train(pre_tokenizer, texts, **options):
    tokenizer = Tokenizer(models.BPE(ignore_merges=options.get("ignore_merges", False)))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=WORDS, special_tokens=SPECIAL, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer, text):
    tokenizer.encode_special_tokens = False
    special = tokenizer.encode(text).ids
    tokenizer.encode_special_tokens = True
    plain = tokenizer.encode(text).ids
    return {"text": text, "special": special, "plain": plain}


def main():
    PLACE.mkdir(exist_ok=True)
    texts = make_texts()
    gpt2 = train(pre_tokenizers.ByteLevel(add_prefix_space=False), texts)
    split = train(pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(GPT4), "isolated"),
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.Split("th", "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]),
        texts, ignore_merges=True)
    split.add_tokens([AddedToken("<sep>", normalized=False), AddedToken("<separator>")])
    added = train(pre_tokenizers.ByteLevel(add_prefix_space=False), texts[:2])
    added.add_tokens([AddedToken(content, special=special, normalized=normalized, lstrip=lstrip,
                                 rstrip=rstrip)
                      for content, special, normalized, lstrip, rstrip in ADDED])
    added.save(str(PLACE / "added.json"), pretty=False)
    gpt2.save(str(PLACE / "gpt2.json"), pretty=False)
    split.save(str(PLACE / "split.json"), pretty=False)
    expected = {"texts": texts}
    for name, tokenizer in (("gpt2", gpt2), ("split", split)):
        expected[name] = [encode(tokenizer, text) for text in NASTY + texts[:2]]
    expected["added"] = [encode(added, text) for text in NASTY + OVERLAPPING]
    text = json.dumps(expected, ensure_ascii=False, separators=(",", ":"))
    (PLACE / "expected.json").write_text(text + "\n")


main()
