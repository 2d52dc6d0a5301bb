-- Errors that Lua itself raises: what to write in place of a habit from Python, as the end of the message.
local other_globals = require "bam.util.other_globals"

local M = {}

-- Methods of Python's strings, lists and dicts, which Lua's strings and tables do not have.
local METHODS = {
  append = "write list[#list + 1] = value", extend = "write table.move(more, 1, #more, #list + 1, list)",
  insert = "write table.insert(list, position, value)", pop = "write table.remove(list)",
  index = "a loop finds it: for i, x in ipairs(list) do", sort = "write table.sort(list)",
  items = "write for key, value in pairs(t) do", keys = "write for key in pairs(t) do",
  values = "write for _, value in pairs(t) do", get = "write t[key] or default", update = "write t[key] = value",
  copy = "write table.move(list, 1, #list, 1, {})", split = 'write for word in text:gmatch "%S+" do',
  strip = 'write text:match "^%s*(.-)%s*$"', join = "write table.concat(list, separator)",
  startswith = "write text:sub(1, #start) == start", endswith = "write text:sub(-#stop) == stop",
  replace = "write text:gsub(pattern, new)", concat = "write table.concat(list)", length = "write #t",
  remove = "write table.remove(list, position)", unpack = "write table.unpack(list)",
}

-- Rows are { pattern of the message, what to write, pattern of the line }.
local ROWS = {
  { "index a nil value %(field 'grad'%)", "a gradient is nil before loss:backward(), and after o:zero_grad()" },
  { "call a %S+ value %(%a+ 'shape'%)", "it is a list: x.shape[1]" },
  { "call a %S+ value %(%a+ 'dtype'%)", "write x.dtype" },
  { "call a %S+ value %(%a+ 'device'%)", "write x.device" },
  { "number expected, got bam.Tensor",
    "a number of a tensor with one element is x:item(); functions of tensors are bam's" },
  { "number has no integer representation", 'write "%.0f", or math.floor(x)' },
  { "index a number value", "it is a number already", ":item%(" },
  { "index a function value %(%a+ '([%w_]+)'%)", "it is a method: write x:%1()" },
  { "arithmetic on a function value", "a method of that name is in the way; call the field otherwise", "self%." },
  { "call a tokenizer value", "write tokenizer:encode(text)" },
  { "call a bam.tokenizer value", "write bam.tokenizer.load(path), or bam.tokenizer.train { ... }" },
  { "call a bam.merge value", "write bam.mix { experts = { a, b }, merge = \"ties\" }" },
  { "call a bam.Tensor value %(for iterator", "write for i, row in pairs(x) do" },
  { "call a table value %(%a+ '(%u[%w_]*)'%)", 'a class that can be called is %1 = bam.nn.module "%1"' },
  { "call a table value %(for iterator", "write for i, value in ipairs(list) do, or for key, value in pairs(t) do" },
  { "call a nil value %(for iterator", "a for loop needs a function: ipairs(list), pairs(t)" },
  { "call a number value %(for iterator", "write for i = 1, n do" },
  { "get length of a nil value", "a comment begins with --", "^%s*#" },
  { "value %(field '[i?]", "lists count from 1", "%[%s*0%s*%]" },
  { "value %(field '[i?]", "write t[#t]: negative positions are nil in a list", "%[%s*%-%d" },
  { "concatenate a bam.Tensor value", 'write x:item() of one number, or string.format("%s", x)' },
  { "concatenate a %S+ value", "write tostring(x)" },
  { "attempt to add a 'string'", "texts are joined by .." },
  { "attempt to add a '%S+' with a 'string'", "texts are joined by .." },
  { "arithmetic on a string value", "texts are joined by ..", "%+" },
  { "attempt to mod a 'string'", 'write string.format("%d steps", n)' },
}

local absent -- why a result of bam may be nil
--- Note that something of bam has no result in this run: "with --plan bam.compare returns nil".
---@param text string
function M.note_absent(text) absent = text end

local told -- the name of a global of which the session has just said the same

--- Note that a hint on this global was shown, or none (nil).
---@param name string?
function M.shown(name) told = name end

--- What to write in place of what failed, or nil.
---@param message string of Lua
---@param line? string of the script
---@return string?
function M.hint(message, line)
  local name = message:match "a nil value %(global '([%w_]+)'%)"
  local known = name and other_globals.hint(name, line)
  if known then return name ~= told and known or nil end
  name = message:match "call a nil value %(method '([%w_]+)'%)" or message:match "call a nil value %(field '([%w_]+)'%)"
  if name then return METHODS[name] end
  for _, row in ipairs(ROWS) do
    local capture = message:match(row[1])
    if capture and (not row[3] or line and line:find(row[3])) then
      return (row[2]:gsub("%%1", function() return capture end))
    end
  end
  if absent and message:find "attempt to index a nil value" then return absent end
end

--- The same as the text that follows the message, or "".
---@param message string
---@param line? string
---@return string
function M.ending(message, line)
  local hint = M.hint(message, line)
  return hint and string.format("; %s", hint) or ""
end

return M
