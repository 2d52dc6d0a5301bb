-- The flags that every recipe answers, after the script's name: read once from the global `arg`.
-- bam.options insists on them; a script that trains without it may have arguments of its own, and
-- then only the flags known here are taken.
local check = require "bam.check"

local M = {}

-- What each flag takes ("" for nothing) and does.
local FLAGS = {
  { "plan", "", "print what each phase would be and cost, and stop" },
  { "only", "PHASE", "run this phase alone" },
  { "audit", "", "train nothing new: verify what there is, and train the last steps again" },
  { "fresh", "", "train again what was trained already" },
  { "set", "KEY=VALUE", "change one of the options below; may be given several times" },
  { "scale", "NAME", "the sizes: demo, 590m or 2b" },
  { "seed", "N", "of first weights, routers and the order of the data; 1 by default" },
  { "device", "NAME", "where tensors live: cpu, cuda, cuda:1, ..." },
  { "threads", "N", "how many threads kernels use" },
  { "out", "DIR", "where phases are kept; runs by default" },
  { "cache", "DIR", "where prepared text is kept; ~/.cache/bamlua by default" },
  { "help", "", "print this" },
}

local KINDS = { seed = "count", threads = "size" }

local function find(name)
  local names = {}
  for i, flag in ipairs(FLAGS) do
    if flag[1] == name then return flag end
    names[i] = flag[1]
  end
  return nil, names
end

--- Raise an error of the command line: no line of the script is to blame.
---@param format string as in string.format
---@param ... any
function M.fail(format, ...)
  error(setmetatable({ message = string.format(format, ...) }, { __name = "wrong flag",
    __tostring = function(self) return self.message end }), 0)
end

-- `--name=value` or `--name value`: the value, and how many arguments it took.
local function value_of(flag, inline, following)
  if flag[2] == "" then
    if inline then M.fail("--%s takes no value, got %s", flag[1], check.describe(inline)) end
    return true, 1
  end
  local value = inline or following
  if value == nil then M.fail("--%s needs a value: --%s %s", flag[1], flag[1], flag[2]) end
  return value, inline and 1 or 2
end

local function convert(name, value)
  local kind = KINDS[name]
  if not kind then return value end
  local number = math.tointeger(tonumber(value))
  if not number or number < (kind == "size" and 1 or 0) then
    M.fail("--%s: expected an integer of at least %d, got %s", name, kind == "size" and 1 or 0,
         check.describe(value))
  end
  return number
end

local function add(flags, name, value)
  if name ~= "set" then
    flags[name] = convert(name, value)
    return
  end
  local key, text = value:match "^([%w_.]+)=(.*)$"
  if not key then M.fail("--set: expected KEY=VALUE, got %s", check.describe(value)) end
  table.insert(flags.set, { key = key, text = text })
end

-- All flags in `arguments`, and the arguments that are none.
local function parse(arguments)
  local flags, others, i = { set = {} }, {}, 1
  while i <= #arguments do
    local word, used = arguments[i], 1
    local name, inline = word:match "^%-%-([%w-]+)=(.*)$"
    name = name or word:match "^%-%-([%w-]+)$"
    local flag, names = find(name)
    if flag then
      local value
      value, used = value_of(flag, inline, arguments[i + 1])
      add(flags, flag[1], value)
    else
      others[#others + 1] = { word, name and check.suggestion(name, names) or "" }
    end
    i = i + used
  end
  return flags, others
end

-- The script's arguments. Without a script, as in `bamlua -i`, `arg` has the program's own options.
local function script_arguments()
  local arguments = rawget(_G, "arg")
  if type(arguments) ~= "table" then return {} end
  local first = arguments[1]
  if arguments[-1] == nil and type(first) == "string" and first:find "^%-[eilvEW]" then return {} end
  return arguments
end

local parsed, unknown

--- The flags of this run: plan, only, fresh, scale, seed, device, threads, out, cache, help, and
--- set, a list of { key, text }.
---@param strict? boolean refuse arguments that are no flags
---@return table
function M.get(strict)
  if not parsed then
    parsed, unknown = parse(script_arguments())
  end
  if strict and unknown[1] then
    local word, suggestion = unknown[1][1], unknown[1][2]
    M.fail("%s is no flag of this recipe%s; --help lists them", word,
         (suggestion:gsub("`(.-)`", "--%1")))
  end
  return parsed
end

--- What --help says of the flags, as lines.
---@return string[]
function M.help()
  local lines = {}
  for i, flag in ipairs(FLAGS) do
    lines[i] = string.format("  --%-18s %s", string.format("%s %s", flag[1], flag[2]), flag[3])
  end
  return lines
end

local function quoted(word)
  if not word:find "[^%w_./=:,+-]" then return word end
  return string.format("'%s'", (word:gsub("'", "'\\''")))
end

--- The command that runs this script again, for messages: as it was started, less --fresh; with
--- more words behind it, such as another --only, also less --only.
---@param more? string
---@return string
function M.command(more)
  local arguments, i = rawget(_G, "arg") or {}, 1
  local words = { "bamlua", quoted(arguments[0] or "SCRIPT") }
  while i <= #arguments do
    local word = arguments[i]
    if more and word == "--only" then
      i = i + 1
    elseif word ~= "--fresh" and not (more and word:find "^%-%-only=") then
      words[#words + 1] = quoted(word)
    end
    i = i + 1
  end
  words[#words + 1] = more
  return table.concat(words, " ")
end

return M
