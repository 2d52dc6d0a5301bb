-- The text of functions, for fingerprints: the lines of a file that define one. Files may be edited
-- while a script runs, so their text is kept: that of the script from when bam is loaded, that of
-- modules from when they are required, that of a function in another file from when it is first
-- asked for. A text serves for a function if it compiles to it.
local check = require "bam.util.check"
local embedded = require "bam.embedded"

local M = {}

local LIBRARIES = { _G = true, coroutine = true, debug = true, io = true, math = true, os = true, package = true,
                    string = true, table = true, utf8 = true } -- which have no text

local load = load
local versions = {} -- by path: the texts that were loaded, each { text, code }
local known = setmetatable({}, { __mode = "k" }) -- by function: the lines that define it

local function read(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local text = file:read "a"
  file:close()
  return text
end

local function keep_file(path)
  local text = type(path) == "string" and read(path)
  if not text then return end
  versions[path] = versions[path] or {}
  table.insert(versions[path], { text = text })
end

--- Keep the texts of the script and of the modules that are loaded, and from now on of every module
--- that is required. Called once, when bam has been loaded.
function M.begin()
  local arguments = rawget(_G, "arg")
  keep_file(type(arguments) == "table" and arguments[-1] and arguments[0]) -- [-1]: the program
  for name, module in pairs(package.loaded) do
    local is_lua = module == rawget(_G, name) and LIBRARIES[name]
    if type(name) == "string" and not is_lua and not name:find "^bam%f[.\0]" then
      keep_file(package.searchpath(name, package.path))
    end
  end
  for i, searcher in ipairs(package.searchers) do
    package.searchers[i] = function(name)
      local loader, path = searcher(name)
      local is_lua = type(loader) == "function" and debug.getinfo(loader, "S").what == "main"
      if is_lua then keep_file(path) end
      return loader, path
    end
  end
end

-- ---- which text a function is of ----

local HEADER = 31 -- bytes before a function in what string.dump gives, and one more

local function dump(f) return string.dump(f, true):sub(HEADER + 2) end

-- The compiled code of a text; a first line that begins with "#" is none of it.
local function compile(text)
  local chunk = load(text:gsub("^\xef\xbb\xbf", ""):gsub("^#[^\n]*", ""), "=text", "t")
  return chunk and dump(chunk) or ""
end

local function is_of(version, body)
  version.code = version.code or compile(version.text)
  return version.code:find(body, 1, true) ~= nil
end

local function fail(info, message)
  check.fail("identity: the function at %s:%d counts by its text, which cannot be read: %s",
             info.short_src, info.linedefined, message)
end

-- The text of a file that a function was read from.
local function text_of_file(path, f, info)
  local body, list = dump(f), versions[path] or {}
  for i = #list, 1, -1 do
    if is_of(list[i], body) then return list[i].text end
  end
  local text, message = read(path)
  if not text then fail(info, message) end
  if is_of({ text = text }, body) then return text end
  return fail(info, "the file was changed after the function had been read from it; start the script "
                    .. "again")
end

-- The text that a function is part of; "@" begins the path of a file, "=" what is none.
local function text_around(f, info)
  local mark, rest = info.source:sub(1, 1), info.source:sub(2)
  if mark == "@" then return text_of_file(rest, f, info) end
  if mark ~= "=" then return info.source end
  return embedded.source(rest) or fail(info, "it stands in no file; put it into one")
end

local function lines_of(f, info)
  local text, lines, number = text_around(f, info), {}, 0
  if info.what == "main" then return text end
  for line in string.gmatch(text .. "\n", "(.-)\r?\n") do
    number = number + 1
    if number >= info.linedefined then lines[#lines + 1] = line end
    if number == info.lastlinedefined then break end
  end
  return table.concat(lines, "\n")
end

--- The lines that define a function written in Lua.
---@param f function
---@param info table what debug.getinfo(f, "S") gives
---@return string
function M.of(f, info)
  known[f] = known[f] or lines_of(f, info)
  return known[f]
end

return M
