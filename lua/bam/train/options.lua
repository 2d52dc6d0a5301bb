--- bam.options: the options of a recipe. `scale` selects sizes, all other fields are the recipe's own. --set changes
--- any of them by its path: --set tokens.seed=2e6. The result is read-only, and reading an unknown name is an error.
local check = require "bam.util.check"
local core = require "bam.core"
local flags = require "bam.util.flags"
local scales = require "bam.train.scales"
local tuning = require "bam.train.tuning"

local M = {}

-- ---- the values ----

local function copy(value)
  if type(value) ~= "table" then return value end
  local t = {}
  for name, v in pairs(value) do t[name] = copy(v) end
  return t
end

local PLAIN = { number = true, string = true, boolean = true }

-- --help and --set can handle only plain data.
local function check_plain(path, value, around)
  if PLAIN[type(value)] then return end
  if type(value) ~= "table" or getmetatable(value) then
    check.fail("options: %s is %s; expected a number, a string, a boolean or a table of these",
               path, check.describe(value))
  end
  if around[value] then check.fail("options: %s is a table that contains itself", path) end
  around[value] = true
  for name, v in pairs(value) do
    check_plain(string.format("%s.%s", path, tostring(name)), v, around)
  end
  around[value] = nil
end

-- All paths below `t`, sorted: { "lr.peak", ... }.
local function paths(t, prefix, list)
  list = list or {}
  for _, name in ipairs(check.sorted_names(t)) do
    local path = prefix and string.format("%s.%s", prefix, name) or name
    if type(t[name]) == "table" and type(next(t[name])) == "string" then
      paths(t[name], path, list)
    else
      list[#list + 1] = path
    end
  end
  return list
end

-- Resolve a path: the table that holds its last name, and that name.
local function resolve(t, path)
  local parent, last = t, path
  for name, rest in function() return last:match "^(.-)%.(.*)$" end do
    parent, last = parent[name], rest
    if type(parent) ~= "table" then return nil end
  end
  return parent, last
end

local function read_list(text)
  local list = {}
  for item in text:gmatch "[^,]+" do list[#list + 1] = tonumber(item) or item end
  return list
end

-- Parse `text` as a value of the same type as the current one.
local function parse_value(path, text, now)
  local kind = type(now)
  if kind == "string" then return text end
  if kind == "table" then return read_list(text) end
  local value
  if kind == "boolean" then
    value = ({ ["true"] = true, ["false"] = false })[text]
  else
    value = tonumber(text)
    if value ~= value or value == math.huge or value == -math.huge then value = nil end
    if value and math.tointeger(now) then value = math.tointeger(value) or value end
  end
  if value == nil then
    flags.fail("--set %s: expected %s, as %s is, got %s", path,
               kind == "boolean" and "true or false" or "a number", tostring(now),
               check.describe(text))
  end
  return value
end

-- ---- unknown arguments ----

-- The path of an option that a word names, in full or by its last part: "peak" for lr.peak.
local function path_named(options, name)
  local found
  for _, path in ipairs(paths(options)) do
    if path == name then return path end
    if path:sub(-#name - 1) == "." .. name then
      if found then return nil end
      found = path
    end
  end
  return found
end

-- What to type for an option that was given as if it were a flag: "--lr 1", "--lr=1", "lr=1". Or nil.
local function as_setting(options, word, following)
  local name, value = word:match "^%-*([%w_.]+)=(.*)$"
  name = name or word:match "^%-%-?([%w_.]+)$"
  if not name then return nil end
  local path = path_named(options, name)
  if not path then
    local parent, last = resolve(options, name)
    local group = parent and type(parent[last]) == "table" and paths(parent[last], name)
    return group and string.format("%s is a group of options: --set %s=...", name, group[1])
  end
  local is_value = following and not following:find "^%-%-"
  value = value or is_value and following or "..."
  return string.format("%s is an option of this recipe: --set %s=%s", path, path, value)
end

local function refuse_unknown(options, unknown)
  local first = unknown[1]
  if not first then return end
  local setting = as_setting(options, first[1], first[3])
  if setting then flags.fail("unknown flag %s; %s", first[1], setting) end
  flags.fail("%s --help lists the flags of this recipe", flags.unknown(first))
end

local function set(options, setting)
  if setting.key == "scale" then flags.fail "--set scale: type --scale NAME" end
  local parent, last = resolve(options, setting.key)
  if not parent or parent[last] == nil then
    flags.fail("--set %s: this recipe has no such option%s; --help lists them", setting.key,
               check.suggestion(setting.key, paths(options)))
  end
  if type(parent[last]) == "table" and type(next(parent[last])) == "string" then
    flags.fail("--set %s: this is a group; there are %s", setting.key,
               table.concat(paths(parent[last], setting.key), ", "))
  end
  parent[last] = parse_value(setting.key, setting.text, parent[last])
end

-- ---- showing them ----

local function show(value)
  if type(value) == "number" then return string.format("%.10g", value) end
  if type(value) ~= "table" then return tostring(value) end
  local items = {}
  for i, item in ipairs(value) do items[i] = tostring(item) end
  return table.concat(items, ",")
end

local function print_help(options)
  local arguments = rawget(_G, "arg") or {}
  print(string.format("usage: bamlua %s [flags]", arguments[0] or "SCRIPT"))
  print(table.concat(flags.help(), "\n"))
  print "options, as they are now:"
  for _, path in ipairs(paths(options)) do
    local parent, last = resolve(options, path)
    print(string.format("  %-20s %s", path, show(parent[last])))
  end
end

-- ---- the result ----

-- Inner tables are returned as copies, because functions take them as options.
local function read_only(options)
  return setmetatable({}, {
    __name = "options",
    __pairs = function() return next, copy(options) end,
    __index = function(_, name)
      if options[name] == nil then
        check.fail("options: there is no `%s`%s", tostring(name),
                   check.suggestion(name, check.sorted_names(options)))
      end
      return copy(options[name])
    end,
    __newindex = function(_, name)
      check.fail("options are read-only; give `%s` to bam.options, or --set %s=...",
                 tostring(name), tostring(name))
    end,
  })
end

local current

--- The option `name` of this run, or nil.
---@param name string
---@return any
function M.get(name)
  for key, value in pairs(current or {}) do
    if key == name then return value end
  end
end

--- Apply the flags to the engine; refuse those that only bam.options can answer.
function M.apply()
  local given = flags.get()
  if given.scale and not current then flags.fail "--scale: this script has no options; it does not call bam.options" end
  if given.set[1] and not current then
    flags.fail("--set %s: this script has no options; it does not call bam.options", given.set[1].key)
  end
  if given.threads then core.threads(given.threads) end
  if given.device and not given.plan then -- a plan may be for another machine
    local ok, message = core.try(core.device, given.device)
    if not ok then flags.fail("--%s", (message:gsub("^.-(device: )", "%1"))) end
  end
  if given.tune and not given.plan and not given.audit then -- which compute nothing new
    local ok, message = core.try(tuning.apply, given.tune)
    if not ok then flags.fail("--%s", (message:gsub("^.-(tune: )", "%1"))) end
  end
end

local function sizes_of(name)
  if not rawget(scales, name) then
    local names = check.sorted_names(scales)
    flags.fail("--scale: no sizes called %s%s", check.describe(name),
               check.suggestion(name, names, string.format("there are %s", table.concat(names, ", "))))
  end
  return copy(scales[name])
end

--- The options of this recipe, from lowest to highest precedence: the sizes of a scale, the fields given here, --set.
--- `seed` is always set, and --dtype sets `dtype`. Answers --help. The result is read-only, and reading an unknown name
--- is an error.
---@param fields? table plain data; scale = "demo", "590m" or "2b" sets vocab, context, batch, rows, model,
--- tokens, lr and mixture_lr
---@return table options
function M.options(fields)
  local given, unknown = flags.for_options()
  fields = check.value("options: the options", fields or {}, "table")
  check_plain("options", fields, {})
  local scale = given.scale or fields.scale
  local options = scale and sizes_of(scale) or {}
  for name, value in pairs(copy(fields)) do options[name] = value end
  options.scale, options.seed = scale, given.seed or options.seed or 1
  options.dtype = given.dtype or options.dtype
  refuse_unknown(options, unknown)
  for _, setting in ipairs(given.set) do set(options, setting) end
  if given.help then
    print_help(options)
    os.exit(0, true)
  end
  if type(options.model) == "table" and options.vocab then options.model.vocab = options.vocab end
  current = read_only(options)
  M.apply()
  return current
end

return M
