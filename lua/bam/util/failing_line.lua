-- What an uncaught error shows after its message: what to write instead, if Lua raised it; the line of the script that
-- failed, and the tensors that it names with their dtypes and shapes. Values are read raw: nothing of the script runs.
local core = require "bam.core"
local native_errors = require "bam.util.native_errors"

local M = {}

local MOST = 8 -- tensors shown

-- The text of a line of a chunk: of an input of the REPL, of a file, or of a string that was loaded. Nil if that is not
-- known.
local function text_of(f, source, number)
  local input_of = debug.getregistry()["bam.input_of"] -- see lua/bam/repl/inputs.lua
  local text = input_of and input_of(f) or source
  if text == source and source:sub(1, 1) == "=" then return nil end
  if text == source and source:sub(1, 1) == "@" then
    local file = io.open(source:sub(2), "r")
    text = file and file:read "a" or ""
    if file then file:close() end
  end
  local at = 0
  for line in (text .. "\n"):gmatch "(.-)\r?\n" do
    at = at + 1
    if at == number then return line end
  end
end

-- A local variable, an upvalue or a global of the function at `level` of the caller, raw.
local function variable(level, name)
  local found, value
  for i = 1, 250 do
    local other, held = debug.getlocal(level + 1, i)
    if not other then break end
    if other == name then found, value = true, held end -- the innermost is the last
  end
  local f = debug.getinfo(level + 1, "f").func
  for i = 1, not found and 255 or 0 do
    local other, held = debug.getupvalue(f, i)
    if not other then break end
    if other == name then return held end
  end
  if found then return value end
  return rawget(_G, name)
end

local function describe(name, x)
  local closed = core.closed(x)
  if closed then return string.format("%s is %s", name, closed) end
  return string.format("%s is %s (%s)", name, x.dtype, table.concat(x.shape, ", "))
end

-- "self.wieght is nil (self.weight is there)": a part of a path that is nil, in the table that lacks it; and whether
-- that has a similar name.
local function describe_nil(path, t, name)
  local names = {}
  for key in next, t or {} do
    if type(key) == "string" then names[#names + 1] = key end
  end
  local near = core.nearest(name, names)
  if not near then return string.format("%s is nil", path), false end
  return string.format("%s is nil (%s is there)", path, (path:gsub("[%w_]+$", near))), true
end

-- The value of a path such as "self.weight", the table that it is a field of, and the field's name; or what ends it.
local function follow(level, path)
  local value, holder, last, walked
  for name in path:gmatch "[%w_]+" do
    if not walked then value = variable(level + 1, name)
    elseif type(value) == "table" then holder, value = value, rawget(value, name)
    elseif name == "grad" and getmetatable(value) == "tensor" and not core.closed(value) and not value.grad then
      return nil, nil, name, walked .. ".grad"
    else return value, nil, nil, walked end
    last, walked = name, walked and string.format("%s.%s", walked, name) or name
    if value == nil then return nil, holder, last, walked end
  end
  return value, holder, last, walked
end

-- Words that are no variables, and what follows a name that is a function or a key.
local KEYWORDS = { ["nil"] = true, ["true"] = true, ["false"] = true }
for word in ("and break do else elseif end for function goto if in local not or repeat return then until while")
  :gmatch "%a+" do
  KEYWORDS[word] = true
end

-- The tensors that a line names, described, and the variables and fields that are nil: all of them with nils = "all",
-- those whose name is almost right with "misspelt".
local function operands(level, text, nils)
  local list, known = {}, {}
  text = text:gsub("%-%-.*", ""):gsub('"[^"]*"', '""'):gsub("'[^']*'", "''")
  for before, path, after in (" " .. text):gmatch "([^%w_.])%s*%f[%w_.]([%a_][%w_.]*)()" do
    local value, holder, name, walked = follow(level + 1, path)
    local next_char = (" " .. text):match("^%s*([^%s]?=?)", after)
    if getmetatable(value) == "tensor" and not known[value] and #list < MOST then
      known[value] = true
      list[#list + 1] = describe(walked, value)
    elseif nils and value == nil and name and before ~= ":" and not KEYWORDS[name] and not known[walked]
      and not next_char:find "^[({=\"']" and #list < MOST then
      known[walked] = true
      local described, is_misspelt = describe_nil(walked, holder, name)
      if is_misspelt or nils == "all" then list[#list + 1] = described end
    end
  end
  return list
end

-- The line, and below it the tensors that it names.
local function quote(level, info, text, message)
  local is_named = message:find "%(%a+ '" -- Lua's own message names what is nil
  local tensors = operands(level + 1, text, message:find "nil" and (is_named and "misspelt" or "all"))
  local shown = string.format("\n  %d | %s", info.currentline, text:match "^%s*(.-)%s*$")
  local is_in_sight = info.source:sub(1, 1) == "=" and info.currentline == 1 -- typed just above
  if #tensors == 0 then return is_in_sight and "" or shown end
  return string.format("%s\n  %s   %s", shown, (" "):rep(#tostring(info.currentline)), table.concat(tensors, ", "))
end

--- Text for the error that is being handled, to follow its message, or "". Called by a message handler in C.
---@param message string
---@return string
function M.ending(message)
  local level = 3 -- after this function and the handler
  local info = debug.getinfo(level, "Slf")
  while info and (info.currentline < 0 or info.source:find("=bam/", 1, true) == 1) do
    level = level + 1
    info = debug.getinfo(level, "Slf")
  end
  local place = info and string.format("%s:%d: ", info.short_src, info.currentline)
  if not place or message:sub(1, #place) ~= place then return "" end
  local text = text_of(info.func, info.source, info.currentline)
  return native_errors.ending(message, text) .. (text and text:find "%S" and quote(level, info, text, message) or "")
end

return M
