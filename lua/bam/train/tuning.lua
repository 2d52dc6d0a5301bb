-- Algorithms of matrix products, chosen by measurement (--tune, bam.tune). A device's library has several for each
-- product. Without tuning the library's first proposal is taken, which depends on the product alone. With tuning, the
-- fastest is found when a product first comes, and written to a file, from which later runs take it: so the same script
-- with the same file gives the same bits. A checkpoint records the algorithms that its run has used; a run that is
-- resumed or audited takes these, whatever the file says.
local check = require "bam.util.check"
local core = require "bam.core"
local machine = require "bam.train.machine"
local algorithm_table = require "bam.train.algorithm_table"

local M = {}

local current      -- what bam.tune has begun: { path, device, machine, seen }; `seen` algorithms are in the file
local pinned = {}  -- by product: what the phase that trains must keep
local changes = 0

-- The kind of device and the library, which an algorithm belongs to.
local function name_of(identity) return string.format("%s, %s", identity.device, identity.products) end

-- Measured since the last time: into the file.
local function flush()
  local new = core.product_algorithms(current.device, current.seen + 1)
  if #new == 0 then return end
  local others = algorithm_table.add(current.path, current.machine, new)
  current.seen = current.seen + #new
  if others > 0 then
    print(string.format("warning: %s: another process has measured other algorithms of %d products meanwhile; this "
                        .. "run keeps its own, and another run with this file may end with other bits", current.path,
                        others))
  end
end

-- Let the device use the file's algorithms, but those of `pinned` first.
local function install()
  local list, mine = {}, pinned
  for _, entry in pairs(mine) do list[#list + 1] = entry end
  if current then
    for _, entry in ipairs(algorithm_table.read(current.path, current.machine)) do
      if not mine[entry.product] then list[#list + 1] = entry end
    end
  end
  core.set_product_algorithms(list, current ~= nil, current and current.device or nil)
  if current then current.seen = #list end
end

-- The file gets what a checkpoint records, so that another run with it takes the same.
local function keep_pinned()
  local list = {}
  for _, product in ipairs(check.sorted_names(pinned)) do list[#list + 1] = pinned[product] end
  local others = #list > 0 and algorithm_table.add(current.path, current.machine, list) or 0
  if others > 0 then
    print(string.format("warning: %s has other algorithms of %d products than this run has used so far; it keeps its "
                        .. "own", current.path, others))
  end
end

-- What bam.tune(path) begins; nothing has changed yet.
local function open(path)
  check.value("tune: path", path, "string")
  local device = core.device()
  if not core.product_library(device) then
    check.fail("tune: products on %s have one implementation, so there is nothing to measure; take a GPU, "
               .. "--device cuda", device)
  end
  return { path = core.absolute(path), device = device, machine = name_of(machine.identity()), seen = 0 }
end

--- Choose the algorithms of matrix products on the current device by measurement: when a product of new types or sizes
--- comes, up to 8 that the device's library proposes are timed, and the fastest whose result is the same each time is
--- used from then on. The file keeps what was measured, by kind of device and version of the library; what it has is
--- used and not measured again. So the same script, seed, device and file give the same bits, and without the file a
--- run may get others. A phase of bam.train records its algorithms in its checkpoints, and takes them from there when
--- it is resumed. The same as --tune FILE. Measurements are written during bam.train, and by bam.tune().
---
--- Raises an error on a device whose products have one implementation, such as the CPU.
---@param path? string|boolean the file, which is created; false: stop, and take the library's first proposals again
---@return string? path of the file in use
function M.tune(path)
  if path == nil then
    if current then flush() end
    return current and current.path
  end
  local next_one = path ~= false and open(path) or nil
  if current then flush() end
  local before, device = current, current and current.device
  current = next_one
  if next_one then
    local ok, message = core.try(install)
    if not ok then
      current = before
      error(message, 0)
    end
  end
  if device and not (next_one and next_one.device == device) then core.set_product_algorithms({}, false, device) end
  changes = changes + 1
  return path or nil
end

--- Do what --tune says.
---@param path string
function M.apply(path)
  if current and current.path == core.absolute(path) and current.device == core.device() then return end
  M.tune(path)
end

--- How many times bam.tune was called with a file: a callback must not.
---@return integer
function M.changes() return changes end

--- What a checkpoint's `machine` says; nil if products have one implementation.
---@return string?
function M.describe()
  if not core.product_library() then return nil end
  return current and current.device == core.device() and "measured" or "proposed"
end

-- ---- for a phase that trains ----

--- Begin a phase: take the algorithms that its checkpoint records, if it was made on this kind of device.
---@param state? table of training.json
---@param replays? boolean measure nothing: the steps have been computed before
---@return fun() leave to be called when the phase ends
function M.enter(state, replays)
  local recorded = state and state.algorithms
  local outer = current
  if not recorded and not current then return function() end end
  if recorded and name_of(state.machine) == name_of(machine.identity()) then
    pinned = algorithm_table.by_product(recorded)
  end
  if current then
    flush()
    keep_pinned()
  end
  if replays then current = nil end
  install()
  return function()
    pinned = {}
    if current then flush() end
    current = outer
    install()
  end
end

--- Call f() with the library's first proposals, and measure nothing.
---@param f function
---@return any
function M.without(f)
  if not current then return f() end
  flush()
  core.set_product_algorithms({}, false, current.device)
  local result = f()
  install()
  return result
end

--- Write what was measured since the last time. Cheap if nothing was.
function M.flush()
  if current then flush() end
end

--- The algorithms that the phase has used, for its checkpoint; nil if there are none.
---@return bam.Algorithm[]?
function M.record()
  local list = {}
  for _, entry in ipairs(core.product_algorithms()) do
    if entry.used or pinned[entry.product] then
      entry.used = nil
      list[#list + 1] = entry
    end
  end
  return #list > 0 and list or nil
end

return M
