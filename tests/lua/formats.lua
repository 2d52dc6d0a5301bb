-- bam.load and bam.save by the formats of paths: what is saved comes back, what has no format says what to do, and a
-- script's format is one table.
local bam = require "bam"
local core = require "bam.core"
local json = require "bam.util.json"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local SCRATCH = os.tmpname()
os.remove(SCRATCH)
core.make_directory(SCRATCH)
local cleanup <close> = setmetatable({}, { __close = function()
  os.execute(string.format("rm -rf '%s'", SCRATCH))
end })
local function at(name) return string.format("%s/%s", SCRATCH, name) end

local tensors = { a = bam.arange(6):view(2, 3), b = bam.randn(4), c = bam.tensor(2.5, { dtype = "f64" }) }

test("safetensors, with and without the ending", function()
  for _, name in ipairs { "x.safetensors", "X.SafeTensors", "plain", "with.dots.1" } do
    bam.save(at(name), tensors, { step = "3" })
    local got, metadata = bam.load(at(name))
    expect.equal(got, tensors, name)
    expect.equal(metadata.step, "3")
    expect.equal(bam.load(at(name), { "b" }), { b = tensors.b })
  end
end)

test("load_state(bam.load(path)): the metadata is no option", function()
  local layer, other = bam.nn.Linear(3, 2), bam.nn.Linear(3, 2)
  bam.save(at "layer.safetensors", layer:state())
  other:load_state(bam.load(at "layer.safetensors"))
  expect.equal(other:state(), layer:state())
  local optimizer = bam.optim.AdamW(layer)
  bam.save(at "optimizer", optimizer:state(), { strict = "no" })
  optimizer:load_state(bam.load(at "optimizer"))
  expect.raises("no option `strct`", other.load_state, other, layer:state(), { strct = true })
end)

test("npy", function()
  bam.save(at "x.npy", tensors.a)
  expect.equal(bam.load(at "x.npy"), tensors.a)
  expect.equal(bam.load_npy(at "x.npy"), tensors.a)
  expect.raises("load: npy: options must have names", bam.load, at "x.npy", { "a" })
  expect.raises("save: npy: no option `step`", bam.save, at "x.npy", tensors.a, { step = "1" })
  expect.raises("save_npy: expected a tensor, got a table", bam.save, at "x.npy", tensors)
  expect.equal(bam.load(at "x.npy"), tensors.a, "as before")
end)

test("an index of several files", function()
  local path = at "model.safetensors.index.json"
  bam.save(path, tensors, { shard_bytes = 48 })
  local map = json.read(path)
  expect.equal(map.weight_map, { a = "model-00001-of-00002.safetensors", b = "model-00002-of-00002.safetensors",
                                 c = "model-00002-of-00002.safetensors" })
  expect.equal(map.metadata.total_size, 6 * 8 + 4 * 4 + 8)
  expect.equal(bam.load(path), tensors)
  expect.equal(bam.load(path, { "c", "a" }), { a = tensors.a, c = tensors.c })
  expect.raises('load: no tensor the string "bb" in', bam.load, path, { "bb" })
  expect.raises("no option `shard_byte`; did you mean `shard_bytes`?", bam.save, path, tensors, { shard_byte = 1 })
  expect.raises("save: expected a table of tensors by name, got 1 for", bam.save, path, { a = 1 })
  core.write_file(path, '{ "weight_map": { "a": "../x.safetensors" } }')
  expect.raises("is not the name of a file beside it", bam.load, path)
end)

test("a model is a directory", function()
  local model = bam.models.parallel { layers = 1, width = 8, heads = 2, ffn = 6, vocab = 11 }:build { seed = 1 }
  bam.save(at "model.v1", model)
  expect.equal(bam.load(at "model.v1"):state(), model:state())
  expect.equal(bam.load(at "model.v1", { dtype = "f64" }).embed.weight.dtype, "f64")
  bam.save(at "half", model, { dtype = "bf16" })
  expect.equal(bam.load(at "half/model.safetensors")["model.norm.weight"].dtype, "bf16")
  bam.save(at "shards", model, { shard_bytes = 500 })
  local whole = bam.load(at "model.v1/model.safetensors")
  expect.equal(bam.load(at "shards/model.safetensors.index.json"), whole)
  expect.raises("this is a model: save model:state(), or give the name of a directory", bam.save,
                at "model.safetensors", model)
  expect.raises("no option `dtyp`", bam.save, at "half", model, { dtyp = "bf16" })
end)

test("contents tell the format where the ending does not", function()
  bam.save(at "x.safetensors", tensors)
  bam.save(at "x.npy", tensors.a)
  core.write_file(at "moved.weights", core.read_file(at "x.safetensors"))
  core.write_file(at "moved", core.read_file(at "x.npy"))
  expect.equal(bam.load(at "moved.weights"), tensors)
  expect.equal(bam.load(at "moved"), tensors.a)
end)

