-- What is loaded, kept or trained on is no longer the file's: overwriting, shortening or deleting the file
-- changes nothing that was read, and what is read later is an error that names it, never a signal.
-- Usage: build/bamlua tests/lua/stored_tensors.lua build/bamlua
local bam = require "bam"
local core = require "bam.core"
local bamlua = arg[1] or "build/bamlua"

local base = os.tmpname()
os.remove(base)
core.make_directory(base)
local function at(name) return string.format("%s/%s", base, name) end

local function expect_error(words, f, ...)
  local fine, message = pcall(f, ...)
  assert(not fine, "no error about " .. words)
  assert(tostring(message):find(words, 1, true), ("%q is not about %q"):format(message, words))
end

--- Overwrite the end of a file where it is, as an rsync --inplace does, at another time.
local function overwrite(path, bytes)
  local file = assert(io.open(path, "r+b"))
  file:seek("end", -#bytes)
  file:write(bytes)
  file:close()
  assert(os.execute(("touch -d '2001-02-03' '%s'"):format(path)))
end

local function shorten(path, size) core.truncate_file(path, size) end

-- ---- a stored tensor ----

local file = at "x.safetensors"
local x = bam.arange(0, 11):reshape(4, 3):to "f32"
bam.save(file, { x = x, s = bam.tensor(7), e = bam.zeros(0, 2), ["a.b"] = bam.arange(1, 5) }, { k = "v" })
local tensors, metadata = core.open_tensors(file)
assert(metadata.k == "v" and metadata.format == "pt")
assert(#tensors.x == 4 and tensors.x.dtype == "f32" and tensors.x.shape[2] == 3 and #tensors.x.shape == 2)
assert(#tensors.s == 0 and #tensors.e == 0 and tensors.x.nothing == nil and tensors.x[1] == nil)
assert(tostring(tensors.x) == "stored tensor f32 (4, 3)")
assert(tensors.x:read():eq(x):all():item() and tensors.s:read():item() == 7)
assert(tensors.x:slice(1, 2, 3):eq(x:slice(1, 2, 3)):all():item() and tensors.s:totable() == 7)
assert(tensors.x:slice(-1, 1, 1):eq(x:slice(-1, 1, 1)):all():item())
assert(tensors.x:read(2, 3):eq(x:slice(1, 2, 3)):all():item() and #tensors.x:read(3, 2) == 0)
assert(tensors["a.b"]:read(5, 5):item() == 5 and #tensors.e:read(1, 0) == 0)
for _, case in ipairs { { 0, 1 }, { 1, 5 }, { 3, 1 }, { -1, -1 }, { math.maxinteger, math.mininteger } } do
  expect_error("are not among the 4 of the stored tensor", tensors.x.read, tensors.x, case[1], case[2])
end
expect_error("read: last: expected an integer, got nothing", tensors.x.read, tensors.x, 1)
expect_error("are not among the 0", tensors.s.read, tensors.s, 1, 1)
expect_error("bam.StoredTensor expected, got table", tensors.x.read, {})
expect_error("open_tensors: cannot read \"" .. at "no" .. "\": No such file", core.open_tensors, at "no")
assert(not pcall(setmetatable, tensors.x, {}) and getmetatable(tensors.x) == "bam.StoredTensor")

-- ---- files that change ----

local kept = bam.load(file).x
overwrite(file, ("\255"):rep(8))
assert(kept:eq(x):all():item(), "a loaded tensor changed with its file")
expect_error(('"%s": tensor "x": the file was changed or replaced after it was opened'):format(file),
             tensors.x.read, tensors.x)
shorten(file, 100)
assert(kept:eq(x):all():item())
expect_error(('"%s": tensor "x": the file has 100 bytes now, and had '):format(file), tensors.x.read, tensors.x)
expect_error("cut short", bam.load, file)

bam.save_npy(at "x.npy", x)
kept = bam.load_npy(at "x.npy")
shorten(at "x.npy", 128)
assert(kept:eq(x):all():item())

-- A model's weights, and what its optimiser goes on with.
local d = bam.models.parallel { layers = 1, width = 16, heads = 2, ffn = 32, vocab = 32, context = 16 }
local model = d:build { seed = 1 }
model:save(at "model")
local live = bam.load(at "model")
local ids = bam.randint(0, 31, 2, 9)
local function loss(m) return m:loss(ids:slice(2, 1, 8), ids:slice(2, 2, 9)):item() end
local before = loss(model)
overwrite(at "model/model.safetensors", ("\127"):rep(4000))
assert(loss(live) == before, "live weights changed with their checkpoint")
shorten(at "model/model.safetensors", 1000)
assert(loss(live) == before)

-- A mixture reads its experts from files that must stay as they were.
model:save(at "model")
model:save(at "other")
local mixture = bam.mix { experts = { at "model", at "other" } }
assert(mixture:build())
mixture = bam.mix { experts = { at "model", at "other" } }
overwrite(at "model/model.safetensors", ("\127"):rep(4000))
expect_error("the file was changed or replaced after it was opened", mixture.build, mixture)

-- A training's corpus that is shortened: an error, and not the end of the process.
core.write_file(at "train.lua", ([[
  local bam, core = require "bam", require "bam.core"
  local documents = {}
  for i = 1, 2000 do documents[i] = ("some words to train on, number %d\n<|endoftext|>\n"):format(i) end
  core.write_file("t.txt", table.concat(documents))
  local text = bam.corpus({ t = "t.txt" }, { vocab = 280, cache = "cache" })
  local data = text:sample { t = 1 }
  local stream = data:open { context = 16, batch = 4, steps = 10, seed = 1 }
  assert(#stream:batch(1, 1, 4).ids == 4)
  for _, path in ipairs(core.glob "cache/text/*/*.safetensors") do core.truncate_file(path, 500) end
  local fine, message = pcall(stream.batch, stream, 2, 1, 4)
  print(fine, message)
]]))
local pipe = io.popen(("cd '%s' && '%s' train.lua 2>&1"):format(base, core.absolute(bamlua)))
local said = pipe:read "a"
local fine, how, code = pipe:close()
assert(fine, ("%s %s: %s"):format(how, code, said))
assert(said:find 'false\t.*pack_windows: "[^"]*/cache/text/%x+/[^"]*": tensor "%a+": the file has 500 bytes now', said)

os.execute(("rm -rf '%s'"):format(base))
