-- What must hold between calls: every live tensor can be read, and a call that raised changed
-- nothing.
local core = require "own"
local describe = require "describe"
local values = require "values"

local M = {}

-- Everything that can be seen of a tensor, as text; "closed" for one that is.
local function state_of(x)
  local fine, text = pcall(function()
    local grad = x.grad
    return ("%s %s %s %s %s"):format(describe.value(x), core.hash_tensor(x), table.concat(x.strides, ","),
      x.is_leaf, grad and core.hash_tensor(grad))
  end)
  return fine and text or "closed"
end

--- The state of all tensors of the pool and of an argument list of f: { [tensor] = text }.
function M.snapshot(args, f)
  local states = {}
  for _, list in ipairs { values.pool, args } do
    for i = 1, list.n or #list do
      local value = list[i]
      if values.is_tensor(value) then
        states[value] = state_of(value)
      elseif type(value) == "table" and not debug.getmetatable(value) then
        for _, inner in next, value do
          if values.is_tensor(inner) then states[inner] = state_of(inner) end
        end
      end
    end
  end
  -- What is made of several steps may have drawn some numbers before one failed.
  local is_one_step = type(f) == "function" and debug.getinfo(f, "S").what == "C"
  states.random = is_one_step and table.concat(core.random_state(), " ") or nil
  return states
end

--- What differs from the snapshot, as text, or nil.
function M.changed(states)
  for value, before in next, states do
    local now = value == "random" and table.concat(core.random_state(), " ") or state_of(value)
    if now ~= before and now ~= "closed" then -- a callback's closing takes effect when it may
      return ("%s -> %s"):format(value == "random" and "random numbers: " .. before or before, now)
    end
  end
end

-- Whether a tensor is small as nested tables, which one of no elements need not be: (2147483647, 0) is that many.
local function is_small(x)
  local tables = 1
  for _, size in ipairs(x.shape) do tables = tables * math.max(size, 1.0) end
  return tables < 1000
end

--- Read every tensor of the pool in several ways.
function M.read_all()
  for _, x in ipairs(values.pool) do
    local fine, message = pcall(function()
      if values.is_tensor(x) then
        tostring(x)
        if is_small(x) then core.methods.totable(x) end
      end
    end)
    if not fine and state_of(x) ~= "closed" then error(message) end -- a finalizer may have closed it
  end
end

return M
