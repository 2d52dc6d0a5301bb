-- What --plan prints: a line per phase and the totals; nothing is allocated. Also keeps the list of the phases that a
-- script named, for error messages.
local budget = require "bam.train.budget"
local check = require "bam.util.check"
local core = require "bam.core"
local flags = require "bam.util.flags"
local machine = require "bam.train.machine"
local precision = require "bam.train.precision"

local M = {}

local names, flops = {}, 0
local phases = {} -- those printed: { name, bytes }

local CUDA_BYTES = 1 << 30 -- of CUDA, its libraries and their workspaces; an estimate

local COLUMNS = "%-24s %15s %15s %11s %9s %9s  %s"

-- FLOP/s of the device that the run is for.
local function speed() return machine.typical_speed(flags.get().device or "cpu") end

local function bytes_text(n) return string.format("%sB", machine.short(n)) end

--- Print the plan of a phase.
---@param phase table
---@param bytes integer of memory at the peak
function M.phase(phase, bytes)
  bytes = budget.reserved(bytes, flags.get().device)
  if flops == 0 then
    print(COLUMNS:format("phase", "parameters", "active", "FLOP/token", "memory", "tokens", "here"))
  end
  local total, active = phase.description:count()
  local steps = phase.steps - phase.before
  local all = phase.flops * steps
  flops = flops + all
  phases[#phases + 1] = { name = phase.name, bytes = bytes }
  print(COLUMNS:format(phase.name, check.thousands(total), check.thousands(active),
                       machine.short(phase.flops / phase.step_tokens), bytes_text(bytes),
                       machine.short(steps * phase.step_tokens),
                       machine.duration(all / speed())))
end

--- Print which products of a phase in fp8 stay in bf16.
---@param phase table
---@param dtype string option dtype of the phase
---@param tokens integer of a micro-batch
function M.note_products(phase, dtype, tokens)
  local left_out = dtype == "fp8" and precision.left_out(phase.description, tokens)
  if left_out then print(string.format("  in bf16, at %d tokens: %s", tokens, left_out)) end
end

-- The device of this name, if this machine has it.
local function find_device(name)
  for _, d in ipairs(core.devices()) do
    if d.memory and (d.name == name or d.name == string.format("%s:0", name)) then return d end
  end
end

-- The phases that need more memory than `room`, and the one that needs the most of all.
local function find_large(room)
  local large, most = {}, phases[1]
  for _, p in ipairs(phases) do
    if p.bytes > room then large[#large + 1] = p.name end
    if p.bytes > most.bytes then most = p end
  end
  return large, most
end

-- Print whether the phases fit into the memory of --device, if there is one; how much they need, if not.
local function print_memory()
  local name = flags.get().device or "cpu"
  if name == "cpu" or #phases == 0 then return end
  local device = find_device(name)
  local large, most = find_large(device and device.memory - CUDA_BYTES or math.huge)
  local needs = string.format("%s needs %s bytes, and CUDA itself about 1 GiB", most.name, check.thousands(most.bytes))
  if not device then
    print(string.format("%s is not here: %s", name, needs))
  elseif #large == 0 then
    print(string.format("%s has %s bytes, which is enough: %s", device.name, check.thousands(device.memory), needs))
  else
    print(string.format("%s has %s bytes, which is too little for %s: %s; take fewer rows (option rows of bam.train)",
                        device.name, check.thousands(device.memory), table.concat(large, ", "), needs))
  end
end

--- Print the totals of all phases.
function M.total()
  print_memory()
  print(string.format("together %sFLOP of training; the times assume %sFLOP/s",
                      machine.short(flops), machine.short(speed())))
end

--- Record a phase, or a loop of its own, that the script has named. A script that ends normally without naming the
--- phase of --only then fails.
---@param phase table
function M.note(phase)
  names[#names + 1] = phase.name
  if #names == 1 then core.at_end(M.check_only) end
end

--- Raise an error if no phase had the name given to --only.
function M.check_only()
  local only = flags.get().only
  if not only then return end
  for _, name in ipairs(names) do
    if name == only then return end
  end
  flags.fail("--only: no phase is called %s%s", only,
             check.suggestion(only, names, #names == 0 and "this script has none"
                              or string.format("there are %s", table.concat(names, ", "))))
end

return M
