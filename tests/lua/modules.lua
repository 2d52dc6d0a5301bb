-- The modules inside the program: their bytecode belongs to their text, and when one is loaded does not change what
-- counts in a fingerprint.
require "bam"
local expect = require "tests.lua.support.expect"
local library = require "bam.model.fingerprint.library"
local test = require "tests.lua.support.test"

local PROGRAM = ...

local function copy_of_names()
  local names = {}
  for value, name in next, getmetatable(library.names()).__index do names[value] = name end
  return names
end

local at_start = copy_of_names()

-- What a script prints in a process of its own.
local function output(script)
  local pipe <close> = io.popen(string.format("%s -e '%s' 2>&1", PROGRAM, script))
  return pipe:read "a"
end

test("the bytecode of every module is that of its text", function()
  expect.equal(output [[
    local embedded, search, count = require "bam.embedded", package.searchers[2], 0
    for _, module in ipairs(embedded.modules()) do
      local loader, path = search(module)
      local compiled = load(embedded.source(path), "=" .. path, "t")
      if string.dump(loader) ~= string.dump(compiled) then print(module) end
      count = count + 1
    end
    print(count > 200)]], "true\n")
end)

test("scripts cannot load bytecode", function()
  local f, message = load(string.dump(function() return 1 end), "=x", "b")
  expect.equal(f, nil)
  expect.contains(message, "attempt to load a binary chunk")
end)

test("late modules are not loaded at the start", function()
  expect.equal(output [[
    require "bam"
    for _, name in ipairs(require("bam.model.fingerprint.library").late) do
      if package.loaded[name] then print(name) end
    end]], "")
end)

test("late modules change no names and get their own", function()
  for _, name in ipairs(library.late) do require(name) end
  local names, all = copy_of_names(), {}
  for value, name in pairs(at_start) do expect.equal(names[value], name) end
  for _, name in pairs(names) do all[name] = true end
  for _, name in ipairs(library.late) do
    local module = package.loaded[name]
    expect.equal(names[module], name)
    for key, value in pairs(module) do
      if type(key) == "string" and type(value) == "function" then
        expect.yes(all[string.format("%s.%s", name, key)] or names[value], key)
      end
    end
  end
end)

test("what a script changes in a late module is found", function()
  local module = require "bam.tokenizer.regex"
  local before = module.translate
  expect.equal(#library.changes(), 0)
  module.translate = function() end
  local changes = library.changes()
  module.translate = before
  expect.equal(#changes, 1)
  expect.equal(changes[1].path, "bam.tokenizer.regex.translate")
end)
