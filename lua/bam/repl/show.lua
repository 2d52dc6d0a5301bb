-- How the REPL shows a table: its contents, bounded in depth and in number, sorted, tables within themselves marked.
-- Everything else prints as `print` prints it.
local check = require "bam.util.check"
local json = require "bam.util.json"

local M = {}

local MAX_DEPTH = 6
local MAX_ITEMS = 200   -- in all tables of one result together
local MAX_KEYS = 10000  -- named keys that are read and sorted
local MAX_STRING = 200  -- bytes of a string inside a table
local MAX_CELL = 24     -- items up to this width share lines

local render -- (value, state, depth): its text, which may have several lines

-- The name of a loaded module.
local function module_name(value)
  for name, loaded in next, package.loaded do
    if rawequal(loaded, value) and type(name) == "string" then return name end
  end
end

local function string_text(text, state)
  local cut = #text > MAX_STRING
  local part = cut and text:sub(1, MAX_STRING):gsub("[\x80-\xFF]*$", "") or text -- whole characters
  local shown = string.format("%q", part):gsub("\\\n", "\\n")
  shown = shown:gsub("[\0-\31\127]", function(c) return string.format("\\%03d", c:byte()) end)
  shown = state.paint("string", shown)
  return cut and string.format("%s... (%d bytes)", shown, #text) or shown
end

-- The first line of the text that an object has of itself, and the second if it is short and the last.
local function object_text(value)
  local fine, text = pcall(tostring, value)
  if not fine then return string.format("<%s: its __tostring failed>", type(value)) end
  local line, rest = text:match "^([^\n]*)\n?%s*(.*)$"
  if rest == "" then return line end
  local is_short = not rest:find("\n", 1, true) and #rest <= MAX_CELL
  return is_short and string.format("<%s: %s>", line, rest) or string.format("<%s ...>", line)
end

local function function_text(f)
  local info = debug.getinfo(f, "S")
  if info.what == "C" or info.source:find "^=bam/" then return "<function>" end
  return string.format("<function at %s:%d>", info.short_src, info.linedefined)
end

local ARRAY = getmetatable(json.array {}) -- lists from JSON are shown as lists

local function has_text(value)
  local metatable = debug.getmetatable(value)
  if metatable == ARRAY or check.plain[metatable] then return false end
  return type(metatable) == "table" and rawget(metatable, "__tostring") ~= nil
end

-- Names that are identifiers are shown bare, as in a table constructor.
local function key_text(key, state)
  local bare = type(key) == "string" and key:find "^[%a_][%w_]*$"
  return state.paint("key", bare and key or string.format("[%s]", render(key, state, MAX_DEPTH)))
end

local RANK = { number = 1, string = 2, boolean = 3 }

local function key_before(a, b)
  local kind_a, kind_b = math.type(a) and "number" or type(a), math.type(b) and "number" or type(b)
  local rank_a, rank_b = RANK[kind_a] or 4, RANK[kind_b] or 4
  if rank_a ~= rank_b then return rank_a < rank_b end
  if rank_a <= 2 then return a < b end
  return tostring(a) < tostring(b)
end

-- The pairs of `t` as its own __pairs or next gives them: the keys in order, their values, and whether there are more.
local function pairs_of(t)
  local metatable = debug.getmetatable(t)
  local own = type(metatable) == "table" and rawget(metatable, "__pairs")
  local count = own and 0 or rawlen(t)
  local step, state, start = next, t, nil
  if own then step, state, start = pairs(t) end
  local keys, values = {}, {}
  for key, value in step, state, start do
    if math.type(key) ~= "integer" or key < 1 or key > count then
      if #keys == MAX_KEYS then return count, keys, values, true end
      keys[#keys + 1], values[key] = key, value
    end
  end
  table.sort(keys, key_before)
  return count, keys, values, false
end

-- Take one item of what may still be shown.
local function take(state)
  state.left = state.left - 1
  return state.left >= 0
end

-- The texts of the items of a table, and of how many are left out.
local function items_of(t, state, depth)
  local count, keys, values, more = pairs_of(t)
  local items, shown, total = {}, 0, count + #keys
  while shown < total and take(state) do
    shown = shown + 1
    local key = keys[shown - count]
    if not key then
      items[shown] = render(rawget(t, shown), state, depth)
    elseif key == shown then -- a list that only __pairs reads
      items[shown] = render(values[key], state, depth)
    else
      items[shown] = string.format("%s = %s", key_text(key, state), render(values[key], state, depth))
    end
  end
  if more then items[shown + 1] = "... and more"
  elseif shown < total then items[shown + 1] = string.format("... %d more", total - shown) end
  return items
end

--- The width of a text without its colors, in characters.
local function width_of(text)
  local plain = text:gsub("\27%[[%d;]*m", "")
  return utf8.len(plain) or #plain
end

-- Small items side by side, as many as fit on a line; others on a line each.
local function lines_of(items, room)
  local lines, width = {}, room + 1
  for i, item in ipairs(items) do
    local text = i < #items and item .. "," or item
    local size = item:find("\n", 1, true) and room or width_of(text)
    local small = size <= MAX_CELL and not item:find(" = ", 1, true)
    if small and width + 1 + size <= room then
      lines[#lines] = string.format("%s %s", lines[#lines], text)
      width = width + 1 + size
    else
      lines[#lines + 1] = text
      width = small and size or room + 1
    end
  end
  return lines
end

local function table_text(t, state, depth)
  if state.path[t] then return "<table within itself>" end
  if depth >= MAX_DEPTH then return "{...}" end
  state.path[t] = true
  local fine, items = pcall(items_of, t, state, depth + 1)
  state.path[t] = nil
  if not fine then return string.format("<table that cannot be read: %s>", tostring(items)) end
  if #items == 0 then return "{}" end
  local room = state.columns - 2 * depth
  local line = string.format("{ %s }", table.concat(items, ", "))
  if not line:find("\n", 1, true) and width_of(line) <= room then return line end
  local indent = string.rep("  ", depth + 1)
  return string.format("{\n%s%s\n%s}", indent, table.concat(lines_of(items, room - 2), "\n" .. indent),
                       string.rep("  ", depth))
end

function render(value, state, depth)
  local kind = type(value)
  if kind == "string" then return string_text(value, state) end
  if kind == "function" then return function_text(value) end
  if kind == "table" then
    local module = module_name(value)
    if module then return string.format("<module %s>", module) end
    if not has_text(value) then return table_text(value, state, depth) end
  elseif kind ~= "userdata" and kind ~= "thread" then
    return state.paint("number", tostring(value))
  end
  return object_text(value)
end

--- The text of a result that is a plain table; nil for what `print` shows better.
---@param value any
---@param columns integer width of the terminal
---@param paint fun(kind: string, text: string): string
---@return string?
function M.text(value, columns, paint)
  if type(value) ~= "table" then return nil end
  if rawequal(debug.getregistry()["bam.shown"], value) then return "(the result is shown above)" end
  if has_text(value) then return nil end
  local module = module_name(value)
  if module then return string.format("module %s; help(%s) explains it", module, module) end
  return render(value, { left = MAX_ITEMS, columns = columns, paint = paint, path = {} }, 0)
end

return M
