--- What ptxas made of kernels, as machine code: which instructions each kernel has, and that those are among them for
--- which it was written. `make sass` runs it; no test of values would notice their absence.
---   bamlua tests/gpu/sass.lua OBJECT...
--- cuobjdump and nvdisasm must be in $PATH: a CUDA Toolkit has them, and the wheels nvidia-cuda-cuobjdump and
--- nvidia-cuda-nvdisasm.
local HERE = arg and arg[0] and arg[0]:match "^(.*/)" or "./"
package.path = string.format("%s../../?.lua;%s", HERE, package.path)
local check = require "bam.util.check"

local M = {}

-- What is counted: a column of the table, and the instructions that belong to it.
local COLUMNS = {
  { "hgmma", "^HGMMA" },            -- products of a warpgroup
  { "hmma", "^HMMA" },              -- products of a warp
  { "tma", "^UTMALDG" },            -- copies of tensor maps
  { "ldsm", "^LDSM" },              -- matrices from shared memory
  { "async", "^LDGSTS.*%.128" },    -- asynchronous copies of 16 bytes
  { "ld 16", "^LDG%..*%.128" },     -- loads of 16 bytes
  { "ld 2", "^LDG%..*%.U16" },      -- loads of 2 bytes
  { "st 16", "^STG%..*%.128" },     -- stores of 16 bytes
  { "st 2", "^STG%..*%.U16" },      -- stores of 2 bytes
  { "fp8", "^F2FP%..*E[45]M[23]" }, -- conversions of pairs to FP8
  { "local", "^LDL", "^STL" },      -- spills, and arrays that are not in registers
  { "ex2", "^MUFU%.EX2", in_flight = true }, -- powers of 2 while products of a warpgroup are under way
}

-- What kernels must have and must not have, by the object and the mangled name. Packs of 8 bf16 are Li8EE. Kernels over
-- flat ranges have a loop for what remains after the last pack; losses read the logit of one word by itself.
local CLAIMS = {
  { file = "attention_hopper", has = { "hgmma", "tma", "st 16", "ex2" }, most = { ["local"] = 0 } },
  { file = "attention_mma", has = { "hmma", "ldsm", "async", "st 16" }, most = { ["local"] = 0 } },
  { file = "%.bf16", kernel = "walk_packs.*Li8E", has = { "ld 16", "st 16" }, most = {} },
  { file = "optim", kernel = "_elementsILi8EE", has = { "ld 16", "st 16" }, most = { ["local"] = 0 } },
  { file = "optim", kernel = "square_chunksILi8EE", has = { "ld 16" }, most = { ["local"] = 0 } },
  { file = "loss", kernel = "cross_entropy_rows.*Li8EE", has = { "ld 16" }, most = { ["ld 2"] = 1, ["local"] = 0 } },
  { file = "fp8_quantize", kernel = "find_amaxILi8EE", has = { "ld 16" }, most = { ["ld 2"] = 0, ["local"] = 0 } },
  { file = "fp8_quantize", kernel = "quantizeILi8E", has = { "ld 16", "st 16", "fp8" },
    most = { ["ld 2"] = 0, ["local"] = 0 } },
  { file = "softmax", kernel = "logsumexp_rows.*Li8EE", has = { "ld 16" },
    most = { ["ld 2"] = 0, ["st 2"] = 2, ["local"] = 0 } },
  { file = "%.bf16", kernel = "Li8EE", has = { "ld 16", "st 16" },
    most = { ["ld 2"] = 1, ["st 2"] = 0, ["local"] = 0 } },
}

-- "        /*0490*/    @!P0 LDG.E.128 R12, ..." has the opcode LDG.E.128.
local function opcode_of(line)
  local code = line:match "^%s+/%*%x+%*/%s+(.*)"
  return code and code:gsub("^@!?U?P%w+%s+", ""):match "^[A-Z][%w._]*"
end

-- How many groups of products are under way after an instruction: the last one of a group names the barrier gsb0.
local function in_flight(opcode, line, before)
  if opcode:find "^HGMMA" and line:find "gsb0" then return before + 1 end
  local left = opcode == "WARPGROUP.DEPBAR.LE" and line:match "gsb0, 0x(%x+)"
  return left and math.min(before, tonumber(left, 16)) or before
end

local function matches(column, opcode, flying)
  if column.in_flight and flying == 0 then return false end
  return opcode:find(column[2]) or column[3] and opcode:find(column[3])
end

--- The kernels of a listing of cuobjdump -sass.
---@param lines fun(): string?
---@return table[] kernels { name, counts by column, total }
function M.kernels(lines)
  local kernels, kernel, flying = {}, nil, 0
  for line in lines do
    local name = line:match "Function : (%S+)"
    local opcode = opcode_of(line)
    if name then
      kernel = { name = name, counts = {}, total = 0 }
      kernels[#kernels + 1], flying = kernel, 0
    elseif opcode and kernel then
      kernel.total, flying = kernel.total + 1, in_flight(opcode, line, flying)
      for _, column in ipairs(COLUMNS) do
        if matches(column, opcode, flying) then
          kernel.counts[column[1]] = (kernel.counts[column[1]] or 0) + 1
        end
      end
    end
  end
  return kernels
end

local function claim_of(file, name)
  for _, claim in ipairs(CLAIMS) do
    if file:find(claim.file) and (not claim.kernel or name:find(claim.kernel)) then return claim end
  end
end

--- What is wrong with a kernel; nil if nothing is claimed of it.
---@param file string
---@param kernel table
---@return string[]? faults
function M.faults(file, kernel)
  local claim = claim_of(file, kernel.name)
  if not claim then return nil end
  local faults = {}
  for _, column in ipairs(claim.has) do
    if not kernel.counts[column] then faults[#faults + 1] = string.format("no %s", column) end
  end
  for _, column in ipairs(COLUMNS) do
    local most, count = claim.most[column[1]], kernel.counts[column[1]] or 0
    if most and count > most then faults[#faults + 1] = string.format("%d x %s", count, column[1]) end
  end
  return faults
end

local function print_kernel(kernel, faults)
  local cells = {}
  for _, column in ipairs(COLUMNS) do cells[#cells + 1] = string.format("%6d", kernel.counts[column[1]] or 0) end
  print(string.format("%-44.44s %s %6d  %s", kernel.name, table.concat(cells), kernel.total, table.concat(faults, ", ")))
end

local function print_head()
  local cells = {}
  for _, column in ipairs(COLUMNS) do cells[#cells + 1] = string.format("%6s", column[1]) end
  print(string.format("%-44s %s %6s", "kernel", table.concat(cells), "all"))
end

local function main(files)
  local passed, failed = 0, 0
  print_head()
  for _, file in ipairs(files) do
    local pipe = assert(io.popen(string.format("cuobjdump -sass '%s'", file)))
    local kernels = M.kernels(pipe:lines())
    if not pipe:close() or #kernels == 0 then
      check.fail("sass: cuobjdump shows no machine code in %s; are it and nvdisasm in $PATH?", file)
    end
    for _, kernel in ipairs(kernels) do
      local faults = M.faults(file, kernel)
      if faults then
        passed, failed = passed + (#faults == 0 and 1 or 0), failed + (#faults > 0 and 1 or 0)
        print_kernel(kernel, faults)
      end
    end
  end
  print(string.format("%d passed, %d failed", passed, failed))
  return failed == 0
end

if arg and arg[0] and arg[0]:find "gpu/sass%.lua$" then os.exit(main(arg), true) end
return M
