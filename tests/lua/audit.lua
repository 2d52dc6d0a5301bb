-- bam.audit finds whatever is changed in a finished run, and nothing in an honest one.
local bam = require "bam"
local core = require "bam.core"
local small = require "tests.lua.support.small_run"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local whole = small.directory()
local copy = string.format("%s-copy", whole)
local cleanup <close> = setmetatable({}, { __close = function()
  small.remove(whole)
  small.remove(copy)
end })

local function shell(format, ...)
  local command = string.format(format, ...)
  assert(os.execute(command), command)
end

local function audit(directory)
  return bam.audit(directory .. "/runs", { quiet = true, cache = directory .. "/cache" })
end

local sound, report
test("an honest run passes the audit", function()
  local output, fine = small.run(whole)
  expect.yes(fine, output)

  sound, report = audit(whole)
  expect.yes(sound, table.concat(report.problems, "\n"))
  expect.equal(#report.problems, 0, table.concat(report.problems, "\n"))
  expect.equal(#report.notes, 0, table.concat(report.problems, "\n"))
  expect.compare(report.checkpoints, ">=", 6)
  expect.equal(report.evaluations, 3)
  expect.equal(report.texts, 1)
  expect.yes(bam.audit(whole .. "/runs/recipe", { quiet = true })) -- a recipe's links
  local alone = select(2, bam.audit(small.phase(whole, "mixed"), { quiet = true }))
  expect.equal(#alone.problems, 0)
  expect.equal(#alone.notes, 2) -- its parents are not there
end)

-- ---- changes ----

local function newest(directory, phase)
  local found = core.glob(string.format("%s/runs/%s-*/step-*", directory, phase))
  return found[#found]
end

local function flip(path, at)
  local text = core.read_file(path)
  at = at or #text // 2
  core.write_file(path, table.concat { text:sub(1, at - 1), string.char(text:byte(at) ~ 1),
                                       text:sub(at + 1) })
end

local function replace(path, from, to)
  local text, count = core.read_file(path):gsub(from, to, 1)
  expect.equal(count, 1, from)
  core.write_file(path, text)
end

local function one(format, ...)
  local found = core.glob(string.format(format, ...))
  expect.equal(#found, 1)
  return found[1]
end

local CHANGES = {
  weights = function(d)
    flip(newest(d, "seed") .. "/model.safetensors")
    return "digest does not match the manifest"
  end,
  config = function(d)
    flip(newest(d, "mixed") .. "/config.json")
    return "digest does not match the manifest"
  end,
  state = function(d)
    replace(newest(d, "mixed") .. "/training.json", '"step": 10', '"step": 11')
    return "is damaged"
  end,
  length = function(d)
    shell("printf x >> '%s/tokenizer.json'", newest(d, "seed"))
    return "bytes instead of"
  end,
  missing = function(d)
    core.remove_file(newest(d, "seed") .. "/config.json")
    return "is missing"
  end,
  added = function(d)
    core.write_file(newest(d, "seed") .. "/model.safetensors.index.json", "{}")
    return "is not in the manifest"
  end,
  manifest = function(d)
    replace(newest(d, "seed") .. "/manifest.json", '"step": 10', '"step": 9')
    return "its checksum is wrong"
  end,
  no_manifest = function(d)
    core.remove_file(newest(d, "seed") .. "/manifest.json")
    return "manifest.json is missing"
  end,
  best = function(d)
    flip(one("%s/runs/seed-*/best/model.safetensors", d))
    return "digest does not match the manifest"
  end,
  phase = function(d)
    local law, seed = newest(d, "experts/law"), newest(d, "seed")
    shell("rm -r '%s' && cp -a '%s' '%s'", law, seed, law)
    return "is a stray: it belongs to phase seed"
  end,
  step = function(d)
    local law = newest(d, "experts/law")
    shell("mv '%s' '%s'", law, (law:gsub("%d+$", "00000011")))
    return "is a stray: it belongs to step 10"
  end,
  settings = function(d)
    replace(one("%s/runs/mixed-*/phase.json", d), '"seed": 1', '"seed": 2')
    return "phase.json is missing or was changed"
  end,
  results_key = function(d)
    replace(one("%s/runs/recipe/results.json", d), '"digest"', '"digesu"')
    return "results.json was changed"
  end,
  fingerprint_version = function(d)
    replace(one("%s/runs/mixed-*/phase.json", d), '"fingerprint"', '"fingerprinu"')
    return "phase.json is missing or was changed"
  end,
  other_settings = function(d)
    shell("cp '%s' '%s'", one("%s/runs/seed-*/phase.json", d), one("%s/runs/mixed-*/phase.json", d))
    return "its phase.json belongs to phase seed"
  end,
  evaluation = function(d)
    replace(one("%s/runs/mixed-*/evaluation-*.json", d), '"perplexity":', '"perplexity":9')
    return "was changed"
  end,
  other_evaluation = function(d)
    shell("cp '%s' '%s'", one("%s/runs/seed-*/evaluation-*.json", d),
          one("%s/runs/mixed-*/evaluation-*.json", d))
    return "belongs to other weights"
  end,
  results = function(d)
    replace(d .. "/runs/recipe/results.json", '"perplexity": ', '"perplexity": 9')
    return "results.json was changed"
  end,
  log = function(d)
    shell([[sed -i '/"step":5[,}]/d' '%s']], one("%s/runs/mixed-*/metrics.jsonl", d))
    return "after step 4 comes step 6"
  end,
  short_log = function(d)
    shell([[sed -i '/"step":10[,}]/d' '%s']], one("%s/runs/mixed-*/metrics.jsonl", d))
    return "ends at step 9"
  end,
  nul_log = function(d)
    shell("truncate -s +100 '%s'", one("%s/runs/mixed-*/metrics.jsonl", d))
    return "is damaged after step"
  end,
  parent = function(d) -- trained again from other data under the same name would give other weights
    local seed = newest(d, "seed")
    flip(seed .. "/model.safetensors")
    local manifest = bam.json.decode(core.read_file(seed .. "/manifest.json"))
    manifest.files["model.safetensors"].digest = core.hash_file(seed .. "/model.safetensors")
    manifest.checksum = nil
    manifest.checksum = core.hash(bam.json.encode(manifest))
    core.write_file(seed .. "/manifest.json", bam.json.encode(manifest))
    return "started from other weights of phase seed"
  end,
  shards = function(d)
    replace(one("%s/cache/text/*/manifest.json", d), '"tokens": ', '"tokens": 9')
    return "manifest.json was changed"
  end,
  shard = function(d)
    flip(core.glob(d .. "/cache/text/*/law.train-*.safetensors")[1])
    return "was changed"
  end,
}

-- ---- a bit or a length of any file, FLIPS times: found, but in what is no record ----

-- Not records: the locks' lines, and the cache's memory of hashes, which is made again.
local function is_record(path)
  return not (path:find "/lock$" or path:find "%.lock$" or path:find "/hashes%.json$")
end

local function files_below(directory)
  local pipe, files = io.popen(string.format("cd '%s' && find runs cache -type f | sort", directory)), {}
  for path in pipe:lines() do
    if is_record("/" .. path) then files[#files + 1] = string.format("%s/%s", directory, path) end
  end
  pipe:close()
  return files
end

local function damaged(text)
  if text == "" or bam.rand(1):item() < 0.3 then
    return text:sub(1, bam.randint(0, math.max(0, #text - 1), 1):item())
  end
  local at, bit = bam.randint(1, #text, 1):item(), bam.randint(0, 7, 1):item()
  return table.concat { text:sub(1, at - 1), string.char(text:byte(at) ~ 1 << bit), text:sub(at + 1) }
end

bam.seed(1)

local count
test("every flipped bit and every change is found", function()
  shell("cp -a '%s' '%s'", whole, copy)
  local files, flips = files_below(copy), math.tointeger(tonumber(os.getenv "FLIPS" or 200))
  expect.compare(#files, ">", 30)
  for i = 1, flips do
    local path = files[1 + i % #files]
    local before = core.read_file(path)
    local after = damaged(before)
    if after ~= before then
      core.write_file(path, after)
      expect.no(audit(copy), string.format("flip %d is not found in %s", i, path))
      core.write_file(path, before)
    end
  end
  expect.yes(audit(copy))

  count = 0
  for name, change in pairs(CHANGES) do
    shell("rm -rf '%s' && cp -a '%s' '%s'", copy, whole, copy)
    local words = change(copy)
    sound, report = audit(copy)
    local problems = table.concat(report.problems, "\n")
    expect.no(sound, string.format("%s: %s", name, problems))
    expect.contains(problems, words, string.format("%s: %s", name, problems))
    count = count + 1
  end
end)

test("a phase that was deleted and trained again to the same bits", function()
  shell("rm -rf '%s' && cp -a '%s' '%s'", copy, whole, copy)
  shell("rm -r '%s'/runs/experts/law-*", copy)
  local output, fine = small.run(copy)
  expect.yes(fine, output)
  expect.lacks(output, "replaced since")
  local is_sound, found = audit(copy)
  expect.yes(is_sound, table.concat(found.problems, "\n"))
end)

local function fails(words, ...) expect.raises(words, bam.audit, ...) end

test("wrong calls", function()
  fails("audit: directory: expected a string, got 5", 5)
  fails("is not a directory; give the directory of runs", whole .. "/nothing")
  fails("there is no phase in", whole .. "/cache")
  fails("no option `chace`; did you mean `cache`?", whole .. "/runs", { chace = true })
end)

print(string.format("audit: ok, %d changes were found", count))
