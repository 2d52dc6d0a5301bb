-- The reference as data: pages of sections of entries, from the catalog, the doc comments and pages.lua. Markdown and
-- the file for editors are written from it.
local catalog = require "bam.doc.catalog"
local entries = require "bam.doc.entry"
local native = require "bam.doc.native"
local pages = require "bam.doc.pages"
local source = require "bam.doc.source"

local M = {}

-- The op with which a family begins, in the order of engine/ops/list.h.
local FAMILIES = {
  add = "Arithmetic", eq = "Comparison and logic", exp = "Elementwise functions", where = "Selection",
  reshape = "Shape, copies and conversion", sum = "Reductions", softmax = "Softmax",
  matmul = "Matrix product", index_select = "Indexing and sorting", concat = "Joining and rearranging",
  embedding = "Layers", cross_entropy = "Losses",
}

local function function_entry(path, name, f, separator)
  local entry = entries.of_function(f)
  entry.path, entry.name, entry.separator, entry.value = path, name, separator or ".", f
  entry.signature = entries.signature(path, entry)
  return entry
end

-- An entry of a function that is not at hand: a method that a class declares in Lua, or one of C.
local function declared_entry(variable, method, parameters)
  local entry = { comment = method.comment, parameters = parameters, name = method.name,
                  separator = method.separator, path = variable .. method.separator .. method.name }
  entry.signature = entries.signature(entry.path, entry)
  return entry
end

-- ---- what there is ----

-- Items by path, and the set of those that a page must show.
local function index_items()
  local by_path, open = {}, {}
  for _, item in ipairs(catalog.items()) do
    by_path[item.path] = item
    local is_op = catalog.is_function(item.value) and entries.of_function(item.value).op
    if item.kind ~= "method" and item.path ~= "bam" and not is_op then open[item.path] = true end
  end
  return by_path, open
end

local function take(state, path, page)
  if not state.open[path] then
    error(string.format("docs: page %s: %s does not exist, or is on another page too", page.name, path), 0)
  end
  state.open[path] = nil
  return state.by_path[path]
end

-- ---- classes ----

-- A class of modules: how it is made, its methods.
local function runtime_class(state, path, page)
  local item = take(state, path, page)
  local comment = item.module and source.of_module(item.module) or { text = {} }
  local class = { path = path, name = item.name or path, text = comment.text, fields = {}, methods = {},
                  value = item.value }
  local variable = (item.name or "x"):lower()
  for _, name in ipairs(catalog.names(item.value, function(value) return type(value) == "function" end)) do
    if name == "init" and catalog.is_class(item.value) then
      class.call = function_entry(path, path, item.value.init)
    else
      table.insert(class.methods, function_entry(variable .. ":" .. name, name, item.value[name], ":"))
    end
  end
  return class
end

local function by_name(a, b) return a.name < b.name end

-- A class of objects, declared in Lua or in C or both.
local function object_class(name, variable)
  local class = { path = name, name = name, variable = variable, text = {}, fields = {}, methods = {} }
  for i, entry in ipairs(native.all().types[name] or {}) do
    if i == 1 then
      class.text, class.fields = entry.comment.text, entry.comment.fields
    else
      entry.parameters = {}
      for parameter in entry.usage:match("%((.*)%)"):gmatch "[%w_.]+" do table.insert(entry.parameters, parameter) end
      table.insert(class.methods, declared_entry(variable, entry, entry.parameters))
    end
  end
  local declared = source.classes()[name]
  if declared then
    if #class.text == 0 then class.text = declared.text end
    class.fields = table.move(declared.fields, 1, #declared.fields, #class.fields + 1, class.fields)
    for _, method in ipairs(declared.methods) do
      table.insert(class.methods, declared_entry(variable, method, method.parameters))
    end
  end
  if not declared and not native.all().types[name] then
    error(string.format("docs: no class is called %s; is its @class missing?", name), 0)
  end
  table.sort(class.methods, by_name)
  return class
end

-- ---- pages ----

local function add_ops(page)
  local section
  for _, op in ipairs(native.all().ops) do
    if FAMILIES[op.name] then
      section = { title = FAMILIES[op.name], functions = {} }
      table.insert(page.sections, section)
    end
    table.insert(section.functions, function_entry("bam." .. op.name, op.name, package.loaded.bam[op.name]))
  end
end

-- The functions of bam.core that are not in bam too, sorted.
local function add_core(page)
  local core, bam = require "bam.core", package.loaded.bam
  for _, name in ipairs(catalog.names(core, catalog.is_function)) do
    if not rawequal(rawget(bam, name), core[name]) then
      table.insert(page.functions, function_entry("bam.core." .. name, name, core[name]))
    end
  end
end

local function add_module(state, page, path)
  local item = take(state, path, page)
  page.lines = source.of_module(item.module).text
  local metatable = debug.getmetatable(item.value)
  local call = metatable and rawget(metatable, "__call")
  if type(call) == "function" then
    local entry = function_entry(path, path, call)
    entry.value = item.value -- the module is called, not its metamethod
    table.insert(page.functions, entry)
  end
  local paths = {}
  for _, other in pairs(state.by_path) do
    if other.owner == path then paths[#paths + 1] = other.path end
  end
  table.sort(paths, function(a, b) -- what all classes inherit comes first
    local first, second = a == "bam.nn.Module", b == "bam.nn.Module"
    if first ~= second then return first end
    return a < b
  end)
  for _, inner in ipairs(paths) do
    local kind = state.by_path[inner].kind
    if kind == "class" then
      table.insert(page.classes, runtime_class(state, inner, page))
    elseif kind == "function" then
      table.insert(page.functions, function_entry(inner, state.by_path[inner].name, take(state, inner, page).value))
    end
  end
end

local function build_page(state, spec)
  local page = { name = spec.name, title = spec.title, lines = { spec.text }, functions = {}, classes = {},
                 sections = {}, is_internal = spec.core }
  if spec.module then add_module(state, page, spec.module) end
  if spec.ops then add_ops(page) end
  if spec.core then add_core(page) end
  for name in (spec.functions or ""):gmatch "%S+" do
    table.insert(page.functions, function_entry("bam." .. name, name, take(state, "bam." .. name, page).value))
  end
  for _, path in ipairs(spec.runtime or {}) do table.insert(page.classes, runtime_class(state, path, page)) end
  for _, class in ipairs(spec.classes or {}) do table.insert(page.classes, object_class(class[1], class[2])) end
  return page
end

--- The pages of the reference: { name, title, lines, functions, classes, sections, is_internal }. Raises if something
--- public is on no page or on two. Needs bam to be loaded.
---@return table[]
function M.pages()
  local by_path, open = index_items()
  local state, list = { by_path = by_path, open = open }, {}
  for i, spec in ipairs(pages) do list[i] = build_page(state, spec) end
  local forgotten = next(open)
  if forgotten then
    error(string.format("docs: %s is on no page; add it to lua/bam/doc/pages.lua", forgotten), 0)
  end
  return list
end

return M
