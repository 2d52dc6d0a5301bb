-- NumPy's format of one array.
local core = require "bam.core"
local definition = require "bam.formats.definition"

return definition.define_builtin {
  name = "npy", endings = { "npy" },
  doc = "One tensor, as numpy.save writes it.",
  begins = function(head) return head:sub(1, 6) == "\x93NUMPY" end,
  load = function(path) return core.load_npy(path) end,
  save = function(path, x) core.save_npy(path, x) end,
}
