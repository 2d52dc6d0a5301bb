-- What is loaded, kept or trained on is no longer the file's: overwriting, shortening or deleting the file
-- changes nothing that was read, and what is read later is an error that names it, never a signal.
-- Usage: build/bamlua tests/lua/stored_tensors.lua build/bamlua
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local bamlua = arg[1] or "build/bamlua"

local base = os.tmpname()
os.remove(base)
core.make_directory(base)
local function at(name) return string.format("%s/%s", base, name) end

--- Overwrite the end of a file where it is, as an rsync --inplace does, at another time.
local function overwrite(path, bytes)
  local file = assert(io.open(path, "r+b"))
  file:seek("end", -#bytes)
  file:write(bytes)
  file:close()
  assert(os.execute(("touch -d '2001-02-03' '%s'"):format(path)))
end

local function shorten(path, size) core.truncate_file(path, size) end

local file = at "x.safetensors"
local x = bam.arange(0, 11):reshape(4, 3):to "f32"

local tensors, metadata
test("a stored tensor", function()
  bam.save(file, { x = x, s = bam.tensor(7), e = bam.zeros(0, 2), ["a.b"] = bam.arange(1, 5) }, { k = "v" })
  tensors, metadata = core.open_tensors(file)
  expect.equal(metadata.k, "v")
  expect.equal(metadata.format, "pt")
  expect.equal(#tensors.x, 4)
  expect.equal(tensors.x.dtype, "f32")
  expect.equal(tensors.x.shape[2], 3)
  expect.equal(#tensors.x.shape, 2)
  expect.equal(#tensors.s, 0)
  expect.equal(#tensors.e, 0)
  expect.equal(tensors.x.nothing, nil)
  expect.equal(tensors.x[1], nil)
  expect.equal(tostring(tensors.x), "stored tensor f32 (4, 3)")
  expect.equal(tensors.x:read(), x)
  expect.equal(tensors.s:read():item(), 7)
  expect.equal(tensors.x:slice(1, 2, 3), x:slice(1, 2, 3))
  expect.equal(tensors.s:totable(), 7)
  expect.equal(tensors.x:slice(-1, 1, 1), x:slice(-1, 1, 1))
  expect.equal(tensors.x:read(2, 3), x:slice(1, 2, 3))
  expect.equal(#tensors.x:read(3, 2), 0)
  expect.equal(tensors["a.b"]:read(5, 5):item(), 5)
  expect.equal(#tensors.e:read(1, 0), 0)
  for _, case in ipairs { { 0, 1 }, { 1, 5 }, { 3, 1 }, { -1, -1 }, { math.maxinteger, math.mininteger } } do
    expect.raises("are out of range: the stored tensor has 4", tensors.x.read, tensors.x, case[1], case[2])
  end
  expect.raises("read: last: expected an integer, got nothing", tensors.x.read, tensors.x, 1)
  expect.raises("are out of range: the stored tensor has 0", tensors.s.read, tensors.s, 1, 1)
  expect.raises("bam.StoredTensor expected, got table", tensors.x.read, {})
  expect.raises("open_tensors: cannot read \"" .. at "no" .. "\": No such file", core.open_tensors, at "no")
  expect.no(pcall(setmetatable, tensors.x, {}))
  expect.equal(getmetatable(tensors.x), "bam.StoredTensor")
end)

test("files that change", function()
  local kept = bam.load(file).x
  overwrite(file, ("\255"):rep(8))
  expect.equal(kept, x, "a loaded tensor changed with its file")
  expect.raises(('"%s": tensor "x": the file was changed or replaced after it was opened'):format(file),
                tensors.x.read, tensors.x)
  shorten(file, 100)
  expect.equal(kept, x)
  expect.raises(('"%s": tensor "x": the file has 100 bytes now, and had '):format(file), tensors.x.read, tensors.x)
  expect.raises("truncated", bam.load, file)

  bam.save_npy(at "x.npy", x)
  kept = bam.load_npy(at "x.npy")
  shorten(at "x.npy", 128)
  expect.equal(kept, x)
end)

local model
test("a model's weights, and what its optimizer goes on with", function()
  local d = bam.models.parallel { layers = 1, width = 16, heads = 2, ffn = 32, vocab = 32, context = 16 }
  model = d:build { seed = 1 }
  model:save(at "model")
  local live = bam.load(at "model")
  local ids = bam.randint(0, 31, 2, 9)
  local function loss(m) return m:loss(ids:slice(2, 1, 8), ids:slice(2, 2, 9)):item() end
  local before = loss(model)
  overwrite(at "model/model.safetensors", ("\127"):rep(4000))
  expect.equal(loss(live), before, "live weights changed with their checkpoint")
  shorten(at "model/model.safetensors", 1000)
  expect.equal(loss(live), before)
end)

test("a mixture reads its experts from files that must stay as they were", function()
  model:save(at "model")
  model:save(at "other")
  local mixture = bam.mix { experts = { at "model", at "other" } }
  expect.yes(mixture:build())
  mixture = bam.mix { experts = { at "model", at "other" } }
  overwrite(at "model/model.safetensors", ("\127"):rep(4000))
  expect.raises("the file was changed or replaced after it was opened", mixture.build, mixture)
end)

test("a training's corpus that is shortened: an error, and not the end of the process", function()
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
  expect.yes(fine, ("%s %s: %s"):format(how, code, said))
  expect.yes(said:find 'false\t.*pack_windows: "[^"]*/cache/text/%x+/[^"]*": tensor "%a+": the file has 500 bytes now',
             said)
end)

os.execute(("rm -rf '%s'"):format(base))
