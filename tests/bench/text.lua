-- Byte-pair encoding on one thread, beside gigatoken (PyPI): text that is new to a tokenizer, and the same text again.
--
--   build/bamlua tests/bench/text.lua [OPTION...] [FILE...]
--
-- The tokenizer has GPT-2's pattern and is trained on the files; without any, on the King James Bible and Python's library
-- of this machine. The two take turns, each with a new tokenizer in every round. BAMLUA_PEER_PYTHON names a Python that
-- imports gigatoken; without one bamlua is measured alone.
local HERE = arg[0]:match "^(.*/)" or "./"
package.path = string.format("%s../../?.lua;%s", HERE, package.path)

local bam = require "bam"
local core = require "bam.core"
local figures = require "tests.bench.figures"
local records = require "tests.bench.results"
local settings = require "tests.bench.settings"
local shell = require "tests.bench.shell"

local options = settings.read(arg, {
  { "json", "FILE", "write the results to a file too" },
  { "rounds", "N", "measure that often; 7 by default" },
  { "vocab", "N", "tokens of the vocabulary; 4096 by default" },
  { "alone", "", "without gigatoken" },
}, { rounds = 7, vocab = 4096 }, "FILE...")

local function read(files)
  local texts = {}
  for i, path in ipairs(files) do texts[i] = core.read_file(path) end
  if #files == 0 then
    texts = { shell.all_output_of "bible -f 'gen1:1-rev22:21'", shell.all_output_of "cat /usr/lib/python3.[0-9]*/*.py" }
  end
  return table.concat(texts)
end

local text = read(options.words)
if #text == 0 then error("bench: no text; name files, or install bible-kjv", 0) end

-- Its documents, as for training.
local documents = {}
for at = 1, #text, 100000 do documents[#documents + 1] = text:sub(at, at + 99999) end

local scratch <close> = shell.scratch()
local file, tokenizer = scratch.path .. "/text", scratch.path .. "/tokenizer.json"
core.write_file(file, text)
bam.tokenizer.train({ texts = documents, vocab = options.vocab }):save(tokenizer)

-- Seconds for new text and for the same text again.
local function measure()
  local t, ids = bam.tokenizer.load(tokenizer), core.token_buffer()
  local seconds = {}
  for i = 1, 2 do
    local start = core.clock()
    t:append(text, ids)
    seconds[i] = core.clock() - start
    ids:take():close()
  end
  collectgarbage()
  return seconds
end

local peer = string.format("%s %speer_text.py %s %s", shell.quote(os.getenv "BAMLUA_PEER_PYTHON" or "python3"),
                           shell.quote(HERE), shell.quote(tokenizer), shell.quote(file))

-- The same of gigatoken, with its version; nil where it is not installed.
local function measure_peer()
  local new, again, version = (shell.output_of(peer) or ""):match "^(%S+) (%S+) (%S+)"
  if not version then return nil end
  return { #text / 1e6 / tonumber(new), #text / 1e6 / tonumber(again), version = version }
end

local results = records.new("cpu", options.rounds)
results.cases = {}
for i, what in ipairs { "new text", "the same again" } do
  results.cases[i] = { title = string.format("encode %s, %.1f MB, vocabulary %d, one thread", what, #text / 1e6,
                                             options.vocab),
                       bytes = #text, seconds = {}, other = { name = "gigatoken", seconds = {} } }
end
for round = 1, options.rounds do
  local own, other = measure(), not options.alone and measure_peer()
  for i, record in ipairs(results.cases) do
    record.seconds[round] = own[i]
    if not (other and record.other) then
      record.other = nil
    else
      record.other.seconds[round], record.other.variant = other[i], string.format("gigatoken %s", other.version)
    end
  end
end

print(string.format("%.1f MB, vocabulary %d, one thread, %d rounds", #text / 1e6, options.vocab, options.rounds))
for i, record in ipairs(results.cases) do
  figures.summarize(record)
  local line = string.format("encode %-15s %s", i == 1 and "new text" or "the same again", figures.rate(record))
  if record.other then
    line = string.format("%s   %s %s   %s x", line, record.other.variant,
                         figures.rate { bytes = #text, median = record.other.median }, figures.ratio(record))
  end
  print(line)
end
results.finished = true
records.save(results, options.json)
