--- Models of the paper. bam.models.parallel describes a dense model, bam.mix a mixture; description:build() makes
--- the model.
---
---   local description = bam.models.parallel { layers = 2, width = 64, heads = 4, ffn = 128, vocab = 256 }
---   local model = description:build { seed = 1 }
local check = require "bam.util.check"

return check.guard({
  parallel = require "bam.model.parallel",
  Model = require "bam.model.model",
}, "bam.models")
