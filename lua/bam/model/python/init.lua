-- The Python code by which transformers opens checkpoints of model_type "bam": files beside config.json, which names
-- them in `auto_map`.
local blocks = require "bam.model.blocks.registry"
local check = require "bam.util.check"
local core = require "bam.core"

local M = {}

local FILES = { "configuration", "modeling" } -- modules beside this one

--- What config.json says of the code.
M.AUTO_MAP = { AutoConfig = "configuration_bam.BamConfig", AutoModelForCausalLM = "modeling_bam.BamForCausalLM" }

local KNOWN = { parallel = true, sequential = true, post_norm = true }

--- Raise an error for a model that the code cannot compute: with parts written in Lua.
---@param d table description
function M.check(d)
  local name = blocks.of(d).name
  if not KNOWN[name] or not blocks.of(d).is_builtin then
    check.fail("save: option python: the blocks called %s are defined in Lua, and transformers cannot compute them",
               name)
  end
  if d.dense_ffn then
    check.fail "save: option python: the FFN of some layers has no experts, and the code has no place for that"
  end
  for _, which in ipairs { "attention", "ffn" } do
    local own = d[which].class and "layers" or d[which].router and "routers"
    if own then
      check.fail("save: option python: its %s has %s written in Lua, and transformers cannot compute them", which, own)
    end
  end
end

--- Write the files into a directory.
---@param directory string
function M.write(directory)
  for _, name in ipairs(FILES) do
    core.write_file(string.format("%s/%s_bam.py", directory, name),
                    require(string.format("bam.model.python.%s", name)))
  end
end

--- Is an `auto_map` the one that names this code?
---@param map any
---@return boolean
function M.is_own(map)
  if type(map) ~= "table" then return false end
  for name, class in pairs(map) do
    if M.AUTO_MAP[name] ~= class then return false end
  end
  return true
end

return M
