--- Modules and functions applied one after another: nn.Sequential { nn.Linear(2, 16), bam.tanh, nn.Linear(16, 1) }.
--- They are the fields 1, 2, ...: #m is their number, m[1] is the first, and parameters have names such as "1.weight".
local check = require "bam.util.check"
local module = require "bam.nn.module"

local Sequential = module.module "Sequential"

--- nn.Sequential { first, second, ... }: modules, or functions from tensor to tensor.
---@param list table
function Sequential:init(list)
  if type(list) ~= "table" or getmetatable(list) then
    check.fail("nn.Sequential: expected a list { first, second, ... }, got %s",
               check.describe(list))
  end
  for i = 1, check.list("nn.Sequential", list) do
    local part = list[i]
    if not module.is_module(part) and type(part) ~= "function" then
      check.fail("nn.Sequential: entry %d is %s, neither a module nor a function", i,
                 check.describe(part))
    end
    self[i] = part
  end
end

--- Apply the modules in order, each to the result of the previous one.
---@param x any
---@return any
function Sequential:forward(x)
  for _, part in ipairs(self) do x = part(x) end
  return x
end

return Sequential
