-- Safetensors files: tensors by name, and metadata.
local core = require "bam.core"
local definition = require "bam.formats.definition"

return definition.define_builtin({
  name = "safetensors", endings = { "safetensors" },
  doc = "Tensors by name (https://github.com/huggingface/safetensors).",
  begins = function(head) return #head > 8 and head:sub(9, 9) == "{" and head:byte(8) == 0 end, -- a length, then JSON
  load = core.load,
  save = core.save,
}, { reads_options = true })
