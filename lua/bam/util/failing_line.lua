-- What an uncaught error shows after its message: what to write instead, if Lua raised it; the line of the script that
-- failed, and the tensors that it names with their dtypes and shapes. Values are read raw: nothing of the script runs.
local core = require "bam.core"
local native_errors = require "bam.util.native_errors"

local M = {}

local MOST = 8 -- tensors shown

-- The text of a line of a chunk: of an input of the REPL, of a file, or of a string that was loaded. Nil if that is not
-- known.
local function text_of(f, source, number)
  local inputs = debug.getregistry()["bam.inputs"] -- see lua/bam/repl/statements.lua
  local text = inputs and inputs[f] or source
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

-- A local variable, an upvalue or a global of the function at `level` of the caller.
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

-- The tensors that a line names, described.
local function operands(level, text)
  local list, known = {}, {}
  text = text:gsub("%-%-.*", ""):gsub('"[^"]*"', '""'):gsub("'[^']*'", "''")
  for path in text:gmatch "%f[%w_.][%a_][%w_.]*" do
    local value
    for name in path:gmatch "[%w_]+" do
      if value == nil then value = variable(level + 1, name)
      elseif type(value) == "table" then value = rawget(value, name)
      else break end
      if value == nil then break end
    end
    if getmetatable(value) == "tensor" and not known[value] and #list < MOST then
      known[value] = true
      local name = path:gsub("%.shape$", ""):gsub("%.grad$", "")
      list[#list + 1] = describe(name, value)
    end
  end
  return list
end

-- The line, and below it the tensors that it names.
local function quote(level, info, text)
  local tensors = operands(level + 1, text)
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
  return native_errors.ending(message, text) .. (text and text:find "%S" and quote(level, info, text) or "")
end

return M
