-- Values as text, for traces and reports.
local M = {}

local function tensor(x)
  local fine, shape = pcall(function() return x.shape end)
  if not fine then return "closed tensor" end
  return ("%s{%s}%s"):format(x.dtype, table.concat(shape, ","), x.requires_grad and "g" or "")
end

--- Text of a value, tables to some depth.
function M.value(value, depth)
  local kind = type(value)
  depth = depth or 0
  if kind == "string" then return ("%q"):format(#value > 60 and value:sub(1, 60) .. "~" or value) end
  if kind == "number" or kind == "nil" or kind == "boolean" then return tostring(value) end
  if kind == "userdata" and getmetatable(value) == "tensor" then return tensor(value) end
  local metatable = debug.getmetatable(value)
  local name = type(metatable) == "table" and rawget(metatable, "__name")
  if kind ~= "table" or depth > 3 then return type(name) == "string" and name or kind end
  local parts, n = {}, 0
  for k, v in next, value do
    n = n + 1
    if n > 12 then parts[n] = "~" break end
    parts[n] = (k == n and "" or ("[%s]="):format(type(k) == "table" and "table" or tostring(k))) .. M.value(v, depth + 1)
  end
  return ("%s{%s}"):format(metatable and (type(name) == "string" and name or "meta") or "", table.concat(parts, ", "))
end

--- Text of an argument list.
function M.arguments(args)
  local parts = {}
  for i = 1, math.min(args.n, 20) do parts[i] = M.value(args[i]) end
  return table.concat(parts, ", ")
end

return M
