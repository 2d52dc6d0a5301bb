--- Graphs: the device's work of a function, recorded once and run again with one call.
local check = require "bam.util.check"
local core = require "bam.core"

local MOST = 8 -- recordings of one graph; arguments that differ more often are not worth any

---@class bam.Graph
local Graph = {} -- methods
local metatable = { __name = "graph", __index = Graph, __methods = Graph }

-- ---- arguments and results ----

-- What a recording depends on: shapes of tensors, values of everything else.
local function describe_argument(i, x)
  if check.is_tensor(x) then
    return string.format("%s %s %s %s", x.dtype, tostring(x.device), check.shape(x.shape), tostring(x.requires_grad))
  end
  local kind = type(x)
  if kind == "table" or kind == "function" or kind == "userdata" or kind == "thread" then
    check.fail("graph: argument %d: expected a tensor, number, string, boolean or nil, got %s; use other values from "
               .. "around the function", i, check.describe(x))
  end
  return string.format("%s %q", kind, x)
end

-- The key of a list of arguments, and the device of its tensors.
local function examine(args)
  local words, device = {}, nil
  for i = 1, args.n do
    words[i] = describe_argument(i, args[i])
    if check.is_tensor(args[i]) and (not device or device == "cpu") then device = tostring(args[i].device) end
  end
  return table.concat(words, "\n"), device or core.device()
end

-- Results without a tape: a replay computes values only.
local function check_results(...)
  for i = 1, select("#", ...) do
    local x = select(i, ...)
    if x ~= nil and not check.is_tensor(x) then
      check.fail("graph: result %d: expected a tensor, got %s; return tensors, one by one", i, check.describe(x))
    end
    if x and x.requires_grad then
      check.fail("graph: result %d requires a gradient; call backward in the function, and return x:detach()", i)
    end
  end
  return ...
end

-- ---- recording ----

-- Why these arguments cannot be copied into inputs.
local function fault_of(args, device)
  for i = 1, args.n do
    local x = args[i]
    if check.is_tensor(x) and tostring(x.device) ~= device then
      return string.format("argument %d is on %s, not on %s", i, tostring(x.device), device)
    end
    if check.is_tensor(x) and x.requires_grad then
      return string.format("argument %d requires a gradient; use it from around the function", i)
    end
  end
end

local function make_inputs(args)
  local inputs = { n = args.n }
  for i = 1, args.n do
    local x = args[i]
    inputs[i] = check.is_tensor(x) and core.empty(x.shape, { dtype = x.dtype, device = x.device }):keep() or x
  end
  return inputs
end

local function fill_inputs(inputs, args)
  for i = 1, args.n do
    if check.is_tensor(args[i]) then core.capture_input(inputs[i], args[i]) end
  end
end

local function close_all(list)
  for i = 1, list and list.n or 0 do
    if check.is_tensor(list[i]) then list[i]:close() end
  end
end

local function drop(entry)
  if entry.capture then entry.capture:close() end
  close_all(entry.inputs)
  entry.capture, entry.inputs, entry.outputs = nil, nil, nil
end

-- Call f on the inputs while the device records.
local function record_call(f, inputs, capture, device)
  local outputs = table.pack(check_results(core.scope(f, table.unpack(inputs, 1, inputs.n))))
  for i = 1, outputs.n do
    if outputs[i] and tostring(outputs[i].device) ~= device then
      check.fail("result %d is on %s, not on %s", i, tostring(outputs[i].device), device)
    end
    if outputs[i] then outputs[i]:keep() end
  end
  capture:finish()
  return outputs
end

-- Record f; the reason why it cannot be recorded, or nil. Nothing has run on the device then.
local function record(f, entry, args, device)
  local fault = fault_of(args, device)
  if fault then return fault end
  entry.inputs = make_inputs(args)
  fill_inputs(entry.inputs, args)
  local fine, result = core.try(function()
    entry.capture = core.capture(device)
    return record_call(f, entry.inputs, entry.capture, device)
  end)
  if fine then
    entry.outputs, entry.recorded = result, (entry.recorded or 0) + 1
    return nil
  end
  drop(entry)
  return tostring(result)
