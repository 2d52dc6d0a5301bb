--- bamlua: tensors, autograd, layers and training, for Branch-Attend-Mix and your own experiments. Everything
--- public is a field of this module. help(bam.softmax) explains a function; help() gives an overview.
local core = require "bam.core"

-- The next collection comes 4 MB later: while modules are loaded, nothing can be collected.
collectgarbage("step", -4096)

local M = {}

for name, op in pairs(core.ops) do M[name] = op end
local from_core = { "tensor", "zeros", "ones", "empty", "full", "arange", "linspace", "eye", "rand",
                    "randn", "randint", "randperm", "bytes", "scope", "save_npy",
                    "load_npy", "seed", "threads", "memory", "isa", "peak", "clock",
                    "device", "devices", "synchronize", "tf32" }
for _, name in ipairs(from_core) do
  M[name] = core[name]
end

require "bam.tensor" -- adds methods to tensors

local grad = require "bam.tensor.grad"
for name, f in pairs(grad) do M[name] = f end
M.gradcheck = require "bam.tensor.gradcheck"
M.profile = require("bam.tensor.profile").profile
M.graph = require("bam.tensor.graph").graph
M.nn = require "bam.nn"
M.optim = require "bam.optim"
M.schedule = require "bam.util.schedule"
M.models = require "bam.model"
M.json = require "bam.util.json"
M.tokenizer = require "bam.tokenizer"
M.corpus = require "bam.data"

local mix = require "bam.merge.mix"
M.mix, M.upcycle = mix.mix, mix.upcycle
M.extend = require("bam.merge.extend").extend
M.merge = require "bam.merge"
M.ensemble = require "bam.model.ensemble"
M.options = require("bam.train.options").options
M.train = require("bam.train").train
M.metrics = require("bam.train.log").metrics
M.plan = require("bam.train.by_hand").plan
M.evaluate = require("bam.train.evaluate").evaluate
M.compare = require("bam.eval.compare").compare
M.audit = require("bam.train.audit").audit
M.tune = require("bam.train.tuning").tune
M.spread = require("bam.eval.seed_summary").spread
M.loop = require "bam.train.loop"

M.formats = require "bam.formats"
local files = require "bam.formats.files"
M.load, M.save = files.load, files.save

--- Is `value` a tensor?
---@param value any
---@return boolean
function M.is_tensor(value) return getmetatable(value) == "tensor" end

--- Version of bamlua, "major.minor.patch".
M.version = core.release

-- Old names, accepted for one version.
local RENAMED = { synchronise = "synchronize" }

local names
local function unknown(_, name)
  if type(name) ~= "string" then return nil end
  if RENAMED[name] then return M[RENAMED[name]] end
  if not names then
    names = {}
    for known in pairs(M) do names[#names + 1] = known end
    table.sort(names)
  end
  error(string.format("bam has no `%s`%s", name, require("bam.util.hints").hint("bam", name, names)), 2)
end

require("bam.util.globals").watch()
local source_text = require "bam.model.fingerprint.source_text"
require("bam.model.fingerprint.library").remember(M)
source_text.begin()

return setmetatable(M, { __name = "bam", __index = unknown })
