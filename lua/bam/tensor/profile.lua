--- Profiles: where the time of some code goes, op by op.
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"

---@class bam.Profile
---@field seconds number what f took
---@field outside number seconds of them outside of ops: Lua, and reading data
---@field ops { name: string, backward: boolean, calls: integer, seconds: number, flops: number, bytes: number }[] the
--- time of each op without that of ops inside it, the slowest first
---@field peak? number FLOP/s of multiply-adds on the CPU
local Profile = {} -- methods
local metatable = { __name = "profile", __index = Profile, __methods = Profile }

-- ---- adding up ----

local function add_up(events)
  local rows, by_key = {}, {}
  for _, event in ipairs(events) do
    local key = string.format("%s %s", event.name, event.backward)
    local row = by_key[key]
    if not row then
      row = { name = event.name, backward = event.backward, calls = 0, seconds = 0, flops = 0, bytes = 0 }
      by_key[key], rows[#rows + 1] = row, row
    end
    row.calls = row.calls + 1
    row.seconds, row.flops, row.bytes = row.seconds + event.own, row.flops + event.flops, row.bytes + event.bytes
  end
  table.sort(rows, function(a, b)
    if a.seconds ~= b.seconds then return a.seconds > b.seconds end
    return a.name < b.name or a.name == b.name and not a.backward and b.backward
  end)
  return rows
end

local function time_outside(recorded)
  local outside = recorded.seconds
  for _, event in ipairs(recorded.events) do
    if event.depth == 0 then outside = outside - event.seconds end
  end
  return outside
end

-- ---- printing ----

local function milliseconds(seconds) return string.format("%.3f ms", 1e3 * seconds) end

local function share(x, whole) return whole > 0 and string.format("%.1f %%", 100 * x / whole) or "-" end

local function row_of(self, name, calls, seconds, flops, bytes)
  local rate = seconds > 0 and flops > 0 and flops / seconds
  return { name, calls, milliseconds(seconds), share(seconds, self.seconds),
           rate and string.format("%.1f", rate / 1e9) or "", rate and self.peak and share(rate, self.peak) or "",
           bytes > 0 and seconds > 0 and string.format("%.1f", bytes / seconds / 1e9) or "" }
end

local HEAD = { "op", "calls", "time", "share", "GFLOP/s", "of peak", "GB/s" }

local function aligned(rows)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, utf8.len(tostring(cell))) end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local space = string.rep(" ", widths[i] - utf8.len(tostring(cell)))
      cells[i] = i == 1 and string.format("%s%s", cell, space) or string.format("%s%s", space, cell)
    end
    lines[#lines + 1] = (table.concat(cells, "  "):gsub(" +$", ""))
  end
  return table.concat(lines, "\n")
end

function metatable:__tostring()
  local rows, calls, flops = { HEAD }, 0, 0
  for _, op in ipairs(self.ops) do
    local name = op.backward and string.format("%s, backward", op.name) or op.name
    rows[#rows + 1] = row_of(self, name, op.calls, op.seconds, op.flops, op.bytes)
    calls, flops = calls + op.calls, flops + op.flops
  end
  rows[#rows + 1] = row_of(self, "outside of ops", "", self.outside, 0, 0)
  rows[#rows + 1] = row_of(self, "together", calls, self.seconds, flops, 0)
  return aligned(rows)
end

-- ---- a trace ----

--- Write the profile as a trace of events, which chrome://tracing and ui.perfetto.dev show. Atomic.
---@param path string
function Profile:save(path)
  if getmetatable(self) ~= metatable then
    check.fail("save: expected a profile, got %s; call methods with a colon: profile:save(path)", check.describe(self))
  end
  local events = {}
  for i, event in ipairs(self._events) do
    events[i] = { name = event.name, cat = event.backward and "backward" or "forward", ph = "X", pid = 1, tid = 1,
                  ts = 1e6 * event.start, dur = 1e6 * event.seconds,
                  args = { gflop = event.flops / 1e9, megabytes = event.bytes / 1e6 } }
  end
  core.write_file(check.value("profile: path", path, "string"),
                  json.encode({ traceEvents = events, displayTimeUnit = "ms" }))
end

-- ---- recording ----

local M = {}

local function peak() return core.device() == "cpu" and core.peak() or nil end

local measured -- the peak, before the recording began

--- Begin to record.
function M.begin()
  measured = peak()
  core.profile_begin()
end

--- End the recording.
---@return bam.Profile
function M.take()
  local recorded = core.profile_end()
  if recorded.lost > 0 then check.fail("profile: out of memory: %d events were lost; profile less", recorded.lost) end
  return setmetatable({ seconds = recorded.seconds, outside = time_outside(recorded), ops = add_up(recorded.events),
                        peak = measured, _events = recorded.events }, metatable)
end

--- Run f(...) and record every op in it: calls, time, FLOPs, bytes. print(profile) shows a table. The time of an op is
--- without that of ops inside it; what is left is `outside`, so that the rows add up to the whole. FLOPs count
--- matrix products and attention, 2 per multiply-add; bytes are the sizes of inputs and outputs.
--- Recording costs about a microsecond per op. On a GPU every op is waited for, so the whole is slower than without.
---
---   local profile = bam.profile(function() for _ = 1, 10 do step() end end)
---   print(profile)
---   profile:save "trace.json" -- for ui.perfetto.dev
---@param f function
---@param ... any its arguments
---@return bam.Profile
function M.profile(f, ...)
  if not check.is_callable(f) then check.fail("profile: expected a function, got %s", check.describe(f)) end
  M.begin()
  local fine, fault = pcall(f, ...)
  if not fine then
    core.profile_end()
    error(fault, 0)
  end
  return M.take()
end

return M
