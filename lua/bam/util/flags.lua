-- The flags of every recipe, which follow the script's name. They are read once from the global `arg`. bam.options
-- refuses all unknown arguments. In a script that does not call it unknown flags are refused too, and --help is
-- answered, when the flags are first needed; other words are the script's own.
local arguments = require "bam.util.arguments"
local check = require "bam.util.check"

local M = {}

-- For each flag: its name, its value ("" for none), and its help text.
local FLAGS = {
  { "plan", "", "print what each phase would be and cost, and stop" },
  { "only", "PHASE", "run this phase alone" },
  { "audit", "", "train nothing new: verify what there is, and train the last steps again" },
  { "profile", "", "show where the time of ten steps of each phase goes, and write PHASE/profile.json, a trace" },
  { "fresh", "", "train again what was trained already" },
  { "set", "KEY=VALUE", "change one of the options below; may be given several times" },
  { "scale", "NAME", "the sizes: demo, 590m or 2b" },
  { "seed", "N", "of first weights, routers and the order of the data; 1 by default" },
  { "dtype", "NAME", "what phases are computed in: f32 (the default), or on CUDA devices bf16 or fp8" },
  { "device", "NAME", "where tensors live: cpu, cuda, cuda:1, ..." },
  { "tune", "FILE", "measure which algorithms of products are fastest on a GPU; FILE keeps them" },
  { "threads", "N", "how many threads kernels use" },
  { "out", "DIR", "where phases are kept; runs by default" },
  { "cache", "DIR", "where prepared text is kept; ~/.cache/bamlua by default" },
  { "help", "", "print this" },
}

local KINDS = { seed = "count", threads = "size" }

--- Raise an error of the command line: no line of the script is to blame.
---@param format string as in string.format
---@param ... any
M.fail = arguments.fail

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
  if not key then
    M.fail("--set: expected KEY=VALUE without blanks, got %s; type --set %s=...", check.describe(value),
           value:match "^[^ =]*")
  end
  table.insert(flags.set, { key = key, text = text })
end

-- All flags in a list of arguments, and the arguments that are not flags.
local function parse(list)
  local flags, given, others = { set = {} }, arguments.parse(FLAGS, list)
  for _, flag in ipairs(given) do add(flags, flag[1], flag[2]) end
  return flags, others
end

-- The script's arguments. Without a script, as in `bamlua -i`, `arg` has the program's own options.
local function script_arguments()
  local list = rawget(_G, "arg")
  if type(list) ~= "table" then return {} end
  local first = list[1]
  if list[-1] == nil and type(first) == "string" and first:find "^%-[eilvEW]" then return {} end
  return list
end

local parsed, unknown
local has_options = false -- bam.options was called, and has answered for what is given

local function read()
  if not parsed then parsed, unknown = parse(script_arguments()) end
end

--- What --help says of the flags, as lines.
---@param without? table<string, true> flags to leave out
---@return string[]
function M.help(without)
  local list = {}
  for _, flag in ipairs(FLAGS) do
    if not (without and without[flag[1]]) then list[#list + 1] = flag end
  end
  return arguments.describe(list)
end

-- Flags of other programs, and what to type.
local OTHERS = {
  gpu = "type --device cuda", cuda = "type --device cuda", cpu = "type --device cpu",
  resume = "a phase resumes when the script runs again", ["dry-run"] = "type --plan", force = "type --fresh",
  output = "type --out DIR", ["output-dir"] = "type --out DIR", ["num-threads"] = "type --threads N",
  workers = "type --threads N", config = "type --set KEY=VALUE", version = "type bamlua --version",
}

--- "unknown flag --pln; did you mean --plan?": the beginning of a message.
---@param other table as bam.util.arguments lists unknown arguments
---@return string
function M.unknown(other)
  local hint = OTHERS[other[1]:match "^%-%-?([%w-]+)" or ""]
  if hint then return string.format("unknown flag %s; %s;", other[1], hint) end
  return string.format("unknown flag %s%s", other[1], other[2] == "" and ";" or other[2])
end

-- How a script that does not call bam.options gets an option: { name, value } as they were typed.
local function advice(other)
  local name, value = other[1]:match "^%-%-?([%a_][%w_-]*)=?(.*)$"
  name, value = (name or "lr"):gsub("-", "_"), value ~= "" and value or other[3]
  if not value or value:find "^%-%a" or value:find "^%-%-" then value = "true" end
  local is_literal = tonumber(value) or value == "true" or value == "false"
  return string.format("This script calls no bam.options: write local opt = bam.options { %s = %s } and type --set "
                       .. "%s=%s, or type flags that it reads itself after --", name,
                       is_literal and value or string.format("%q", value), name, value)
end

local OF_OPTIONS = { set = true, scale = true } -- the flags that mean nothing without bam.options

-- What bam.options does, in a script that does not call it.
local function answer_alone()
  for _, other in ipairs(unknown) do
    if other[1]:find "^%-%-?%a" then
      M.fail("%s --help lists the flags. %s", M.unknown(other), advice(other))
    end
  end
  if parsed.help then
    print(string.format("usage: bamlua %s [flags]", (rawget(_G, "arg") or {})[0] or "SCRIPT"))
    print(table.concat(M.help(OF_OPTIONS), "\n"))
    print "this script does not call bam.options, so it has no options to --set"
    os.exit(0, true)
  end
end

--- The flags of this run: plan, only, fresh, scale, seed, dtype, device, tune, threads, out, cache, help, and
--- set, a list of { key, text }.
---@return table
function M.get()
  read()
  if not has_options then answer_alone() end
  return parsed
end

--- The same for bam.options, which answers for unknown arguments and --help itself.
---@return table flags
---@return table[] unknown arguments, as bam.util.arguments lists them
function M.for_options()
  read()
  has_options = true
  return parsed, unknown
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
  local list, i = rawget(_G, "arg") or {}, 1
  if list[-1] == nil then return "the same call of bam.train again" end -- a session has no script
  local words = { "bamlua", quoted(list[0] or "SCRIPT") }
  while i <= #list do
    local word = list[i]
    if word == "--" then break end
    if more and word == "--only" then
      i = i + 1
    elseif word ~= "--fresh" and not (more and word:find "^%-%-only=") then
      words[#words + 1] = quoted(word)
    end
    i = i + 1
  end
  words[#words + 1] = more
  for k = i, #list do words[#words + 1] = quoted(list[k]) end -- from -- on
  return table.concat(words, " ")
end

return M
