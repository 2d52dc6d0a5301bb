-- Files of tensors from a script: save, load, save_npy, load_npy; what they refuse, and that an allocation
-- which fails anywhere leaves the old file and no tensor behind.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local path = os.tmpname()
local counter = 0

--- A fresh path beside the temporary file.
local function fresh()
  counter = counter + 1
  return path .. "-" .. counter
end

local function values(x) return x:totable() end

local x = core.tensor { { 1, 2 }, { 3, 4 } }
local file = fresh()

test("safetensors", function()
  core.save(file, { ["a.weight"] = x, b = core.arange(3) }, { step = "12" })
  local tensors, metadata = core.load(file)
  local count = 0
  for _ in pairs(tensors) do count = count + 1 end
  expect.equal(count, 2)
  expect.equal(values(tensors["a.weight"])[2][1], 3)
  expect.equal(#values(tensors.b), 3)
  expect.equal(metadata.format, "pt")
  expect.equal(metadata.step, "12")

  local only = core.load(file, { "b" })
  expect.yes(only.b)
  expect.equal(only["a.weight"], nil)
  expect.equal(next((core.load(file, {}))), nil)

  core.save(file, {}) -- replaces the file that `tensors` came from
  expect.equal(values(tensors["a.weight"])[2][2], 4)
  expect.equal(next((core.load(file))), nil)

  core.save(file, { w = x })
  local words = {
    { "load: expected the path of a file, got nothing", core.load },
    { "load: expected the path of a file, got 12", core.load, 12 },
    { "cannot contain a zero byte", core.load, "a\0b" },
    { "load: cannot read \"" .. file .. "-no\": No such file", core.load, file .. "-no" },
    { "load: cannot read \".\": it is a directory", core.load, "." },
    { "load: no tensor `v` in", core.load, file, { "v" } },
    { "load: no tensor `ww` in " .. file .. "; did you mean `w`?", core.load, file, { "ww" } },
    { "load: expected a list of tensor names, got the string", core.load, file, "w" },
    { "load: names of tensors: expected a list, but there is the key `w`", core.load, file, { w = 1 } },
    { "load: expected strings in the list of tensor names, got 1", core.load, file, { 1 } },
    { "save: expected a table of tensors by name, got nothing", core.save, file },
    { "save: expected a table of tensors by name", core.save, file, x },
    { "save: expected a string as the name of each tensor, got 1", core.save, file, { x } },
    { "save: `w` is 5, not a tensor", core.save, file, { w = 5 } },
    { "save: expected a table of strings as metadata", core.save, file, {}, "m" },
    { "save: expected strings as the values of metadata (use tostring), got 1", core.save, file, {}, { a = 1 } },
    { "save: cannot write \"" .. file .. "-no/x\": directory", core.save, file .. "-no/x", {} },
    { "save: tensor name \"\xff\" is not UTF-8", core.save, file, { ["\xff"] = x } },
    { "load_npy: \"" .. file .. "\": not an npy file", core.load_npy, file },
    { "save_npy: expected a tensor, got a table", core.save_npy, file, {} },
  }
  for _, case in ipairs(words) do expect.raises(table.unpack(case)) end
  expect.equal(values(core.load(file).w)[1][2], 2) -- none of them changed the file
end)

local npy = fresh()

test("npy", function()
  core.save_npy(npy, x)
  local y = core.load_npy(npy)
  expect.equal(values(y)[2][1], 3)
  expect.raises("load: \"" .. npy .. "\": not a safetensors file", core.load, npy)
end)

local function sweep(f, ...)
  local n = 0
  repeat
    n = n + 1
    core.fail_allocation(n)
    local fine, message = pcall(f, ...)
    core.fail_allocation(0)
    expect.yes(fine or tostring(message):find "memory", message)
  until fine
  return n
end

collectgarbage()

test("every allocation fails once", function()
  local live = core.memory().objects
  expect.compare(sweep(core.save, file, { w = x }), ">", 1)
  expect.compare(sweep(core.load, file), ">", 1)
  expect.compare(sweep(core.load_npy, npy), ">", 1)
  sweep(core.save_npy, npy, x)
  collectgarbage()
  expect.equal(core.memory().objects, live, "objects were left behind")
  expect.equal(values(core.load(file).w)[1][1], 1)

  for i = 1, counter do os.remove(path .. "-" .. i) end
end)

os.remove(path)
