--- The matrices of a parameter, for optimizers that treat each weight matrix separately. A layer may stack several
--- matrices in one parameter, such as queries, keys and values. Its class then has a method
---
---   module:matrices(x, key)   x: a tensor with the shape of the parameter in field `key`
---
--- that returns a list of { view, count, rows, columns }: a view of x that has the shape [count, rows, columns] after a
--- reshape. Together the views cover each element of x exactly once.
local check = require "bam.util.check"

local M = {}

--- Views of rows of x [rows, columns], stacked back to back.
---@param x tensor
---@param sizes integer[] rows of each matrix
---@return table[]
function M.stacked(x, sizes)
  local list, first = {}, 1
  for i, rows in ipairs(sizes) do
    list[i] = { view = x:narrow(1, first, rows), count = 1, rows = rows, columns = x:size(2) }
    first = first + rows
  end
  return list
end

-- The last two dimensions of x are the rows and columns of matrices.
local function plain(x)
  local rows, columns = x:size(-2), x:size(-1)
  return { { view = x, count = x:count() // math.max(rows * columns, 1), rows = rows, columns = columns } }
end

local function check_all(x, list, name)
  local count = 0
  for _, part in ipairs(list) do count = count + part.view:count() end
  if count ~= x:count() then
    check.fail("matrices of `%s`: the views have %d elements, the parameter %d", name, count, x:count())
  end
end

--- The matrices in `x`, a tensor with the shape of a parameter.
---@param x tensor
---@param name string name of the parameter, which ends with its field
---@param module? table module that holds the parameter
---@return { view: tensor, count: integer, rows: integer, columns: integer }[]
function M.of(x, name, module)
  local list = module and module.matrices and module:matrices(x, name:match "[^.]*$")
  if not list then return plain(x) end
  check_all(x, list, name)
  return list
end

return M
