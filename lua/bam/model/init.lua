--- Models of the paper. bam.models.parallel describes a dense model, bam.mix a mixture; description:build() makes
--- the model.
---
---   local description = bam.models.parallel { layers = 2, width = 64, heads = 4, ffn = 128, vocab = 256 }
---   local model = description:build { seed = 1 }
local check = require "bam.util.check"
local Model = require "bam.model.model"
require "bam.model.build" -- these add methods to descriptions and models
require "bam.model.checkpoint"
require "bam.model.sample"

return check.guard({
  parallel = require "bam.model.parallel",
  Model = Model,
}, "bam.models")
