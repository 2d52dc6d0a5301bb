-- What the parser fuzzer feeds (parsers.c): by name, seeds, words that its format is made of, and
-- what is done with an input, which tells whether it was accepted. An input may be refused; what ends in another error than a refusal,
-- or contradicts itself, is a finding. Runs in a directory of its own.
local bam = require "bam"
local core = require "bam.core"
local json = bam.json

local targets = {}

-- f(...) or its refusal; a message that speaks of the inside is a finding.
local function try(f, ...)
  local results = table.pack(pcall(f, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  local message = tostring(results[2])
  if message:find "^bam/[%w_/]+%.lua:%d+:" or message:find "^[^\n]*: assertion failed!$" then
    error("a message that only speaks of the inside: " .. message, 0)
  end
end

local function write(name, text)
  core.write_file(name, text)
  return name
end

local function saved(name, save, ...)
  save(name, ...)
  return core.read_file(name)
end

local function read_tensors(tensors)
  for _, x in next, tensors do
    core.hash_tensor(x)
    x:close()
  end
end

-- ---- files of tensors ----

local a, b = bam.arange(6):reshape(2, 3), bam.tensor { true, false }
targets.safetensors = {
  seeds = {
    saved("seed", bam.save, { a = a, b = b, empty = bam.zeros(0, 3) }, { key = "value" }),
    saved("seed", bam.save, { x = bam.randn(3, { dtype = "f64" }), h = bam.zeros(2, { dtype = "bf16" }) }),
  },
  words = { '"dtype":"F32"', '"shape":[1]', '"data_offsets":[0,4]', '"__metadata__":{}', '"BOOL"', '"F8_E4M3"', "{}",
            "18446744073709551615", "4611686018427387904", "-1", "1e3" },
  run = function(bytes)
    local tensors = try(core.load, write("f", bytes))
    if tensors then read_tensors(tensors) end
    return tensors
  end,
}
targets.npy = {
  seeds = { saved("seed", bam.save_npy, a), saved("seed", bam.save_npy, b), saved("seed", bam.save_npy, bam.zeros()) },
  words = { "'descr': '<f4'", "'fortran_order': True", "'shape': (1, )", "'|b1'", "'>f8'", "(2, 3)", "{}", "18446744073709551615",
            "\x93NUMPY\1\0", "\x93NUMPY\2\0" },
  run = function(bytes)
    local x = try(core.load_npy, write("f", bytes))
    if x then read_tensors { x } end
    return x
  end,
}

-- ---- text ----

targets.json = {
  seeds = { '{"a": [1, 2.5, -0.0, 1e300, [], {}], "b": [null, true, false, "c\\u00e9\\ud83d\\ude00"]}', "[[[[]]]]" },
  words = { "null", "true", "\\u0000", "\\ud800", "1e999", "-0", "9223372036854775808", "\\\"", "[[[[[[[[[[", '{"":' },
  run = function(bytes)
    local value = try(json.decode, bytes)
    if value == nil then return false end
    local text = try(json.encode, value) -- a scalar is no document for it
    assert(text == nil or json.encode(json.decode(text)) == text, "what was written reads as something else")
    return true
  end,
}

local KINDS = { "f.txt", "f.jsonl", "f.txt.gz", "f.jsonl.gz", "f.txt.zst", "f.jsonl.zst", "f", "f.json" }
-- "one\n<|endoftext|>\ntwo\n" and '{"text": "one"}\n', compressed
local GZIP = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\xcfK\xe5\xb2\xa9I\xcdK\xc9O+I\xad(\xa9\xb1\xe3*)\xcf\xe7\x02\x00T\xb4h\x04"
  .. "\x16\x00\x00\x00"
local GZIP_JSON = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xabV*I\xad(Q\xb2RP\xca\xcfKU\xaa\xe5\x02\x00m\x03\xd1\x06\x10\x00\x00\x00"
local ZSTD = "(\xb5/\xfd$\x16\xb1\x00\x00one\n<|endoftext|>\ntwo\n2\xc5^\xb5"
local ZSTD_JSON = "(\xb5/\xfd$\x10\x81\x00\x00{\"text\": \"one\"}\n\xdaG\n\x1d"
targets.text = {
  seeds = { "\0one\n<|endoftext|>\ntwo\n", '\1{"text": "one"}\n{"id": 1, "text": "two\\n"}\n', "\2" .. GZIP,
            "\3" .. GZIP_JSON, "\4" .. ZSTD, "\5" .. ZSTD_JSON, "\6plain\r\nlines\r\n" },
  words = { "<|endoftext|>\n", '{"text": "', '"}\n', "\xef\xbb\xbf", "\r\n", "\\u0000", '{"text": {"a": "b"}}', GZIP, ZSTD, GZIP_JSON, ZSTD_JSON },
  run = function(bytes)
    local name = KINDS[(bytes:byte() or 0) % #KINDS + 1]
    local reader = try(core.text_open, write(name, bytes:sub(2)), { field = "text", separator = "<|endoftext|>" })
    local text
    local count = 0
    repeat
      text = reader and try(reader.next, reader)
      count = count + (text and 1 or 0)
    until not text
    if reader then reader:close() end
    return count > 0
  end,
}

-- ---- tokenizers ----

local TEXT = "The court's 12,345 caf\u{e9} <s>\n\n  abab\tx"
local words = bam.tokenizer.train { texts = { "abab abc abab", "ab ab abc caf\u{e9}" }, vocab = 262 }

-- A file whose pattern can be set. All bytes must be words.
local PLAIN = json.decode(words:json())

local function with_pattern(pattern)
  local copy = json.decode(json.encode(PLAIN))
  copy.pre_tokenizer = { type = "Sequence", pretokenizers = json.array {
    { type = "Split", pattern = { Regex = pattern }, behavior = "Isolated", invert = false },
    { type = "ByteLevel", add_prefix_space = false, trim_offsets = true, use_regex = false } } }
  return json.encode(copy)
end

-- Tokens of a text, and the text again.
local function use(tokenizer, text)
  for special = 0, 1 do
    local ids = try(tokenizer.encode, tokenizer, text, { special = special == 1 })
    local back = ids and try(tokenizer.decode, tokenizer, ids)
    assert(back == nil or type(back) == "string")
  end
end

targets.tokenizer = {
  seeds = { words:json(), with_pattern "\\p{L}+| ?\\d{1,3}(?=x)|\\s+" },
  words = { '"type": "Split"', '"type": "BPE"', '"ByteLevel"', '"Regex": "a+"', '"String": " "', '"behavior": "Isolated"',
            '"added_tokens": []', '"normalized": true', '"merges": [["a", "b"]]', '"ignore_merges": true', "null", "[]", "{}", '"id": 0' },
  run = function(bytes)
    local tokenizer = try(bam.tokenizer.parse, bytes)
    if tokenizer then
      use(tokenizer, TEXT)
      assert(bam.tokenizer.parse(tokenizer:json()):json() == tokenizer:json(), "written and read, it is another")
    end
    return tokenizer
  end,
}
targets.pattern = { -- a pattern, a line's end, a text
  seeds = { "\\p{L}+| ?\\d{1,3}(?=x)|\\s+\nThe court's 12 x", "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}]*\nABC abc", "(?i:'s|'t)|[a-z&&[^b]]+\nit's abc",
            "(a+)+$\naaaaaaaaab" },
  words = { "\\p{L}", "\\s", "[^", "(?=", "(?<!", "(?i:", "{1,3}+", "{,3}", "&&", "[[:alpha:]]", "\\h", "\\b", "\\x{10ffff}", "(?R)", "\\1", "*+" },
  run = function(bytes)
    local pattern, text = bytes:match "^([^\n]*)\n?(.*)$"
    local file = try(with_pattern, pattern) -- refused when it is not UTF-8
    local tokenizer = file and try(bam.tokenizer.parse, file)
    if tokenizer then use(tokenizer, text) end
    return tokenizer
  end,
}
targets.encode = {
  seeds = { TEXT, "abab<|endoftext|>ab", ("ab"):rep(50), "\xff\xfe\x80" },
  words = { "<|endoftext|>", "<|endof", "abab", " ", "\u{e9}", "\xc3" },
  run = function(bytes)
    for special = 0, 1 do
      local ids = words:encode(bytes, { special = special == 1 })
      assert(words:decode(ids) == bytes, "decoding gives another text")
    end
    return true
  end,
}

-- ---- directories ----

local model = bam.models.parallel { layers = 1, width = 4, heads = 2, ffn = 4, vocab = 8, context = 8 }:build { seed = 1 }
model:save "dense"
bam.mix({ experts = { model, model }, attention = { kv = "shared" }, ffn = { top_k = 1 } }):build { seed = 1 }:save "mixed"

-- A directory whose file `name` is fuzzed, and loaded.
local function directory(from, name)
  return {
    seeds = { core.read_file(from .. "/" .. name) },
    words = { '"model_type": "bam"', '"rope_theta": 1e4', "null", "true", "[]", "{}", "-1", "9223372036854775807", "1e308",
              '"num_hidden_layers": 2', '"head_dim": 3', '"weight_map": {}' },
    run = function(bytes)
      write(from .. "/" .. name, bytes)
      local loaded = try(bam.load, from)
      if loaded then try(loaded.forward, loaded, bam.tensor { { 1, 2 } }) end
      collectgarbage "step"
      return loaded
    end,
  }
end

targets.config = directory("dense", "config.json")
targets.mixed_config = directory("mixed", "config.json")
model:save("sharded", { shard_bytes = 200 })
targets.index = directory("sharded", "model.safetensors.index.json")

local checkpoints = require "bam.train.checkpoints"

-- Manifests vouch for themselves with a checksum: it is set right, or nothing behind it is seen.
targets.manifest = {
  seeds = { json.encode { files = { ["config.json"] = { bytes = 1, digest = core.hash "x" } }, checksum = "" } },
  words = { '"files": {}', '"bytes": 3', '"digest": ""', "null", "[]", "{}", '"../x"' },
  run = function(bytes)
    local ok, manifest = pcall(json.decode, bytes)
    if ok and type(manifest) == "table" and type(manifest.files) == "table" then
      manifest.checksum = core.hash(json.encode(manifest.files))
      bytes = json.encode(manifest)
    end
    write("dense/manifest.json", bytes)
    return try(checkpoints.fault, "dense")
  end,
}

return targets
