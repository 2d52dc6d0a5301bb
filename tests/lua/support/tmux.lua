-- A terminal for tests: a program in a window of tmux, typed into and read like a user does. Waits until something is
-- shown, never for a fixed time; what is not shown after MINUTES is reported as missing.
local core = require "bam.core"

local M = {}

local MINUTES = 2

local function quoted(text) return string.format("'%s'", text:gsub("'", "'\\''")) end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  return text, pipe:close()
end

--- Why there is no terminal to test in; nil if there is one.
---@return string?
function M.missing()
  local text, fine = output_of "tmux -V 2>&1"
  if not fine then return "no tmux (make deps-test installs it)" end
  return not text:find "^tmux" and "tmux -V does not answer" or nil
end

local Session = {}
Session.__index = Session

local count = 0

--- Start a program in a window of its own. Options: columns (80), rows (24), environment ("NAME=value ...").
---@param program string
---@param options? { columns?: integer, rows?: integer, environment?: string }
function M.open(program, options)
  options = options or {}
  count = count + 1
  local self = setmetatable({ directory = output_of("mktemp -d"):gsub("\n$", "") }, Session)
  self.server = string.format("%s/tmux", self.directory)
  self:tmux("new-session -d -x %d -y %d %s", options.columns or 80, options.rows or 24,
            quoted(string.format("exec env LC_ALL=C.UTF-8 %s %s 2>&1", options.environment or "", program)))
  self:tmux "set-option -g history-limit 5000"
  return self
end

--- Run a command of tmux; returns what it prints.
function Session:tmux(command, ...)
  if select("#", ...) > 0 then command = string.format(command, ...) end
  return (output_of(string.format("tmux -u -f /dev/null -S %s %s 2>&1", quoted(self.server), command)))
end

--- What the window shows, and what has scrolled out of it; with `escapes`, the colors too.
---@return string
function Session:screen(escapes)
  return (self:tmux(escapes and "capture-pane -p -e -S -" or "capture-pane -p -S -"):gsub("%s+$", "\n"))
end

--- Wait until accept(screen) is neither nil nor false; returns that.
function Session:wait_until(accept, what)
  local screen
  for _ = 1, MINUTES * 60 * 50 do
    screen = self:screen()
    local found = accept(screen)
    if found then return found end
    core.sleep(0.02)
  end
  error(string.format("%s is not shown:\n%s", what, screen), 0)
end

--- Wait until the text is shown `times` times (once).
function Session:wait(text, times)
  return self:wait_until(function(screen)
    local at, found = 1, 0
    repeat
      local first, last = screen:find(text, at, true)
      found, at = found + (first and 1 or 0), last and last + 1
    until not first or found == (times or 1)
    return found == (times or 1)
  end, string.format("%q", text))
end

--- Type text as it is, without Enter.
function Session:type(text) self:tmux("send-keys -l -- %s", (quoted(text))) end

--- Press keys by the names that tmux gives them: "Enter", "C-c", "Up".
function Session:key(...)
  for _, name in ipairs { ... } do self:tmux("send-keys %s", quoted(name)) end
end

--- Paste as a terminal does that brackets what it pastes.
function Session:paste(text)
  local path = self.directory .. "/paste"
  core.write_file(path, text)
  self:tmux("load-buffer -b pasted %s", quoted(path))
  self:tmux "paste-buffer -p -d -b pasted"
end

function Session:resize(columns, rows) self:tmux("resize-window -x %d -y %d", columns, rows) end

local function last_line(screen) return screen:match "([^\n]*)\n*$" end

--- Wait until the last line is an empty prompt.
function Session:prompt()
  return self:wait_until(function(screen) return last_line(screen) == ">" and screen end, "an empty prompt")
end

--- Type a line and press Enter; returns what is shown between it and the next prompt.
---@return string
function Session:run(line)
  self:type(line)
  local shown = line:match "[^\n]*$"
  self:wait_until(function(screen)
    return screen:gsub("\n", ""):sub(-#shown) == shown
  end, string.format("%q", shown))
  self:key "Enter"
  return self:result(line)
end

--- The text between the last place where `line` is shown and the next prompt.
function Session:result(line)
  local screen = self:prompt()
  local from, at = 1, 1
  while at do
    local _, last = screen:find("> " .. line, at, true)
    if last then from = last + 1 end
    at = last and last + 1
  end
  return (screen:sub(from):gsub("\n>\n*$", "\n"):gsub("^\n", ""))
end

--- Wait until the program has ended.
function Session:ended()
  for _ = 1, MINUTES * 60 * 50 do
    if self:tmux("list-sessions"):find "no server" or not self:tmux("list-sessions"):find ":" then return true end
    core.sleep(0.02)
  end
  error("the program does not end:\n" .. self:screen(), 0)
end

function Session:close()
  self:tmux "kill-server"
  os.execute(string.format("rm -rf %s", quoted(self.directory)))
end

Session.__close = Session.close

return M
