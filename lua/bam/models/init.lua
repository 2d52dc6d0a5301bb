--- Models of the paper: bam.models.parallel describes a dense one, description:build() makes it
--- live.
local check = require "bam.check"

return check.guard({
  parallel = require "bam.models.parallel",
  Model = require "bam.models.model",
}, "bam.models")
