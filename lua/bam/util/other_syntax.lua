-- What Lua writes where Python, or C, is written otherwise: the end of the message of a syntax error. Nothing here is
-- asked of a text that Lua accepts.
local M = {}

local MOST_LINES = 10 -- before the line of the error, in which the `:` of a block is looked for

-- Rows are { pattern of the line, what to write, pattern of Lua's message }. %1, %2 stand for the pattern's captures.
-- Strings in the line are empty.

-- Lines that open a block in Python. Lua may read on behind their colon, as behind that of a method.
local BLOCKS = {
  { "^%s*for%s+([%w_]+)%s+in%s+range%s*(%b()).*:%f[%s\0]", "write for %1 = 1, n do ... end; the n is included" },
  { "^%s*for%s+(.-)%s+in%s+(.-):%f[%s\0]", "write for i, %1 in ipairs(%2) do ... end" },
  { "^%s*while%s+(.-):%f[%s\0]", "write while %1 do ... end" },
  { "^%s*if%s+(.-):%f[%s\0]", "write if %1 then ... end" },
  { "^%s*elif%s+(.-):%f[%s\0]", "write elseif %1 then" },
  { "^%s*else%s*:%f[%s\0]", "write else, without a colon, and end after the block" },
  { "^%s*try%s*:%f[%s\0]", "write local fine, message = pcall(function() ... end)" },
  { "^%s*except.*:%f[%s\0]", "write local fine, message = pcall(function() ... end)" },
  { "^%s*finally%s*:%f[%s\0]", "write local fine, message = pcall(function() ... end)" },
  { "^%s*with%s+[%w_.]*no_grad.*:%f[%s\0]", "write bam.no_grad(function() ... end)" },
  { "^%s*with%s+open.*:%f[%s\0]", "write local file <close> = assert(io.open(path))" },
  { "^%s*with%s.*:%f[%s\0]", "write local x <close> = ..., which is closed at the end of its block" },
}

local LOOP = "a loop fills a list: local t = {}; for i = 1, n do t[i] = ... end"
local RANGES = "ranges are lists: x[{ { 1, 2 } }] is rows 1 to 2, x[{ {}, 1 }] is column 1"

local ROWS = {
  { "#%s", "a comment begins with --", "near '#'" }, { "#$", "a comment begins with --", "near '#'" },
  { "^%s*import%s+torch", 'write local bam = require "bam"' },
  { "^%s*import%s+([%w_.]+)", 'write local %1 = require "%1"' },
  { "^%s*from%s+torch", 'write local bam = require "bam"; layers are in bam.nn' },
  { "^%s*from%s+([%w_.]+)%s+import%s+([%w_]+)", 'write local %2 = require("%1").%2' },
  { "^%s*def%s+([%w_]+)%s*(%b())", "write function %1%2 ... end" },
  { "^%s*class%s+([%w_]+)%s*%(.-Module", 'write local %1 = bam.nn.module "%1", and then function %1:init() ... end' },
  { "^%s*class%s", "a class of bam is local Mine = bam.nn.module \"Mine\"; other objects are tables" },
  { "%f[%w_]lambda%s+([%w_, ]-)%s*:%s*(.*)", "write function(%1) return ... end" },
  { "^%s*elif%f[%W]", "write elseif ... then" },
  { "^%s*assert%s+(.*)", "write assert(condition, message)" },
  { "^%s*raise%f[%W]", "write error(message)" },
  { "^%s*del%s+(.*)", "write %1 = nil" },
  { "^%s*pass%s*$", "an empty block needs nothing", "." },
  { "^%s*continue%s*$", "write goto continue, and ::continue:: at the end of the loop's body", "." },
  { "^%s*global%s", "names without `local` are global" },
  { "^%s*nonlocal%s", "a function sees and changes the locals around it" },
  { "^%s*yield%f[%W]", "write coroutine.yield(...)" },
  { "^%s*@", "write f = decorator(f)" },
  { "[%(%[{].*%f[%w_]for%s+[%w_, ]+%s+in%s.*[%]%)}]", LOOP,
    "near 'for'" },
  { "%[.*%sfor%s", LOOP, "near '%['" },
  { "([%w_.%[%]]+)%s*([-+*/%%^&|]/?)=%s*([%w_.]+)%s*$", "write %1 = %1 %2 %3" },
  { "([%w_.%[%]]+)%s*([-+*/%%^&|]/?)=", "write %1 = %1 %2 ..." },
  { "([%w_.%[%]]+)%s*%+%+", "write %1 = %1 + 1" },
  { "!=", "unequal is ~= in Lua" },
  { "%*%*", "a power is x ^ 2" },
  { "%s@%s", "a product of matrices is bam.matmul(x, y)" },
  { "&&", "write a and b" },
  { "||", "write a or b" },
  { "!%s*[%w_(]", "write not x" },
  { "%f[%w_]is%s+not%s+None", "write x ~= nil" },
  { "%f[%w_]is%s+None", "write x == nil" },
  { "%f[%w_]not%s+in%f[%W]", "write t[key] == nil" },
  { "%sis%s+not%s", "write x ~= y" },
  { "%sis%s", "write x == y" },
  { "%S%s+if%s.+%selse%s", "write condition and a or b", "near '[ie][fl]s?e?'" },
  { "%f[%w_]if%s+(.-[%w_%])])%s*=%s*[^=]", "equal is == in Lua", "'then' expected near '='" },
  { "%f[%w_]while%s+(.-[%w_%])])%s*=%s*[^=]", "equal is == in Lua", "'do' expected near '='" },
  { ":=", "write the assignment on a line of its own" },
  { "^%s*[%w_.]+%s*=%s*[%w_.]+%s*=%s*[%w_.\"']+%s*$", "an assignment has no value; write one after the other",
    "near '='" },
  { "[,(]%s*([%w_]+)%s*=%s*[^=]", "options are a table: f(x, { %1 = ... })", "'%)' expected near '='" },
  { "{%s*[\"'][\"']%s*:", "a table is written { name = value }", "." },
  { "{%s*[%w_]+%s*:%s", "a table is written { name = value }, or { [key] = value }", "." },
  { "^%s*[%w_]+%s*:%s*[%w_.%[%]]+%s*=", "variables have no types: local x = 3" },
  { "[%w_%])]%s*%[[^%[%]]*:%s*[-%d,%]]", RANGES }, { "[%w_%])]%s*%[[^%[%]]*[%[,]%s*:", RANGES },
  { "[%w_%])]%s*%[%s*:", RANGES }, { "[%w_%])]%s*%[[%w_.]+:[%w_.]+[%],]", RANGES },
  { "[%w_%])]%s*%[[^%[%]]*,[^%[%]]*%]", "positions in several dimensions are a list: x[{ 1, 2 }], x[{ {}, 1 }]",
    "'%]' expected near ','" },
  { "%[", "a list is written { 1, 2, 3 }", "near '%['" },
  { "=%s*%([^()]*,", "a list is written { 1, 2 }; several variables are assigned by a, b = 1, 2", "near ','" },
  { "//%s*%a", "a comment begins with --", "near '//'" },
  { "/%*", "a comment begins with --; a long one is --[[ ... ]]" },
  { '""', "a long string is [[ ... ]], a comment begins with --", "near '\"\"'" },
  { "''", "a long string is [[ ... ]], a comment begins with --", "near ''''" },
  { "[\"'][\"']%s*%.%s*([%a_]+)%s*%(", 'write ("text"):%1(...)', "near '[.\"']" },
  { "%f[%w_](%d+)_(%d+)", "write %1%2, or 1e6", "malformed number" },
  { "\\%s*$", "a line goes on without a mark" },
}

-- A line without the contents of its strings, and without a comment of Lua or Python.
local function blank(line)
  if line:find "^%s*#" then return "#" end
  line = line:gsub('"[^"]*"', '""'):gsub("'[^']*'", "''"):gsub("%-%-.*", "")
  local code, comment = line:match "^(.-%S)%s*(#%s.*)$"
  return comment and code .. " # " or line
end

-- What a condition of Python is in Lua; "..." if it is not whole.
local function condition(text)
  for opener, closer in pairs { ["%("] = "%)", ["%["] = "%]" } do
    local _, opened = text:gsub(opener, "")
    local _, closed = text:gsub(closer, "")
    if opened ~= closed then return "..." end
  end
  text = text:gsub("%sis%s+not%s", " ~= "):gsub("%sis%s", " == "):gsub("!=", "~="):gsub("%*%*", "^")
  text = text:gsub("([%w_.]+)%s+not%s+in%s+([%w_.]+)", "%2[%1] == nil"):gsub("([%w_.]+)%s+in%s+([%w_.]+)", "%2[%1]")
  return (text:gsub("%f[%w_]%u[%l]+%f[^%w_]", { None = "nil", True = "true", False = "false" }))
end

local function find(rows, line, message)
  for _, row in ipairs(rows) do
    local captures = { line:match(row[1]) }
    if #captures > 0 and (not row[3] or message:find(row[3])) then
      return (row[2]:gsub("%%(%d)", function(i) return condition(captures[tonumber(i)]) end))
    end
  end
end

-- Does the line open a block of Lua?
local function is_lua(line)
  return line:find "%f[%w_]do%f[^%w_]" or line:find "%f[%w_]then%f[^%w_]" or line:find "::"
end

local function block(line)
  line = blank(line)
  return not is_lua(line) and find(BLOCKS, line, "") or nil
end

local function lines_of(text)
  local lines = {}
  for line in string.gmatch(text .. "\n", "(.-)\r?\n") do lines[#lines + 1] = line end
  return lines
end

--- What to write in place of the syntax error that Lua found in a text, or nil.
---@param text string
---@param message string of Lua
---@return string?
function M.hint(text, message)
  local lines, at = lines_of(text), tonumber(message:match ":(%d+): ")
  if not at or not lines[at] then return nil end
  for i = at, math.max(1, at - MOST_LINES), -1 do
    local found = block(lines[i])
    if found then return found end
  end
  return find(ROWS, blank(lines[at]), message)
end

--- What to write in place of a line that opens a block as in Python, or nil. Lua may not have found it wrong yet.
---@param text string whose last line is asked about
---@return string?
function M.block(text)
  local lines = lines_of(text)
  return block(lines[#lines])
end

--- A message with what to write instead, if that is known.
---@param message string
---@param text string
---@return string
function M.explain(message, text)
  local hint = M.hint(text, message)
  return hint and string.format("%s; %s", message, hint) or message
end

--- The same for the text of a file.
---@param message string
---@param path string
---@return string
function M.explain_file(message, path)
  local file = io.open(path, "r")
  local text = file and file:read "a" or ""
  if file then file:close() end
  return M.explain(message, text)
end

return M
