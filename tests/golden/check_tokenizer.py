"""Do bamlua and the `tokenizers` package make the same tokenizer, and encode alike?

    python3 tests/golden/check_tokenizer.py build/bamlua [TEXT [VOCAB]]

TEXT is a UTF-8 file, whose documents are separated by lines "<|endoftext|>"; without it, texts of
random words and characters. Both train on it, with GPT-2's way of cutting, with GPT-4's, and with an
expression that means something else to most libraries; their files must be equal. Then the package
loads bamlua's file, and must encode the texts to the same ids and decode them. Last, every character
is encoded in a few surroundings, by GPT-2's expression; none may be cut differently. The exit status
is 1 when anything differs. Used by hand (tokenizers 0.23).
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DIALECT = r"[a-z&&[^b]]+|[^\s[.,<|>]]{1,2}+|\h+|[[:alpha:]]|(?m:a.)|(?i:ss)|\w+"

# Its argument is a file with { texts, vocab, pattern } to train on, or a tokenizer.json as `file`;
# and texts to encode.
SCRIPT = """
local bam = require "bam"
local input = assert(io.open(arg[1]))
local task = bam.json.decode(input:read "a")
local t = task.file and bam.tokenizer.parse(task.file)
  or bam.tokenizer.train { texts = task.texts, vocab = task.vocab, pattern = task.pattern }
local ids = {}
for i, text in ipairs(task.encode) do
  ids[i] = bam.json.array(t:encode(text, { special = true }))
  assert(t:decode(ids[i]) == text)
end
io.write(bam.json.encode { file = t:json(), ids = ids })
"""


def ours(bamlua, place, **task):
    (place / "script.lua").write_text(SCRIPT)
    given = {name: value for name, value in task.items() if value is not None}
    (place / "task.json").write_text(json.dumps(given))
    command = [bamlua, place / "script.lua", place / "task.json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def theirs(texts, vocab, pattern):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pattern:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=["<|endoftext|>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())


def random_texts(draw, count):
    """Words over few letters, so that merges overlap and counts are equal; and any characters."""
    ranges = [(32, 126), (9, 13), (0xa1, 0x17f), (0x391, 0x3c9), (0x4e00, 0x4e40),
              (0x1f600, 0x1f640), (0x660, 0x669), (0x2000, 0x200a)]

    def word():
        if draw.random() < 0.2:
            some = range(draw.randint(1, 6))
            return "".join(chr(draw.randint(*draw.choice(ranges))) for _ in some)
        return "".join(draw.choice("aab c") for _ in range(draw.randint(1, 12)))

    return ["".join(word() + draw.choice([" ", "\n", "  ", "", ". ", "<|endoftext|>"])
                    for _ in range(draw.randint(1, 200))) for _ in range(count)]


def compare(bamlua, place, name, texts, vocab, pattern):
    mine = ours(bamlua, place, texts=texts, encode=texts, vocab=vocab, pattern=pattern)
    file = json.loads(mine["file"])
    same_file = file == theirs(texts, vocab, pattern)
    loaded = Tokenizer.from_str(mine["file"])
    wrong = 0
    for text, ids in zip(texts, mine["ids"]):
        wrong += loaded.encode(text).ids != ids
        wrong += loaded.decode(ids, skip_special_tokens=False) != text
    print(f"{name}: {len(texts)} texts, {vocab} words: the files are "
          f"{'equal' if same_file else 'DIFFERENT'}, {wrong} texts differ")
    return same_file and wrong == 0


def all_pairs():
    """A tokenizer in which any two bytes are a word, so that nearly every cut shows in the ids."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [(a, b) for a in alphabet for b in alphabet]
    words = alphabet + [a + b for a, b in pairs]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def sweep(bamlua, place):
    """Which characters, beside letters, digits, marks and spaces, are cut differently?"""
    characters = [chr(c) for c in range(1, 0x110000) if not 0xd800 <= c < 0xe000]
    texts = [f"a{c}a {c}1{c} {c}!{c}\n{c}{c} " for c in characters]
    tokenizer = all_pairs()
    mine = ours(bamlua, place, file=tokenizer.to_str(), encode=texts)["ids"]
    different = []
    for start in range(0, len(texts), 50000):
        batch = tokenizer.encode_batch(texts[start:start + 50000])
        different += [c for c, other, ids in zip(characters[start:], batch, mine[start:])
                      if other.ids != ids]
    print(f"{len(different)} of {len(characters)} characters are cut differently:",
          " ".join(f"U+{ord(c):04X}" for c in different[:40]), "..." if different[40:] else "")
    return not different


def documents(path):
    text = pathlib.Path(path).read_bytes().decode()
    return [d for d in text.split("\n<|endoftext|>\n") if d]


def main():
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    bamlua = sys.argv[1]
    good = True
    with tempfile.TemporaryDirectory() as directory:
        place = pathlib.Path(directory)
        for name, pattern in (("GPT-2", None), ("GPT-4", GPT4), ("dialect", DIALECT)):
            if len(sys.argv) > 2:
                vocab = int(sys.argv[3]) if len(sys.argv) > 3 else 4096
                good &= compare(bamlua, place, name, documents(sys.argv[2]), vocab, pattern)
            else:
                for seed in range(20):
                    texts = random_texts(random.Random(seed), 1 + 2 * seed)
                    good &= compare(bamlua, place, name, texts, 257 + 8 * seed, pattern)
        good &= sweep(bamlua, place)
    sys.exit(0 if good else 1)


main()
