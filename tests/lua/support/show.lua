-- How expectations print values: short, on one line, and two values that differ with the first place where they do.
local M = {}

local MOST_TEXT, AROUND = 200, 40 -- characters of a string; characters on each side of a difference
local MOST_ITEMS = 8              -- elements of a list or tensor

--- Is `x` a tensor?
---@param x any
---@return boolean
function M.is_tensor(x)
  local meta = type(x) == "userdata" and debug.getmetatable(x)
  return meta ~= nil and meta ~= false and meta.__name == "bam.Tensor"
end

local function quote(text) return (string.format("%q", text):gsub("\\\n", "\\n")) end

local function text(s)
  if #s <= MOST_TEXT then return quote(s) end
  return string.format("%s... (%d bytes)", quote(s:sub(1, MOST_TEXT)), #s)
end

local function keys_of(t)
  local keys = {}
  for key in pairs(t) do
    if math.type(key) ~= "integer" or key < 1 or key > #t then keys[#keys + 1] = key end
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

local function list(t, depth)
  local parts = {}
  for i = 1, math.min(#t, MOST_ITEMS) do parts[i] = M.value(t[i], depth + 1) end
  if #t > MOST_ITEMS then parts[#parts + 1] = string.format("... (%d elements)", #t) end
  for i, key in ipairs(keys_of(t)) do
    if i > MOST_ITEMS then parts[#parts + 1] = "..." break end
    parts[#parts + 1] = string.format("%s = %s", tostring(key), M.value(t[key], depth + 1))
  end
  return string.format("{ %s }", table.concat(parts, ", "))
end

local function tensor(x)
  local flat = x:flatten()
  local head = flat:count() > MOST_ITEMS and flat:narrow(1, 1, MOST_ITEMS):totable() or flat:totable()
  for i, value in ipairs(head) do head[i] = M.value(value) end
  return string.format("tensor %s (%s): %s%s", x.dtype, table.concat(x.shape, ", "), table.concat(head, " "),
                       flat:count() > MOST_ITEMS and " ..." or "")
end

--- `x` as text of about one line.
---@param x any
---@param depth? integer of nesting so far
---@return string
function M.value(x, depth)
  if type(x) == "string" then return text(x) end
  if math.type(x) == "float" then return string.format("%.17g", x) end
  if M.is_tensor(x) then return tensor(x) end
  if type(x) == "table" and not (getmetatable(x) or {}).__tostring then
    return (depth or 0) < 4 and list(x, depth or 0) or "{ ... }"
  end
  return tostring(x)
end

local function first_difference(a, b)
  for i = 1, math.max(#a, #b) do
    if a:byte(i) ~= b:byte(i) then return i end
  end
end

local function around(s, at)
  local from, to = math.max(at - AROUND, 1), math.min(at + AROUND, #s)
  return string.format("%s%s%s", from > 1 and "..." or "", quote(s:sub(from, to)), to < #s and "..." or "")
end

-- Two strings: whole when both are short, otherwise the first place where they differ.
local function strings(got, want)
  if #got + #want <= MOST_TEXT then return string.format("got %s, want %s", quote(got), quote(want)) end
  local at = first_difference(got, want)
  local line = select(2, got:sub(1, at - 1):gsub("\n", "")) + 1
  return string.format("differs at byte %d, line %d:\n  got  %s\n  want %s", at, line, around(got, at), around(want, at))
end

--- Two values that are not equal.
---@param got any
---@param want any
---@return string
function M.pair(got, want)
  if type(got) == "string" and type(want) == "string" then return strings(got, want) end
  return string.format("got %s, want %s", M.value(got), M.value(want))
end

return M
