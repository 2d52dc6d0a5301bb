-- What a run keeps on the disk is bound to what it belongs to: a checkpoint to its phase and step, an
-- evaluation to the weights it is of. What is another's is named and left alone, what is damaged is
-- moved aside, and what cannot be read just now is an error and no damage. The weights are always
-- those of an undisturbed run in the end.
local bam = require "bam"
local core = require "bam.core"
local small = require "tests.lua.support.small_run"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local directories = {}
local cleanup <close> = setmetatable({}, { __close = function()
  for _, directory in ipairs(directories) do small.remove(directory) end
end })

local function shell(format, ...)
  local command = string.format(format, ...)
  assert(os.execute(command), command)
end

-- A directory with a finished run of the small recipe, or with a copy of one.
local function run_copy(from)
  local directory = small.directory()
  directories[#directories + 1] = directory
  if from then
    shell("rm -rf '%s' && cp -a '%s' '%s'", directory, from, directory)
  end
  return directory
end

local function glob1(format, ...)
  local pattern = string.format(format, ...)
  local found = core.glob(pattern)
  expect.equal(#found, 1, string.format("%d for %s", #found, pattern))
  return found[1]
end

local function run(directory, flags)
  local output, fine = small.run(directory, flags)
  expect.yes(fine, output)
  return output
end

local whole = run_copy()
local table_of_whole = run(whole)
local reference = small.digests(whole)

local function newest(directory, phase)
  local found = core.glob(string.format("%s/runs/%s-*/step-*[0-9]", directory, phase))
  return found[#found]
end

local function expect_stray(disturb, words)
  local directory = run_copy(whole)
  local stray = disturb(directory)
  for _, file in ipairs(core.glob(string.format("%s/runs/*/evaluation-*", directory))) do
    core.remove_file(file)
  end
  local before = core.hash_file(stray .. "/manifest.json")
  local output = run(directory)
  expect.contains(output, words)
  small.assert_same(reference, small.digests(directory)) -- a copy of law's own is alike
  local kept = core.is_directory(stray) and core.hash_file(stray .. "/manifest.json") == before
  local aside = core.is_directory(stray .. ".set-aside")
  expect.yes(kept or aside, "the stray is gone")
end

test("a checkpoint of another phase, or under another step", function()
  expect_stray(function(directory)
    local law, seed = newest(directory, "experts/law"), newest(directory, "seed")
    shell("rm -r '%s' && cp -a '%s' '%s'", law, seed, law)
    return law
  end, "is a stray: it belongs to phase seed-")
  expect_stray(function(directory)
    local law = newest(directory, "experts/law")
    local other = law:gsub("%d+$", "99999999")
    shell("cp -a '%s' '%s'", law, other)
    return other
  end, "is a stray: it belongs to step")
end)

test("damage: moved aside; the run goes on from what is sound", function()
  local directory = run_copy(whole)
  local last = newest(directory, "mixed")
  for _, step in ipairs(core.glob((last:gsub("%d+$", "*[0-9]")))) do
    shell("printf x >> '%s/config.json'", step)
  end
  local output = run(directory)
  expect.contains(output, string.format("was moved to %s.set-aside", last:match "runs/.*$"))
  small.assert_same(reference, small.digests(directory))
  expect.yes(core.is_directory(last .. ".set-aside"))
  expect.contains(run(directory), "mixed") -- and is not looked at again
end)

test("an evaluation is of these weights, and whole", function()
  for _, name in ipairs { "evaluation", "other weights" } do
    local directory = run_copy(whole)
    local file = glob1("%s/runs/mixed-*/evaluation-*.json", directory)
    local value = bam.json.decode(core.read_file(file))
    if name == "evaluation" then
      value.result.average.perplexity = 1.5
    else
      value.weights = ("0"):rep(32)
    end
    core.write_file(file, bam.json.encode(value))
    local output = run(directory)
    expect.equal(output:match "mixed[^\n]*$", table_of_whole:match "mixed[^\n]*$", output)
  end
end)

-- Give the phase "seed" of a run the fingerprint that the settings of an older version would have.
local function make_older(directory, change)
  local path = glob1("%s/runs/seed-????????", directory)
  local record = bam.json.decode(core.read_file(path .. "/phase.json"))
  record.fingerprint, record.checksum, record.settings.of_older = nil, nil, true
  for key, value in pairs(change or {}) do record.settings[key] = value end
  record.digest = core.hash(bam.json.encode(record.settings))
  core.write_file(path .. "/phase.json", bam.json.encode(record))
  shell("mv '%s' '%s/runs/seed-%s'", path, directory, record.digest:sub(1, 8))
  return string.format("runs/seed-%s was trained by an older version", record.digest:sub(1, 8))
end

test("a phase of an older version is named, and trains again", function()
  local directory = run_copy(whole)
  local words = make_older(directory)
  expect.contains(run(directory), words)
  expect.yes(not run(directory):find(words, 1, true), "said once, when the new one begins")
  shell("rm -r '%s/%s'", directory, words:match "^%S+")
  small.assert_same(reference, small.digests(directory))
end)

test("a phase of other settings is not taken for an older one", function()
  local directory = run_copy(whole)
  local words = make_older(directory, { steps = 11 })
  expect.yes(not run(directory):find(words, 1, true), words)
end)

test("a damaged phase.json is made again", function()
  do
    local directory = run_copy(whole)
    local file = glob1("%s/runs/mixed-*/phase.json", directory)
    local sound = core.read_file(file)
    for _, damaged in ipairs { "", "{", '{"digest": "0", "name": "mixed", "settings": {}}',
                               (sound:gsub('"digest": "%x', '"digest": "z', 1)) } do
      core.write_file(file, damaged)
      run(directory)
      expect.equal(core.read_file(file), sound)
    end
  end
  -- ---- --audit trains the last steps again: wrong bits that were saved in order are found ----

  local function audited(directory, name)
    local before = small.digests(directory)
    local output, fine = small.run(directory, string.format("--audit --only %s", name))
    small.assert_same(before, small.digests(directory))
    return output, fine
  end

  do
    local output, fine = small.run(whole, "--audit")
    expect.yes(fine, output)
    for _, name in ipairs { "seed", "experts/law", "mixed" } do
      expect.contains(output, string.format("%s: sound; steps 10 to 10, trained again, give the same bits", name))
    end
    expect.lacks(output, "perplexity")
  end

  do
    local directory = run_copy(whole)
    local last = newest(directory, "mixed")
    local weights = bam.load(last .. "/model.safetensors")
    local changed = {}
    for name, x in pairs(weights) do changed[name] = x:clone() end
    local norm = changed["model.norm.weight"]
    norm[1] = norm[1]:item() * (1 + 2 ^ -23)
    bam.save(last .. "/model.safetensors", changed, { format = "pt" })
    -- as if the memory had been wrong before it was saved: all digests agree
    local manifest = bam.json.decode(core.read_file(last .. "/manifest.json"))
    manifest.files["model.safetensors"].digest = core.hash_file(last .. "/model.safetensors")
    manifest.checksum = nil
    manifest.checksum = core.hash(bam.json.encode(manifest))
    core.write_file(last .. "/manifest.json", bam.json.encode(manifest))
    for _, file in ipairs(core.glob(directory .. "/runs/mixed-*/evaluation-*")) do core.remove_file(file) end
    expect.yes(bam.audit(directory .. "/runs", { quiet = true }), "not what this tests")
    local output, fine = audited(directory, "mixed")
    expect.no(fine)
    expect.contains(output, "audit: mixed: steps 10 to 10, trained again, give other bits in 1 tensors, such as "
                    .. "`model.norm.weight`")
  end

  do -- with other kernels bits may differ: it says so, and fails nobody
    local directory = run_copy(whole)
    local output, fine = small.run(directory, "--audit --only seed", "export BAMLUA_ISA=baseline;")
    expect.yes(fine, output)
    local isa = require("bam").isa()
    expect.contains(output, isa == "baseline" and "give the same bits"
                            or string.format("it was trained with isa %s, and this is baseline", isa))
  end
end)

test("a table that did not reach stdout is an error", function()
  local output, fine = small.run(whole, ">/dev/full 2>errors; true")
  expect.no(fine, output)
  expect.contains(core.read_file(whole .. "/errors"),
                  "compare: the table was not printed: No space left on device")
end)

test("a finished run can be shown where nothing can be written", function()
  local directory = run_copy(whole)
  local remount = string.format("mount --bind '%s' '%s' && mount -o remount,ro,bind '%s'", directory,
                                directory, directory)
  if os.execute(string.format('unshare -m sh -c "%s" 2>/dev/null', remount)) then
    local command = string.format("%s && %s", remount, small.command(directory))
    local script = os.tmpname()
    core.write_file(script, command)
    local pipe = io.popen(string.format("unshare -m sh '%s' 2>&1", script))
    local output = pipe:read "a"
    assert(pipe:close(), output)
    expect.equal(output:match "mixed[^\n]*$", table_of_whole:match "mixed[^\n]*$", output)
    os.remove(script)
  else
    print "run_records: the read-only directory is skipped: this user may not mount"
  end
end)
