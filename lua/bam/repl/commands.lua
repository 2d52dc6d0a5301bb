-- Inputs of the REPL that are not Lua: ?name, name?, %time and %timeit with an expression, !command, exit, quit, help.
local core = require "bam.core"
local resolve = require "bam.repl.resolve"

local M = {}

-- Explain a variable, or a name as help() finds it.
local function explain(name)
  local help = require "bam.help"
  if name == "" then return help() end
  local quoted = name:match "^[\"'](.*)[\"']$"
  local value = not quoted and resolve.value(name)
  if value ~= nil and value ~= false then help(value) else help(quoted or name) end
end

-- Time until everything that was enqueued has been computed.
local function now()
  local bam = package.loaded.bam
  if bam then bam.synchronize() end
  return core.clock()
end

local function duration(seconds)
  if seconds < 1e-6 then return string.format("%.1f ns", seconds * 1e9) end
  if seconds < 1e-3 then return string.format("%.1f us", seconds * 1e6) end
  if seconds < 1 then return string.format("%.2f ms", seconds * 1e3) end
  return string.format("%.2f s", seconds)
end

-- %time: run a chunk once and print how long it took. Returns its results.
local function timed(chunk)
  local start = now()
  local results = table.pack(chunk())
  local took = now() - start
  print(string.format("time: %s", duration(took)))
  return table.unpack(results, 1, results.n)
end

local LONG_ENOUGH = 0.2 -- seconds that %timeit measures

-- %timeit: run a chunk more and more often until that takes a while, and print the time of one run.
local function timed_often(chunk)
  chunk() -- the first run may prepare something
  local runs = 1
  while true do
    local start = now()
    for _ = 1, runs do chunk() end
    local took = now() - start
    if took >= LONG_ENOUGH then
      return print(string.format("time: %s, the mean of %d runs", duration(took / runs), runs))
    end
    runs = runs * 2
  end
end

-- !command: let the shell run it, and say how it ended unless that was well.
local function shell(command)
  io.stdout:flush()
  local fine, how, code = os.execute(command)
  if not fine then print(string.format(how == "exit" and "exit code %d" or "ended by signal %d", code)) end
end

-- A command that measures a chunk: a function, or nil, the message and whether more lines could help.
local function with_chunk(measure, code, load_code)
  local chunk, message, unfinished = load_code(code)
  if not chunk then return nil, message, unfinished end
  return function() return measure(chunk) end
end

-- Commands of IPython, and what does the same.
local OF_IPYTHON = {
  prun = "bam.profile(f) shows where time goes",
  run = 'write dofile "script.lua"', load = 'write dofile "script.lua"', cd = "start bamlua in that directory",
  ls = "write !ls", pwd = "write !pwd", cat = "write !cat file", pip = "bam has no packages",
  history = "Up and Ctrl-R go through the history", hist = "Up and Ctrl-R go through the history",
  who = "Tab at an empty prompt lists names", whos = "Tab at an empty prompt lists names",
  debug = "an error shows its line; bam.debug { traces = true } shows all frames", matplotlib = "there are no plots",
  paste = "pasted text is one input", reset = "leave with exit, and start again", quickref = "write help()",
}

-- Commands as { pattern, what it makes of the captured text }. The result is a function, or nil and a message.
local FORMS = {
  { "^%?%s*(.-)%s*$", function(name) return function() explain(name) end end },
  { "^([%a_][%w_.:]*)%s*%?%s*$", function(name) return function() explain(name) end end },
  { "^([\"'].-[\"'])%s*%?%s*$", function(name) return function() explain(name) end end },
  { "^!%s*(.-)%s*$", function(command)
    if command == "" then return nil, "!: a command of the shell is missing; write !ls" end
    return function() shell(command) end
  end },
  { "^%%time%s+(.+)$", function(code, load_code) return with_chunk(timed, code, load_code) end },
  { "^%%timeit%s+(.+)$", function(code, load_code) return with_chunk(timed_often, code, load_code) end },
  { "^%%(%S*)", function(name)
    if name:find "^timei?t?$" then
      return nil, string.format("%%%s: an expression or a statement is missing; write %%%s f(x)", name, name)
    end
    return nil, string.format("%%%s: there is no such command; %s", name, OF_IPYTHON[name]
                              or "there are %time, %timeit, !command, ?name and exit")
  end },
}

--- What an input does if it is a command: a function; nil, a message and whether more lines could help if it is wrong;
--- nothing if it is not a command.
---@param text string
---@param load_code fun(code: string): function?, string?, boolean?
---@return function?
---@return string?
---@return boolean?
function M.parse(text, load_code)
  local line = text:match "^%s*(.-)%s*$"
  for _, form in ipairs(FORMS) do
    local captured = line:match(form[1])
    if captured then return form[2](captured, load_code) end
  end
  if line == "help" and type(rawget(_G, "help")) == "function" then return function() rawget(_G, "help")() end end
end

--- Does the input end the session?
---@param text string
---@return boolean
function M.is_exit(text)
  local name = text:match "^%s*(%a+)%s*$" or text:match "^%s*(%a+)%s*%(%s*%)%s*$"
  return (name == "exit" or name == "quit") and rawget(_G, name) == nil
end

return M
