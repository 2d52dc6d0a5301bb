-- The reference as declarations for editors: a file in the format of LuaCATS, which lua-language-server reads.
local catalog = require "bam.doc.catalog"
local native = require "bam.doc.native"
local source = require "bam.doc.source"

local M = {}

local HEAD = [[
---@meta bam
-- Declarations of bam for editors. Written by `make docs` from the sources; do not edit, never run.

---@alias dtype "f32"|"f64"|"bf16"|"f16"|"i32"|"i64"|"u8"|"bool"
---@alias device "cpu"|"cuda"|string
]]

local OPERATORS = { "add", "sub", "mul", "div", "mod", "idiv", "pow", "band", "bor", "bxor" }

-- ---- types that are used ----

-- Add the class of options of a name, and those of its fields, to `list` in the order of their use.
local function use_class(list, known, name)
  if known[name] then return end
  known[name] = true
  local class = source.classes()[name]
  local fields = class and #class.methods == 0 and class.fields or native.fields(name)
  if not fields or class and #class.methods > 0 or native.all().types[name] then return end
  list[#list + 1] = { name = name, fields = fields }
  for _, field in ipairs(fields) do
    for inner in field.type:gmatch "[%a_][%w_.]*" do use_class(list, known, inner) end
  end
end

local function each_comment(pages, visit)
  local function entries(list) for _, entry in ipairs(list) do visit(entry.comment) end end
  for _, page in ipairs(pages) do
    entries(page.functions)
    for _, section in ipairs(page.sections) do entries(section.functions) end
    for _, class in ipairs(page.classes) do
      visit(class)
      if class.call then visit(class.call.comment) end
      entries(class.methods)
    end
  end
end

-- The types of options that the pages mention.
local function used_classes(pages)
  local list, known = {}, {}
  each_comment(pages, function(comment)
    for _, kind in ipairs { "params", "returns", "fields" } do
      for _, item in ipairs(comment[kind] or {}) do
        for name in item.type:gmatch "[%a_][%w_.]*" do use_class(list, known, name) end
      end
    end
  end)
  return list
end

-- ---- writing ----

local function add_lines(out, lines)
  for _, line in ipairs(lines) do out[#out + 1] = line == "" and "---" or "--- " .. line end
end

local function add_tag(out, tag, item)
  local name = item.name and string.format("%s%s ", item.name, item.optional and "?" or "") or ""
  local kind = item.many and string.format("%s ...", item.type) or item.type
  out[#out + 1] = string.format("---@%s %s%s%s", tag, name, kind, item.text == "" and "" or " " .. item.text)
end

local function add_comment(out, comment)
  add_lines(out, comment.text)
  for _, param in ipairs(comment.params) do add_tag(out, "param", param) end
  for _, result in ipairs(comment.returns) do add_tag(out, "return", result) end
end

-- An op may take its attributes by name: x:sum { dim = 2 }.
local function add_overload(out, entry, is_method)
  if #entry.op.attributes == 0 then return end
  local inputs, fields = {}, {}
  for i, param in ipairs(entry.comment.params) do
    local text = string.format("%s%s: %s", param.name, param.optional and "?" or "", param.type)
    if i > #entry.op.inputs then
      fields[#fields + 1] = text
    else
      inputs[#inputs + 1] = is_method and i == 1 and "self: tensor" or text
    end
  end
  local results = string.rep("tensor", entry.op.outputs, ", ")
  out[#out + 1] = string.format("---@overload fun(%s, attributes: { %s }): %s", table.concat(inputs, ", "),
                                table.concat(fields, ", "), results)
end

local function add_op(out, entry, owner, separator)
  local comment, names = entry.comment, {}
  local is_method = separator == ":"
  add_lines(out, comment.text)
  for i, param in ipairs(comment.params) do
    if i > 1 or not is_method then
      add_tag(out, "param", param)
      names[#names + 1] = param.name
    end
  end
  for _, result in ipairs(comment.returns) do add_tag(out, "return", result) end
  add_overload(out, entry, is_method)
  out[#out + 1] = string.format("function %s%s%s(%s) end\n", owner, separator, entry.name, table.concat(names, ", "))
end

local function add_function(out, entry, owner, separator)
  if entry.op then return add_op(out, entry, owner, separator) end
  add_comment(out, entry.comment)
  out[#out + 1] = string.format("function %s%s%s(%s) end\n", owner, separator, entry.name,
                                table.concat(entry.parameters, ", "))
end

-- A table that can be called: fun(inputs: integer, options?: ...): result
local function add_call(out, entry, result)
  local shown = {}
  for i, param in ipairs(entry.comment.params) do
    shown[i] = string.format("%s%s: %s", param.name, param.optional and "?" or "", param.type)
  end
  out[#out + 1] = string.format("---@overload fun(%s): %s", table.concat(shown, ", "), result)
end

local function variable_of(path) return (path:gsub("%W", "_")) end

local function add_class(out, class, base)
  local variable = variable_of(class.path)
  add_lines(out, class.text)
  out[#out + 1] = string.format("---@class %s%s", class.path, base and " : " .. base or "")
  for _, field in ipairs(class.fields) do add_tag(out, "field", field) end
  if class.path == "tensor" then
    for _, name in ipairs(OPERATORS) do
      out[#out + 1] = string.format("---@operator %s(tensor|number): tensor", name)
    end
    out[#out + 1] = "---@operator unm: tensor\n---@operator bnot: tensor\n---@operator len: integer"
  end
  if class.call then add_call(out, class.call, class.path) end
  out[#out + 1] = string.format("local %s = {}\n", variable)
  for _, method in ipairs(class.methods) do add_function(out, method, variable, method.separator) end
end

local function add_tensor_ops(out, pages)
  for _, page in ipairs(pages) do
    for _, section in ipairs(page.sections) do
      for _, entry in ipairs(section.functions) do
        if require("bam.core").methods[entry.name] == entry.value then add_op(out, entry, "tensor", ":") end
      end
    end
  end
end

local MODULE = "bam.nn.Module"

-- What a class of modules inherits from.
local function base_of(class)
  if class.value and catalog.is_class(class.value) then return MODULE end
end

local function add_options(out, classes)
  for _, class in ipairs(classes) do
    out[#out + 1] = string.format("---@class %s", class.name)
    for _, field in ipairs(class.fields) do add_tag(out, "field", field) end
    out[#out + 1] = ""
  end
end

-- The table of bam and those of its modules.
local function add_modules(out, pages)
  out[#out + 1] = "---@class bam\n---@field version string \"major.minor.patch\"\nlocal bam = {}\n"
  for _, item in ipairs(catalog.items()) do
    if item.kind == "module" and item.path ~= "bam" then
      for _, page in ipairs(pages) do
        local call = page.functions[1]
        if call and call.path == item.path then add_call(out, call, call.comment.returns[1].type) end
      end
      out[#out + 1] = string.format("%s = {}\n", item.path)
    end
  end
end

local function add_page(out, page)
  for _, entry in ipairs(page.functions) do
    local owner = entry.path:match "^(.*)%.[%w_]+$"
    if entry.path ~= "bam.corpus" then add_function(out, entry, owner, ".") end
  end
  for _, section in ipairs(page.sections) do
    for _, entry in ipairs(section.functions) do add_function(out, entry, "bam", ".") end
  end
  for _, class in ipairs(page.classes) do
    if class.value then out[#out + 1] = string.format("%s = %s\n", class.path, variable_of(class.path)) end
  end
end

--- The text of bam.d.lua.
---@param all table[] of model.pages
---@return string
function M.text(all)
  local pages = {} -- of what users call
  for _, page in ipairs(all) do
    if not page.is_internal then pages[#pages + 1] = page end
  end
  local out = { HEAD }
  add_options(out, used_classes(pages))
  for _, page in ipairs(pages) do
    for _, class in ipairs(page.classes) do
      if class.path == MODULE then add_class(out, class) end
    end
  end
  for _, page in ipairs(pages) do
    for _, class in ipairs(page.classes) do
      if class.path ~= MODULE then add_class(out, class, base_of(class)) end
    end
  end
  add_tensor_ops(out, pages)
  add_modules(out, pages)
  for _, page in ipairs(pages) do add_page(out, page) end
  out[#out + 1] = "return bam\n"
  return table.concat(out, "\n")
end

return M
