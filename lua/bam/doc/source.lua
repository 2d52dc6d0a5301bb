-- The doc comments of Lua sources: of a function, by where it was defined; of a module; and all classes
-- that bam's own modules declare. Only text is read: nothing is run.
local check = require "bam.util.check"
local comment = require "bam.doc.comment"
local embedded = require "bam.embedded"

local M = {}

local cache = {}

-- The lines of the source that a function was defined in, {} if it cannot be read.
local function lines_of(source)
  if cache[source] then return cache[source] end
  local text
  if source:sub(1, 1) == "=" then
    text = embedded.source(source:sub(2))
  elseif source:sub(1, 1) == "@" then
    local file = io.open(source:sub(2), "r")
    text = file and file:read "a"
    if file then file:close() end
  end
  local lines = {}
  if text then
    for line in text:gmatch "(.-)\r?\n" do lines[#lines + 1] = line end
  end
  if source:sub(1, 1) == "=" then cache[source] = lines end
  return lines
end

-- The `---` lines right above line `at`, without their dashes; with `any_comment` also `--` lines.
local function block_above(lines, at, any_comment)
  local first = at
  local dashes = any_comment and "^%s*%-%-" or "^%s*%-%-%-"
  while first > 1 and (lines[first - 1] or ""):find(dashes) do first = first - 1 end
  local block = {}
  for i = first, at - 1 do block[#block + 1] = lines[i]:match "^%s*%-%-%-?%s?(.*)$" end
  return block
end

-- The name that a line gives to the function that begins on it.
local function name_on(line)
  return line:match "function%s+([%w_.:]+)%s*%(" or line:match "([%w_.]+)%s*=%s*function%s*%("
end

--- The comment of a Lua function, and the name that it has in its source.
---@param f function
---@return table comment
---@return string? name
---@return string? place "file:line" of a function that is not bam's
function M.of_function(f)
  f = check.original(f)
  local info = debug.getinfo(f, "S")
  local lines = lines_of(info.source)
  local line = lines[info.linedefined] or ""
  local place = info.source:sub(1, 5) ~= "=bam/" and string.format("%s:%d", info.short_src, info.linedefined) or nil
  return comment.parse(block_above(lines, info.linedefined, place ~= nil)), name_on(line), place
end

--- The names of a Lua function's parameters, without self.
---@param f function
---@return string[]
function M.parameters(f)
  f = check.original(f)
  local info, names = debug.getinfo(f, "u"), {}
  for i = 1, info.nparams do names[i] = debug.getlocal(f, i) end
  if names[1] == "self" or names[1] == "_" then table.remove(names, 1) end
  if info.isvararg then names[#names + 1] = "..." end
  return names
end

-- The path of an embedded module: "bam/nn/init.lua".
local function path_of(module)
  local path = module:gsub("%.", "/")
  for _, candidate in ipairs { path .. ".lua", path .. "/init.lua" } do
    if embedded.source(candidate) then return candidate end
  end
end

--- The comment at the top of an embedded module, and whether it is for users: then it starts with three dashes.
---@param module string
---@return table comment
---@return boolean public
function M.of_module(module)
  local path, block = path_of(module), {}
  local lines = path and lines_of("=" .. path) or {}
  for _, line in ipairs(lines) do
    local text = line:match "^%-%-+%s?(.*)$"
    if not text then break end
    block[#block + 1] = text
  end
  return comment.parse(block), (lines[1] or ""):find "^%-%-%-" ~= nil
end

-- ---- classes ----

-- Record a block of `---` lines and the line after it: a class, or a method of the class that the
-- variable `owners[name]` holds.
local function read_block(found, owners, block, line)
  local parsed = comment.parse(block)
  local variable, separator, name, parameters = line:match "^function%s+([%w_]+)([.:])([%w_]+)%((.-)%)"
  local function class(class_name)
    if not found[class_name] then
      found[class_name] = { name = class_name, text = {}, fields = {}, methods = {} }
    end
    return found[class_name]
  end
  if parsed.class then
    local target = class(parsed.class)
    target.base = target.base or parsed.base
    table.move(parsed.fields, 1, #parsed.fields, #target.fields + 1, target.fields)
    if not variable and #target.text == 0 then target.text = parsed.text end
    local declared = line:match "^local ([%w_]+) = "
    if declared then owners[declared] = parsed.class end
  end
  if variable and owners[variable] then
    local names = {}
    for parameter in parameters:gmatch "[%w_.]+" do names[#names + 1] = parameter end
    local methods = class(owners[variable]).methods
    methods[#methods + 1] = { name = name, separator = separator, parameters = names, comment = parsed }
  end
end

local function read_module(found, path)
  local owners, block = {}, {}
  for _, line in ipairs(lines_of("=" .. path)) do
    local text = line:match "^%-%-%-%s?(.*)$"
    if text then
      block[#block + 1] = text
    else
      if #block > 0 or line:find "^function" then read_block(found, owners, block, line) end
      block = {}
    end
  end
end

local classes

-- Options may have a base: the options that several functions take.
local function inherit_fields(class)
  local base = classes[class.base]
  if base and #class.methods == 0 then
    table.move(base.fields, 1, #base.fields, #class.fields + 1, class.fields)
  end
end

--- All classes that bam's modules declare with @class, by name: { name, base, text, fields, methods }, where a method
--- is { name, separator, parameters, comment }. Read once.
---@return table<string, table>
function M.classes()
  if not classes then
    classes = {}
    local modules = embedded.modules()
    table.sort(modules)
    for _, module in ipairs(modules) do read_module(classes, path_of(module)) end
    for _, class in pairs(classes) do inherit_fields(class) end
  end
  return classes
end

return M