test("unknown endings say what is known, and what to do", function()
  core.write_file(at "x.xyz", "nothing")
  core.write_file(at "x.pt", "PK\3\4")
  core.write_file(at "pytorch_model.bin", "PK\3\4")
  expect.raises(".xyz\": no format has the ending .xyz; bam can load .npy, .safetensors, .safetensors.index.json",
                bam.load, at "x.xyz")
  expect.raises("and directories of models", bam.load, at "x.xyz")
  expect.raises("no format has the ending .xyz; bam can save .npy, ", bam.save, at "new.xyz", tensors)
  expect.no(core.file_info(at "new.xyz"))
  expect.raises("a PyTorch pickle, which runs code when it is loaded", bam.load, at "x.pt")
  expect.raises("from safetensors.torch import save_file", bam.load, at "x.pt")
  expect.raises("safe_serialization=True", bam.load, at "pytorch_model.bin")
  expect.raises("a PyTorch pickle", bam.save, at "x.pth", tensors)
  expect.raises("load: cannot read", bam.load, at "lost.safetensors")
  expect.raises("load: cannot read", bam.load, at "lost")
  expect.raises("load: expected the path of a file, got nothing", bam.load)
  expect.raises("save: expected the path of a file, got 3", bam.save, 3, tensors)
  expect.raises("cannot contain a zero byte", bam.load, "a\0.npy")
  expect.raises("it holds no config.json", bam.load, SCRATCH)
end)

local function raw(changes)
  local d = { name = "raw", endings = { "raw", "Raw.f32" }, load_options = { count = { "size", 1 } },
              decode = function(text, o) return bam.bytes(text):slice(1, 1, o.count) end,
              encode = function(x) return string.char(table.unpack(x:totable())) end }
  for name, value in pairs(changes or {}) do d[name] = value or nil end
  return bam.formats.define(d)
end

test("a format of a script", function()
  expect.equal(tostring(raw()), "file format raw: .raw, .raw.f32")
  bam.save(at "x.raw", bam.bytes "hello")
  expect.equal(core.read_file(at "x.raw"), "hello")
  expect.equal(bam.load(at "x.raw", { count = 2 }), bam.bytes "he")
  expect.equal(bam.load(at "x.raw"), bam.bytes "h")
  expect.raises("load: raw: no option `cuont`; did you mean `count`?", bam.load, at "x.raw", { cuont = 2 })
  expect.raises("save: raw: no option `count`", bam.save, at "x.raw", bam.bytes "a", { count = 2 })
  expect.raises("no format has the ending .xyz; bam can load .npy, .raw, .raw.f32, .safe", bam.load, at "x.xyz")
  bam.save(at "x.RAW.F32", bam.bytes "b")
  expect.equal(bam.load(at "x.RAW.F32"), bam.bytes "b")
  -- defined again: the newer one counts
  raw { decode = function() return "new" end, encode = function() return 5 end }
  expect.equal(bam.load(at "x.raw"), "new")
  expect.raises("save: format raw: expected a string from encode, got 5", bam.save, at "x.raw", 1)
  expect.equal(core.read_file(at "x.raw"), "hello", "as before")
  raw { encode = function() error("oh no", 0) end }
  expect.raises("oh no", bam.save, at "x.raw", 1)
  expect.equal(core.read_file(at "x.raw"), "hello", "as before")
  raw { encode = false }
  expect.raises("the format raw cannot save; bam can save .npy, .safetensors", bam.save, at "x.raw", 1)
  -- one that reads and writes itself
  raw { decode = false, encode = false, load_options = false,
        load = function(path) return path:match "[^/]*$" end,
        save = function(path, value) bam.save_npy(path, value) end }
  expect.equal(bam.load(at "x.raw"), "x.raw")
  bam.save(at "y.raw", tensors.a)
  expect.equal(bam.load_npy(at "y.raw"), tensors.a)
end)

test("what is no format", function()
  expect.raises("formats.define: NPY: bam has a file format of this name", raw, { name = "NPY" })
  expect.raises("endings: .npy is the ending of the format npy", raw, { endings = { "npy" } })
  expect.raises("endings: expected a list of at least one", raw, { endings = {} })
  expect.raises("endings: expected names of endings without a dot before them", raw, { endings = { ".raw" } })
  expect.raises("expected either load or decode, got both", raw, { load = print })
  expect.raises("it can neither load nor save", raw, { decode = false, encode = false })
  expect.raises("expected { kind, default }", raw, { load_options = { x = { "what" } } })
end)
