-- Which options a function takes, compared with those that its documentation names. The function is called with an
-- option that does not exist: it either asks check.options, whose list of names is then known, or refuses it by name.
local bam = require "bam"
local check = require "bam.util.check"
local comments = require "bam.doc.comment"
local native = require "bam.doc.native"
local source = require "bam.doc.source"

local M = {}

-- Tables that are not options: they are read field by field.
local PLAIN = { ["bam.loop.run"] = true, ["bam.loop.step"] = true, ["bam.core.bpe"] = true,
                ["bam.core.bpe_trainer"] = true }

-- ---- what functions are called with ----

local description = bam.models.parallel { layers = 1, width = 4, heads = 1, ffn = 2, vocab = 256 }
local model = description:build { seed = 1 }
local text = bam.corpus({ a = "no-such-file" }, { vocab = 300 })
local layer = bam.nn.Linear(2, 2)
local optimizer = bam.optim.SGD(layer)

local objects = {
  description = description, model = model, ensemble = bam.ensemble { models = { model } }, module = layer,
  optimizer = optimizer, text = text, source = text:sample { a = 1 }, heldout = text.heldout,
  tokenizer = bam.tokenizer.train { texts = { "ab ab ab" }, vocab = 258 }, s = bam.schedule.cosine { peak = 1 },
  graph = bam.graph(print),
}

-- One object of each documented class, by the variable that the reference calls it.
M.objects = objects

local arguments = {
  ["bam.gradcheck"] = { function(x) return x end, { bam.ones(1, { dtype = "f64" }) } },
  ["bam.models.Model"] = { description },
  ["bam.corpus"] = { { a = "no-such-file" } },
  ["module:load_state"] = { layer:state() },
  ["optimizer:load_state"] = { optimizer:state() },
  ["bam.load"] = { "." },
}

local function sample(kind)
  if kind:find "^tensor%[%]" then return { bam.zeros(2, 2), bam.zeros(2, 2) } end
  if kind:find "tensor" then return bam.zeros(2, 2) end
  if kind:find "integer" or kind:find "number" then return 1 end
  if kind:find "string" then return "x" end
  if kind:find "function" or kind:find "^fun" then return print end
  if kind:find "boolean" then return true end
  return {}
end

-- ---- what they take ----

-- The options that a type names, nil if it is not one of options.
local function fields_of(kind)
  local fields
  local name = kind:match "^[%w_.]+"
  local class = source.classes()[name]
  if kind:find "^{" then
    fields = comments.inline_fields(kind)
  elseif class then
    fields = #class.methods == 0 and class.fields
  else
    fields = not native.all().types[name] and native.fields(name)
  end
  return fields and #fields > 0 and fields
end

-- Call the function of an entry with `given` as parameter `at`: the names of its check.options, or nil and its message.
local function call(entry, class, self, at, given)
  local original, found = check.options, nil
  local list = table.pack(table.unpack(arguments[entry.path] or {}))
  for i = #list + 1, at - 1 do list[i] = sample(entry.comment.params[i].type) end
  list[at] = given
  if self ~= nil then table.insert(list, 1, self) end
  check.options = function(what, options, spec)
    if rawequal(options, given) then
      found = spec
      error("found", 0)
    end
    return original(what, options, spec)
  end
  local f = class and class.call == entry and class.value or entry.value or self[entry.name]
  local _, message = pcall(f, table.unpack(list, 1, at + (self ~= nil and 1 or 0)))
  check.options = original
  return found, tostring(message)
end

local function compare(faults, names, spec)
  for name in pairs(spec) do
    if not names[name] then faults[#faults + 1] = string.format("option %s is not documented", name) end
  end
  for name in pairs(names) do
    if not spec[name] then faults[#faults + 1] = string.format("option %s is documented, but refused", name) end
  end
end

-- Functions that refuse names themselves say which: "no option `planted`; there are `a`, `b`".
local function ask_by_name(faults, entry, class, self, at, fields)
  for _, field in ipairs(fields) do
    local _, message = call(entry, class, self, at, { [field.name] = sample(field.type) })
    if message:find(string.format("no option `%s`", field.name), 1, true) then
      faults[#faults + 1] = string.format("option %s is documented, but refused", field.name)
    end
  end
end

--- What is wrong with the documented options of a function or method, as a list of texts.
---@param entry table of the reference
---@param class? table
---@return string[]
function M.faults(entry, class)
  local faults = {}
  local self = class and class.call ~= entry and objects[entry.path:match "^%w+"] or nil
  for at, param in ipairs(entry.comment.params) do
    local fields = not entry.op and not PLAIN[entry.path] and fields_of(param.type)
    if fields then
      local names = {}
      for _, field in ipairs(fields) do names[field.name] = true end
      local spec, message = call(entry, class, self, at, { planted = 1 })
      if spec then
        compare(faults, names, spec)
      elseif message:find("no option `planted`", 1, true) then
        ask_by_name(faults, entry, class, self, at, fields)
      else
        faults[#faults + 1] = string.format("its options are not reached: %s", message)
      end
    end
  end
  return faults
end

return M
