-- Byte-pair encoding on one thread, beside gigatoken (PyPI): text that is new to a tokenizer, and the same text again.
--
--   build/bamlua tests/bench/text.lua [--rounds N] [--vocab N] [FILE...]
--
-- The tokenizer has GPT-2's pattern and is trained on the files; without any, on the King James Bible and Python's library
-- of this machine. The two take turns, each with a new tokenizer in every round. BAMLUA_PEER_PYTHON names a Python that
-- imports gigatoken; without one bamlua is measured alone.
local bam = require "bam"
local core = require "bam.core"

local HERE = arg[0]:match "^(.*/)" or ""
local options = { rounds = 7, vocab = 4096 }

local function quote(word) return string.format("'%s'", word:gsub("'", [['\'']])) end

local function output_of(command)
  local pipe <close> = assert(io.popen(string.format("%s 2>/dev/null", command)))
  return pipe:read "a"
end

local function read(files)
  local texts = {}
  for i, path in ipairs(files) do texts[i] = core.read_file(path) end
  if #files == 0 then
    texts = { output_of "bible -f 'gen1:1-rev22:21'", output_of "cat /usr/lib/python3.[0-9]*/*.py" }
  end
  return table.concat(texts)
end

local function parse(words)
  local files, i = {}, 1
  while words[i] do
    local name = words[i]:match "^%-%-(%a+)$"
    if name then
      options[name] = math.tointeger(tonumber(words[i + 1]) or 0)
      if not options[name] or options[name] < 1 then error(string.format("bench: --%s takes a number", name), 0) end
      i = i + 1
    else
      files[#files + 1] = words[i]
    end
    i = i + 1
  end
  return files
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local text = read(parse(arg))
if #text == 0 then error("bench: no text; name files, or install bible-kjv", 0) end

-- Its documents, as for training.
local documents = {}
for at = 1, #text, 100000 do documents[#documents + 1] = text:sub(at, at + 99999) end

local directory = output_of("mktemp -d"):match "%S+"
local cleanup <close> = setmetatable({}, { __close = function() os.execute("rm -rf " .. quote(directory)) end })
local file, tokenizer = directory .. "/text", directory .. "/tokenizer.json"
core.write_file(file, text)
bam.tokenizer.train({ texts = documents, vocab = options.vocab }):save(tokenizer)

-- MB/s for new text and for the same text again.
local function measure()
  local t, ids = bam.tokenizer.load(tokenizer), core.token_buffer()
  local speeds = {}
  for i = 1, 2 do
    local start = core.clock()
    t:append(text, ids)
    speeds[i] = #text / 1e6 / (core.clock() - start)
    ids:take():close()
  end
  collectgarbage()
  return speeds
end

local peer = string.format("%s %speer_text.py %s %s", quote(os.getenv "BAMLUA_PEER_PYTHON" or "python3"), quote(HERE),
                           quote(tokenizer), quote(file))

local function measure_peer()
  local new, again = output_of(peer):match "(%S+) (%S+)"
  return { tonumber(new), tonumber(again) }
end

local own, other = { {}, {} }, { {}, {} }
for round = 1, options.rounds do
  local speeds, theirs = measure(), measure_peer()
  for i = 1, 2 do own[i][round], other[i][round] = speeds[i], theirs[i] end
end
print(string.format("%.1f MB, vocabulary %d, one thread, %d rounds", #text / 1e6, options.vocab, options.rounds))
for i, what in ipairs { "new text", "the same again" } do
  local line = string.format("encode %-15s %4.0f MB/s", what, median(own[i]))
  if #other[i] == options.rounds then
    line = string.format("%s   gigatoken %4.0f MB/s   %.2f x", line, median(other[i]), median(own[i]) / median(other[i]))
  end
  print(line)
end
