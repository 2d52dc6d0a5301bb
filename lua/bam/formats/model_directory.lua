-- Directories with the checkpoint of a model.
local checkpoint = require "bam.model.checkpoint"
local definition = require "bam.formats.definition"

return definition.define_builtin({
  name = "model_directory",
  doc = "A model: config.json, its weights, and its tokenizer.",
  load = checkpoint.load,
  save = function(path, model, options) model:save(path, options) end,
}, { directory = true, reads_options = true })
