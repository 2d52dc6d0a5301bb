"""gigatoken's side of tests/bench/text.lua: peer_text.py TOKENIZER.json TEXT prints the MB/s of encoding a text with a
new tokenizer, and again with the same one, on one thread, and its version. `pip install gigatoken`."""
import importlib.metadata
import os
import sys
import time

os.environ["RAYON_NUM_THREADS"] = "1"
import gigatoken

with open(sys.argv[2], "rb") as file:
    text = file.read()


def speed(tokenizer):
    start = time.perf_counter()
    tokenizer.encode(text)
    return len(text) / 1e6 / (time.perf_counter() - start)


speed(gigatoken.Tokenizer(sys.argv[1]))  # the process has its memory then, as bamlua's has
tokenizer = gigatoken.Tokenizer(sys.argv[1])
print(speed(tokenizer), speed(tokenizer), importlib.metadata.version("gigatoken"))
