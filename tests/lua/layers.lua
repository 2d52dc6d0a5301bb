-- The layers of docs/architecture.md: a file includes or requires only what is in its own room or in one further down,
-- and no file reaches itself.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

-- From the bottom up. Rooms of one line do not know each other.
local LAYERS = {
  { "kernels" }, { "kernels/cpu", "kernels/cuda" },
  { "engine/core" }, { "engine/autograd", "engine/io" }, { "engine/ops", "engine/text" }, { "engine/optim" },
  { "lua/bind" }, { "lua/host" },
  { "lua/bam/util" }, { "lua/bam/tensor", "lua/bam/tokenizer" }, { "lua/bam/nn", "lua/bam/data" }, { "lua/bam/model" },
  { "lua/bam/merge", "lua/bam/optim", "lua/bam/formats" }, { "lua/bam/train" }, { "lua/bam/eval" }, { "lua/bam/init.lua" },
  { "lua/bam/doc" }, { "lua/bam/help.lua", "lua/bam/commands" }, { "lua/bam/repl" },
}

local layer_of = {}
for layer, rooms in ipairs(LAYERS) do
  for _, room in ipairs(rooms) do layer_of[room] = layer end
end

-- The room of a file: the nearest directory around it that is one, or the file itself; nil when there is none.
local function room_of(path)
  local room = path
  while room and not layer_of[room] do room = room:match "^(.*)/[^/]*$" end
  return room
end

-- ---- edges ----

-- "engine/ops/../core/x.h" without the detour.
local function normal(path)
  local before
  repeat before, path = path, path:gsub("[^/.]+/%.%./", "", 1) until path == before
  return path
end

local function included(path, text)
  local list = {}
  for name in text:gmatch '#%s*include "([^"]+)"' do
    list[#list + 1] = normal(string.format("%s/%s", path:match "^(.*)/", name))
  end
  return list
end

local function required(_, text, exists)
  local list = {}
  text = text:gsub("%-%-[^\n]*", ""):gsub("'[^'\n]*'", "''") -- messages tell users what to require
  for name in text:gmatch 'require%s*%(?%s*"(bam[%w_.]*)"' do
    local path = string.format("lua/%s", name:gsub("%.", "/"))
    for _, file in ipairs { path .. ".lua", path .. "/init.lua" } do
      if exists[file] then list[#list + 1] = file end -- bam.core is made by lua/bind
    end
  end
  return list
end

-- All files with what they use: { path = { path, ... } }.
local function read_edges()
  local pipe = io.popen "find engine kernels lua -name '*.[ch]' -o -name '*.cu' -o -name '*.lua' | sort"
  local exists, edges = {}, {}
  for path in pipe:lines() do exists[path] = true end
  pipe:close()
  for path in pairs(exists) do
    local list = path:find "%.lua$" and required or included
    edges[path] = list(path, core.read_file(path), exists)
  end
  return edges
end

-- ---- faults ----

local function upward(edges)
  local faults = {}
  for from, list in pairs(edges) do
    for _, to in ipairs(list) do
      local a, b = room_of(from), room_of(to)
      if not a or not b then
        faults[#faults + 1] = string.format("%s uses %s: %s is in no room", from, to, a and to or from)
      elseif a ~= b and layer_of[a] <= layer_of[b] then
        faults[#faults + 1] = string.format("%s uses %s, which is not below it", from, to)
      end
    end
  end
  table.sort(faults)
  return faults
end

-- Walk from a file; state is 1 while its uses are walked, 2 afterwards.
local function walk(edges, path, state, faults)
  state[path] = 1
  for _, to in ipairs(edges[path] or {}) do
    if state[to] == 1 then faults[#faults + 1] = string.format("%s and %s use each other", path, to) end
    if not state[to] then walk(edges, to, state, faults) end
  end
  state[path] = 2
end

local function cycles(edges)
  local state, faults, paths = {}, {}, {}
  for path in pairs(edges) do paths[#paths + 1] = path end
  table.sort(paths)
  for _, path in ipairs(paths) do
    if not state[path] then walk(edges, path, state, faults) end
  end
  return faults
end

-- ---- the tree, and planted faults ----

local edges = read_edges()

test("every file uses only what is below it", function()
  expect.equal(upward(edges), {})
end)

test("no files use each other", function() expect.equal(cycles(edges), {}) end)

test("the tree is read", function()
  expect.contains(table.concat(edges["engine/ops/support/axis.h"], " "), "engine/ops/ops.h")
  expect.contains(table.concat(edges["lua/bam/train/trainer.lua"], " "), "lua/bam/model/checkpoint.lua")
end)

local function planted(path, text)
  local list = path:find "%.lua$" and required or included
  return { [path] = list(path, text, { ["lua/bam/train/init.lua"] = true }) }
end

test("an upward include is found", function()
  local faults = upward(planted("engine/core/x.c", '#include "../ops/ops.h"\n'))
  expect.equal(faults[1], "engine/core/x.c uses engine/ops/ops.h, which is not below it")
end)

test("a lazy upward require is found", function()
  local faults = upward(planted("lua/bam/nn/x.lua", 'local function f() return require("bam.train") end'))
  expect.equal(faults[1], "lua/bam/nn/x.lua uses lua/bam/train/init.lua, which is not below it")
end)

test("a sideways include is found", function()
  local faults = upward(planted("engine/io/x.c", '#include "../autograd/op.h"\n'))
  expect.equal(#faults, 1)
end)

test("a file outside the rooms is found", function()
  local faults = upward(planted("engine/x.c", '#include "core/context.h"\n'))
  expect.contains(faults[1], "engine/x.c is in no room")
end)

test("a cycle is found", function()
  local faults = cycles { a = { "b" }, b = { "c" }, c = { "a" } }
  expect.equal(faults[1], "c and a use each other")
end)
