-- A recipe so small that it trains in a moment, and what tests do with it: running it in a
-- directory of its own as a process, and looking at what it left.
local core = require "bam.core"
local json = require "bam.util.json"

local M = {}

local PROGRAM = arg[1] or "build/bamlua"

M.RECIPE = [[
local bam = require "bam"
local opt = bam.options {
  vocab = 280, context = 16, batch = 4, tokens = 640, save_every = 3,
  model = { layers = 1, width = 16, heads = 2, ffn = 16 },
}
local text = bam.corpus({ law = "law.txt", general = "general.txt" },
                        { vocab = opt.vocab, heldout = 0.3 })
local function train(phase)
  phase.tokens, phase.save_every, phase.lr = opt.tokens, opt.save_every, bam.schedule.linear {
    from = 1e-2, to = 1e-3 }
  phase.eval_tokens = 64
  return bam.train(phase)
end
local seed = train { name = "seed", model = bam.models.parallel(opt.model),
                     data = text:sample { general = 1 } }
local law = train { name = "experts/law", model = seed, data = text:sample { law = 9, general = 1 } }
local mixed = train {
  name = "mixed",
  model = bam.mix { experts = { seed, law }, attention = { kv = "shared" },
                    ffn = { top_k = 1, jitter = 0.1 },
                    load_balance = bam.schedule.linear { from = 0.1, to = 0.01 } },
  data = text:sample { general = 1, law = bam.schedule.linear { from = 0, to = 2 } } }
bam.compare { { seed, law }, mixed, on = text.heldout, base = law }
]]

--- The same recipe, which exits after as many steps as BAMLUA_STOP says.
M.STOPPING = M.RECIPE:gsub("local function train%(phase%)", [[
local left = tonumber(os.getenv "BAMLUA_STOP") or math.huge
local function on_step()
  left = left - 1
  if left < 0 then os.exit(7) end
end
%0
  phase.on_step = on_step]])

local WORDS = { general = "the a river mountain sings walked slowly green house and of",
                law = "court party shall hereby contract the clause pursuant void and of" }

-- Sentences of a domain, the same every time.
local function write_text(path, domain)
  local words, parts, state = {}, {}, 12345 + #domain
  for word in WORDS[domain]:gmatch "%S+" do words[#words + 1] = word end
  for document = 1, 60 do
    for _ = 1, 30 do
      state = (state * 1103515245 + 12345) % 2147483648
      parts[#parts + 1] = words[state // 65536 % #words + 1]
    end
    parts[#parts + 1] = string.format("number %d.\n<|endoftext|>\n", document)
  end
  core.write_file(path, table.concat(parts, " "):gsub("\n ", "\n"))
end

--- A new directory with the texts and the recipe, as `recipe.lua`.
---@param recipe? string
---@return string
function M.directory(recipe)
  local directory = os.tmpname()
  os.remove(directory)
  core.make_directory(directory)
  for domain in pairs(WORDS) do
    write_text(string.format("%s/%s.txt", directory, domain), domain)
  end
  core.write_file(string.format("%s/recipe.lua", directory), recipe or M.RECIPE)
  return directory
end

--- The shell's command that runs the recipe of `directory` there. Signals that the caller ignores, as under nohup,
--- have their usual effect in it.
---@param directory string
---@param flags? string
---@return string
function M.command(directory, flags)
  return string.format("cd '%s' && exec env --default-signal '%s' recipe.lua --cache cache %s 2>&1", directory,
                       core.absolute(PROGRAM), flags or "")
end

--- Run the recipe to its end.
---@param directory string
---@param flags? string
---@param prefix? string commands of the shell before it
---@return string output
---@return boolean fine
function M.run(directory, flags, prefix)
  local pipe = io.popen(string.format("%s ( %s )", prefix or "", M.command(directory, flags)))
  local output = pipe:read "a"
  return output, pipe:close() == true
end

--- Run M.STOPPING for a number of steps of phases that take 10.
---@param directory string
---@param flags string
---@param steps integer
---@param settings? string of the environment
function M.run_and_stop(directory, flags, steps, settings)
  local output, fine = M.run(directory, flags, string.format("export BAMLUA_STOP=%d %s;", steps, settings or ""))
  assert(not fine and output:find "step %d+ of 10", output)
end

--- The directory of a phase, which is the only one of its name below `out`.
---@param directory string
---@param name string
---@param out? string
---@return string
function M.phase(directory, name, out)
  local pattern = string.format("%s/%s/%s-????????", directory, out or "runs", name)
  local found = core.glob(pattern)
  assert(#found == 1, string.format("%d directories match %s", #found, pattern))
  return found[1]
end

local function last_checkpoint(place)
  local last
  for _, name in ipairs(core.list_directory(place)) do
    if name:find "^step%-%d+$" then last = name end
  end
  return last
end

--- The losses of the steps of a phase, as metrics.jsonl has them.
---@param directory string
---@param phase string
---@param out? string
---@return number[]
function M.losses(directory, phase, out)
  local list = {}
  for line in core.read_file(string.format("%s/metrics.jsonl", M.phase(directory, phase, out))):gmatch "[^\n]+" do
    list[#list + 1] = json.decode(line).loss
  end
  return list
end

--- The digest of the final weights of a phase.
---@param directory string
---@param name string
---@param out? string
---@return string
function M.digest(directory, name, out)
  local place = M.phase(directory, name, out)
  local last = assert(last_checkpoint(place), place)
  return core.hash_file(string.format("%s/%s/model.safetensors", place, last))
end

--- Digests of the final weights of the phases below `out`, by name.
---@param directory string
---@param out? string
---@return table<string, string>
function M.digests(directory, out)
  local digests = {}
  for _, name in ipairs { "seed", "experts/law", "mixed" } do digests[name] = M.digest(directory, name, out) end
  return digests
end

--- Are two tables of digests the same?
---@param a table<string, string>
---@param b table<string, string>
function M.assert_same(a, b)
  for name, digest in pairs(a) do
    assert(b[name] == digest, string.format("the weights of %s differ", name))
  end
end

--- Delete a directory that M.directory made.
---@param directory string
function M.remove(directory) os.execute(string.format("rm -rf '%s'", directory)) end

return M
