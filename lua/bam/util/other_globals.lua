-- Globals and built-in functions of Python that a script may expect, with what to write in Lua. Read when one of them
-- is undefined.
local ROWS = {
  { "None null NULL", "write nil" }, { "True", "write true" }, { "False", "write false" },
  { "bam", 'write local bam = require "bam"' },
  { "torch tf jax", 'bam takes its place: local bam = require "bam"' },
  { "np numpy", "arrays are tensors: bam.tensor { 1, 2 }" },
  { "nn", "write local nn = bam.nn" },
  { "F", "its functions are bam's own: bam.softmax(x)" },
  { "optim", "write local optim = bam.optim" },
  { "f", 'format with string.format("loss %.3f", loss)', "f%s*[\"']" },
  { "len", "the length of x is #x" },
  { "range xrange", "write for i = 1, n do" },
  { "enumerate", "write for i, value in ipairs(list) do" },
  { "zip", "write for i = 1, #a do, with a[i] and b[i]" },
  { "map filter", "a loop fills a list: local t = {}; for i, x in ipairs(list) do t[i] = f(x) end" },
  { "int", "write math.tointeger(x), or x // 1" }, { "float", "write tonumber(x)" },
  { "str repr", "write tostring(x)" },
  { "list tuple dict set", "write a table: { 1, 2 }, { name = value }" },
  { "isinstance issubclass", 'write type(x) == "number", or bam.is_tensor(x)' },
  { "hasattr getattr setattr", "write object[name]" },
  { "super", "write Parent.init(self, ...)" },
  { "self", "a method is written with a colon: function Mine:forward(x) ... end" },
  { "abs max min floor ceil sqrt exp log sin cos", "write math.%1(x) for numbers, bam.%1(x) for tensors" },
  { "pow", "write x ^ y" }, { "round", "write math.floor(x + 0.5)" }, { "sum any all", "write x:%1()" },
  { "sorted reversed", "write table.sort(list)" },
  { "input", "write io.read()" }, { "open", "write io.open(path)" },
  { "sys", "the arguments of a script are in the table arg; os.exit() ends it" },
  { "time", "write os.time(), or os.clock()" },
  { "random", "write math.random(), or bam.rand(2, 3)" },
  { "json", "write bam.json" }, { "pickle", "write bam.save(path, state)" },
  { "plt matplotlib", "bam.metrics(phase) gives the numbers; any program can plot metrics.jsonl" },
  { "Exception ValueError TypeError RuntimeError", "write error(message)" },
  { "dir vars", "write help(x)" }, { "eval exec", "write load(text)()" },
  { "append", "write list[#list + 1] = value" },
  { "pass", "an empty block needs nothing" },
  { "format", "write string.format(...)" }, { "this", "methods have self" },
}

local M = {}

local by_name
local function row_of(name)
  if not by_name then
    by_name = {}
    for _, row in ipairs(ROWS) do
      for word in row[1]:gmatch "%S+" do by_name[word] = row end
    end
  end
  return by_name[name]
end

--- What to write in place of a global that does not exist, or nil.
---@param name string
---@param line? string of the script in which it is used
---@return string?
function M.hint(name, line)
  local row = row_of(name)
  if not row or row[3] and not (line and line:find(row[3])) then return nil end
  return (row[2]:gsub("%%1", name))
end

return M
