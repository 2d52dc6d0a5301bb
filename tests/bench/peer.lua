--- The conversation with tests/bench/peer.py, the PyTorch side of the benchmarks. PyTorch is looked for in
--- $BAMLUA_PEER_PYTHON, then in python3; $BAMLUA_PEER_LOG may name a file for its complaints. If BAMLUA_ISA holds
--- bamlua to an instruction set, PyTorch is held to the same one.
local core = require "bam.core"
local shell = require "tests.bench.shell"

local M = {}
M.__index = M

local LIMITS = {
  avx2 = { ATEN_CPU_CAPABILITY = "avx2", ONEDNN_MAX_CPU_ISA = "AVX2", MKL_ENABLE_INSTRUCTIONS = "AVX2" },
  baseline = { ATEN_CPU_CAPABILITY = "default", ONEDNN_MAX_CPU_ISA = "SSE41", MKL_ENABLE_INSTRUCTIONS = "SSE4_2" },
}

-- "env NAME=VALUE ... ", or "" if nothing limits bamlua. What the user has set is kept.
local function environment()
  local words = {}
  for name, value in pairs(os.getenv "BAMLUA_ISA" and LIMITS[core.isa()] or {}) do
    if not os.getenv(name) then words[#words + 1] = string.format("%s=%s", name, value) end
  end
  return #words > 0 and string.format("env %s ", table.concat(words, " ")) or ""
end

--- The command that runs peer.py with some arguments.
---@param device string
---@param here string the directory of peer.py, with a slash
---@return string
function M.command(device, here)
  return string.format("%s%s %s --device %s", environment(),
                       shell.quote(os.getenv "BAMLUA_PEER_PYTHON" or "python3"),
                       shell.quote(string.format("%speer.py", here)), shell.quote(device))
end

--- Start PyTorch, if it is installed.
---@param device string
---@param here string the directory of peer.py, with a slash
---@param scratch string a directory for a pipe and the log
---@return table? peer
function M.start(device, here, scratch)
  local command = M.command(device, here)
  local version = shell.output_of(string.format("%s --version", command))
  if not version then return nil end
  local fifo = string.format("%s/answers", scratch)
  local log = os.getenv "BAMLUA_PEER_LOG" or string.format("%s/log", scratch)
  os.execute(string.format("mkfifo %s", shell.quote(fifo)))
  -- After its end a cat reads the questions: a broken pipe would end bamlua too.
  local ask = assert(io.popen(string.format("{ %s >%s 2>%s; cat >/dev/null; }", command, shell.quote(fifo),
                                            shell.quote(log)), "w"))
  ask:setvbuf "line"
  return setmetatable({ version = version, log = log, ask = ask, answers = assert(io.open(fifo)) }, M)
end

-- Its answer, or "failed" once it has stopped: bamlua then goes on alone.
local function answer_to(self, question)
  if not self.stopped then
    self.ask:write(question, "\n")
    local answer = self.answers:read "l"
    if answer then return answer end
    self.stopped = true
    for line in io.lines(self.log) do io.stderr:write(line, "\n") end
    io.stderr:write "bench: PyTorch stopped; its last words are above\n"
  end
  return "failed it stopped"
end

--- Prepare a case.
---@param case table with `kind`, `sizes`, and `tf32` if products may be computed from tf32
---@param options? string such as "threads=2 seconds=30", see peer.py
---@return string? variant the one that takes part
---@return string? why there is none
function M:prepare(case, options)
  local words = { "case", options, case.kind }
  if not options then table.remove(words, 2) end
  if case.tf32 then table.insert(words, 2, "tf32") end
  local answer = answer_to(self, string.format("%s %s", table.concat(words, " "), table.concat(case.sizes, " ")))
  local variant = answer:match "^ready (.*)"
  return variant, not variant and (answer:match "^failed (.*)" or answer) or nil
end

--- Time the case that was prepared.
---@return number? seconds of one call; nil if it has stopped
function M:seconds() return tonumber(answer_to(self, "run")) end

--- Free the case.
function M:free() answer_to(self, "end") end

function M:close()
  self.ask:close()
  self.answers:close()
end

return M
