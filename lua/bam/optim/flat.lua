-- Flat buffers: parameters that are updated alike are stored back to back in one buffer, their gradients in
-- another, and so is each kind of state that has the parameters' shapes; a step is then one pass over a few
-- long buffers. Each parameter starts at a multiple of 64 bytes; the padding between them stays 0.
local check = require "bam.util.check"
local core = require "bam.core"

local M = {}

local PER_LINE = { bf16 = 32, f32 = 16, f64 = 8 } -- elements in 64 bytes

-- The dtype of gradients and state of parameters.
local WIDE = { bf16 = "f32" }

--- The dtype that an optimizer computes in for parameters of a dtype: of bf16 it keeps f32 masters, whose high halves
--- the parameters are (kernels/master.h).
---@param dtype string
---@return string
function M.wide(dtype) return WIDE[dtype] or dtype end

-- Buffers outlive the bam.scope they may be made in.
local function zeros(size, like, dtype)
  return core.zeros(size, { dtype = dtype or like.dtype, device = like.device }):keep()
end

-- The low halves of `count` masters from the first on, two bytes each; nil without masters.
local function low_part(bucket, first, count)
  return bucket.low and bucket.low:narrow(1, 2 * first - 1, 2 * count):keep()
end

local function slice(buffer, entry)
  return buffer:narrow(1, entry.first, entry.count):view(entry.tensor.shape):keep()
end

-- Where each parameter is stored, and the length of the buffers.
local function arrange(parameters)
  local line, size, entries = PER_LINE[parameters[1].tensor.dtype], 0, {}
  for i, p in ipairs(parameters) do
    local count = p.tensor:count()
    entries[i] = { name = p.name, tensor = p.tensor, module = p.module, first = size + 1, count = count, steps = 0,
                   state = {} }
    size = size + (count + line - 1) // line * line
  end
  return entries, size
end

--- A new bucket for parameters of one dtype and device, its buffers zero. The parameters stay where they are
--- until M.fill. Each entry counts the `steps` in which it was trained.
---@param parameters { name: string, tensor: tensor, module?: table }[]
---@param names string[] of the state that is stored in flat buffers
---@param counts boolean does an update depend on how often its parameters were trained?
---@return table bucket
function M.bucket(parameters, names, counts)
  local like = parameters[1].tensor
  local entries, size = arrange(parameters)
  local bucket = { entries = entries, state = {}, names = names, counts = counts, tensors = {}, places = {},
                   grads = {} }
  local wide = M.wide(like.dtype)
  bucket.param, bucket.grad = zeros(size, like), zeros(size, like, wide)
  bucket.low = WIDE[like.dtype] and zeros(2 * size, like, "u8")
  for _, name in ipairs(names) do bucket.state[name] = zeros(size, like, wide) end
  for i, entry in ipairs(entries) do
    bucket.tensors[i], bucket.places[i] = entry.tensor, slice(bucket.param, entry)
    bucket.grads[i] = slice(bucket.grad, entry)
    entry.param, entry.grad = bucket.places[i], bucket.grads[i]
    entry.low = low_part(bucket, entry.first, entry.count)
    for _, name in ipairs(names) do entry.state[name] = slice(bucket.state[name], entry) end
  end
  return bucket
end

--- Move the parameters into the bucket; from now on their gradients collect there.
---@param bucket table
function M.fill(bucket)
  for i, tensor in ipairs(bucket.tensors) do core.move(tensor, bucket.places[i]) end
  core.attach(bucket.tensors, bucket.places, bucket.grads)
end

-- The part of the buffers from entry `a` to entry `b`.
local function segment(bucket, a, b)
  local length = b.first + b.count - a.first
  local s = { entry = a, last = b, param = bucket.param:narrow(1, a.first, length):keep(),
              grad = bucket.grad:narrow(1, a.first, length):keep(), low = low_part(bucket, a.first, length),
              state = {} }
  for _, name in ipairs(bucket.names) do
    s.state[name] = bucket.state[name]:narrow(1, a.first, length):keep()
  end
  return s
end

-- The longest runs of parameters that are trained and, with `alike`, were so equally often.
local function segments(bucket, alike)
  local list, first = {}, nil
  for i, entry in ipairs(bucket.entries) do
    local following = bucket.entries[i + 1]
    local goes_on = following and following.trained
      and not (alike and following.steps ~= entry.steps)
    first = first or entry.trained and entry or nil
    if first and not goes_on then list[#list + 1], first = segment(bucket, first, entry), nil end
  end
  return list
end

-- Are some of the trained parameters younger than others?
local function ages_differ(bucket)
  local steps
  for _, entry in ipairs(bucket.entries) do
    if entry.trained then
      if steps and steps ~= entry.steps then return true end
      steps = entry.steps
    end
  end
  return false
end

--- Recompute how the buffers are divided: `segments`, over which gradients are measured, and `updates`,
--- in each of which all parameters have been trained for the same number of steps.
---@param bucket table
function M.divide(bucket)
  bucket.segments = segments(bucket, false)
  bucket.updates = bucket.counts and ages_differ(bucket) and segments(bucket, true)
    or bucket.segments
end

--- Make the bucket fit the parameters as they are now: which are frozen, and where their gradients
--- are.
---@param what string for messages
---@param bucket table
function M.refresh(what, bucket)
  local lost = core.attach(bucket.tensors, bucket.places, bucket.grads)
  if lost then
    check.fail("%s: parameter `%s` has left this optimizer's buffer: another optimizer took it, "
               .. "or something else moved it; make a new optimizer", what,
               bucket.entries[lost].name)
  end
  local changed = false
  for _, entry in ipairs(bucket.entries) do
    local trained = entry.tensor.requires_grad
    changed = changed or trained ~= entry.trained
    entry.trained = trained
  end
  if changed then M.divide(bucket) end
end

return M