end

-- Run the recording. If it cannot: the reason, and whether it never will.
local function replay(entry, args)
  fill_inputs(entry.inputs, args)
  return entry.capture:launch()
end

-- ---- calling ----

local function entry_of(self, key)
  local entry = self._entries[key]
  if not entry then
    entry = { calls = 0 }
    if self._count == MOST then entry.refused = string.format("the arguments have differed %d times", MOST) end
    self._count = math.min(self._count + 1, MOST)
    self._entries[key] = not entry.refused and entry or nil
  end
  return entry
end

-- Try to run the call as a graph; true if it did, or false and the reason.
local function run(self, entry, args, device)
  if entry.capture then
    local obstacle, lasting = replay(entry, args)
    if not (obstacle and lasting) then return not obstacle, obstacle end
    drop(entry)
    entry.calls = 0
    entry.refused = obstacle == "memory was short" and obstacle
      or entry.recorded == MOST and string.format("it had to be recorded %d times: %s", MOST, obstacle) or nil
    return false, obstacle
  end
  if entry.refused then return false, entry.refused end
  if entry.calls == 0 then return false, "the first call prepares what a recording needs" end
  entry.refused = core.uninterrupted(record, self._f, entry, args, device)
  if entry.refused then return false, entry.refused end
  entry.refused = entry.capture:launch()
  return not entry.refused, entry.refused
end

function metatable:__call(...)
  local args = table.pack(...)
  local key, device = examine(args)
  if device == "cpu" then
    self._obstacle = "it is for GPUs"
    return check_results(self._f(...))
  end
  local entry = entry_of(self, key)
  local ran
  ran, self._obstacle = run(self, entry, args, device)
  if ran then return table.unpack(entry.outputs, 1, entry.outputs.n) end
  if self._strict and entry.refused then check.fail("graph: %s", entry.refused) end
  entry.calls = entry.calls + 1
  return check_results(self._f(...))
end

--- Why the last call ran the function itself, op by op; nil if it ran a recording.
---@return string?
function Graph:obstacle() return self._obstacle end

--- Drop all recordings and free their memory. A later call records again.
function Graph:close()
  for _, entry in pairs(self._entries) do drop(entry) end
  self._entries, self._count = {}, 0
end

metatable.__close = Graph.close

function metatable:__tostring()
  local recorded = 0
  for _, entry in pairs(self._entries) do
    if entry.capture then recorded = recorded + 1 end
  end
  return string.format("graph with %d recordings", recorded)
end

check.methods(Graph, function(x) return getmetatable(x) == metatable end, "a graph", "graph")

local spec = { strict = { "boolean", false } }

--- Make f a CUDA graph: its second call records what a GPU does for it, and later calls run that with one call to the
--- device, without the host's time for each op. Results have the bits of f(...). There is a recording for each
--- combination of shapes; other arguments count by value. On the CPU f is simply called.
---
--- What f does on the host (printing, counting, choosing a branch) happens only when f itself runs. f must not need
--- a value from the device (x:item()), a copy from the CPU, or random numbers, as dropout does; then, and wherever
--- else a recording is impossible, f itself is called each time. f may call backward, whose gradients are added as
--- always, but not step an optimizer, whose steps differ in a number. Results are tensors that require no gradient;
--- the next call overwrites them: clone what you keep. A recording keeps its memory until graph:close(), or until
--- memory is short.
---
---   local gradients = bam.graph(function(x, y)
---     local loss = bam.cross_entropy(model(x), y)
---     loss:backward()
---     return loss:detach()
---   end)
---@param f function of tensors on one device, numbers, strings and booleans; gives tensors
---@param options? { strict?: boolean } strict: an error where f cannot be recorded
---@return bam.Graph graph to be called like f
local function graph(f, options)
  if not check.is_callable(f) then check.fail("graph: expected a function, got %s", check.describe(f)) end
  local o = check.options("graph", options, spec)
  return setmetatable({ _f = f, _strict = o.strict, _entries = {}, _count = 0 }, metatable)
end

return { graph = graph }
