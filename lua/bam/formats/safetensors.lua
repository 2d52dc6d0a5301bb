-- Safetensors files: tensors by name, and metadata.
local core = require "bam.core"
local definition = require "bam.formats.definition"
local metadata = require "bam.util.metadata"

local function load(path, names)
  local tensors, found = core.load(path, names)
  return tensors, metadata.mark(found)
end

return definition.define_builtin({
  name = "safetensors", endings = { "safetensors" },
  doc = "Tensors by name (https://github.com/huggingface/safetensors).",
  begins = function(head) return #head > 8 and head:sub(9, 9) == "{" and head:byte(8) == 0 end, -- a length, then JSON
  load = load,
  save = core.save,
}, { reads_options = true })
