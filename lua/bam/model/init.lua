--- Models. bam.models.parallel describes a dense model of the paper's blocks, bam.models.sequential one of pre-norm
--- blocks, bam.mix a mixture; description:build() makes the model.
---
---   local description = bam.models.parallel { layers = 2, width = 64, heads = 4, ffn = 128, vocab = 256 }
---   local model = description:build { seed = 1 }
---
--- Attention and FFN may be of a class of your own: ffn = MyFFN, or ffn = { class = MyFFN, hidden = 64 }. The class is
--- called with width, std, out_std, dtype and its own options, for attention also with heads, kv_heads, head_width and
--- rope_base, and makes a module that is called as layer(h, batch) for h [B, T, width], see nn.Router for `batch`. Its
--- code and options are part of the fingerprint of phases. A function flops(options, context) of the class gives the
--- FLOPs of a token in inference; by default they are twice the parameters.
local check = require "bam.util.check"
local define = require "bam.model.define"
local Model = require "bam.model.model"
require "bam.model.build" -- these add methods to descriptions and models
require "bam.model.checkpoint"
require "bam.model.saving"
require "bam.model.sample"
require "bam.model.score"
require "bam.model.explain"

local M = { Model = Model }

-- The registry of bam's own blocks: a file each.
for _, name in ipairs { "parallel", "post_norm", "sequential" } do
  M[name] = require(string.format("bam.model.blocks.%s", name))
end

---@class models.BlockDefinition
---@field name string letters, digits and _; it also stands in config.json
---@field norms string[][] the norms of a block: { field of the block, name in checkpoints }
---@field forward fun(block: table, x: tensor, branch?: tensor, batch: table): tensor, tensor computes the norms,
--- block.attention(h, batch) and block.ffn(h, batch). The residual stream is x + branch, where branch is nil in the
--- first block: `h, x = block.norm(x, branch)` adds and normalizes in one pass. It returns the new x and branch
---@field doc? string what help() prints

--- Define a block. The result describes dense models of such blocks, as bam.models.parallel does; they are trained,
--- saved and mixed like others. The code of `forward` is part of the fingerprint of phases. bam.load needs the
--- definition.
---@param what models.BlockDefinition
---@return table definition
function M.define(what) return define.define(what) end

return check.guard(M, "bam.models")
