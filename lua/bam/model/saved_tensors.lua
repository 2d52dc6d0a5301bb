-- What a checkpoint holds of a model: the tensors of its description (bam.model.params), and those
-- of routers written in Lua, which are known only when the model is there.
local check = require "bam.util.check"
local params = require "bam.model.params"

local M = {}

--- Bytes of the dtypes of floating point.
M.FLOATS = { f32 = 4, f64 = 8, bf16 = 2, f16 = 2 }

--- Bytes of those that are not.
M.WHOLE = { i32 = 4, i64 = 8, u8 = 1, bool = 1 }

-- What is not of floating point keeps its dtype, and has it in the entry.
local function custom_entry(name, tensor)
  return { name = name, shape = tensor.shape, dtype = M.WHOLE[tensor.dtype] and tensor.dtype,
           view = function() return tensor end }
end

local function custom_entries(model)
  local list = {}
  for i, layer in ipairs(model.layers) do
    for _, which in ipairs { "attention", "ffn" } do
      local router = model.description[which].router and layer[which].router
      if type(router) == "table" then
        local tensors, prefix = router:state(), params.prefix(i, which)
        for _, name in ipairs(check.sorted_names(tensors)) do
          list[#list + 1] = custom_entry(string.format("%srouter.%s", prefix, name), tensors[name])
        end
      end
    end
  end
  return list
end

--- The entries of a description, less those of routers written in Lua.
---@param d table
---@return table[]
function M.plain(d)
  local list = {}
  for _, entry in ipairs(params.list(d)) do
    if not (entry.router_of and d[entry.router_of].router) then list[#list + 1] = entry end
  end
  return list
end

--- The entries of a live model; one with a `dtype` is saved in that, the others in the file's.
---@param model table
---@return table[]
function M.of(model)
  local list, custom = M.plain(model.description), custom_entries(model)
  return table.move(custom, 1, #custom, #list + 1, list)
end

return M
