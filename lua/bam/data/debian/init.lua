--- Real text in four domains from small Debian packages: general English, law, mathematics and code. It is cleaned once
--- and cached, and is the same on every machine with these packages.
local cache = require "bam.data.debian.cache"
local check = require "bam.util.check"
local core = require "bam.core"
local packages = require "bam.data.debian.packages"
local split = require "bam.data.debian.split"

local M = {}

local FORMAT = 1 -- raise it whenever the text changes; it is part of the directory's name

-- Bytes to train on at most, and to hold out.
local TRAIN, HELDOUT = 4000000, 250000

-- The kind of text of each domain, and the fraction that is held out. There is little law.
local DOMAINS = {
  { name = "code", kind = "code", heldout = 0.04 },
  { name = "general", kind = "prose", heldout = 0.06 },
  { name = "law", kind = "prose", heldout = 0.22 },
  { name = "math", kind = "theorems", heldout = 0.03 },
}

local SIDES = { "train", "heldout" }

local function megabytes(documents)
  local bytes = 0
  for _, document in ipairs(documents) do bytes = bytes + #document.text end
  return bytes / 1e6
end

-- The documents of a domain: those held out, and the others.
local function clean(domain, store, report)
  local documents = require("bam.data.debian." .. domain.name).documents(store)
  report(string.format("cleaning %s: %.1f MB", domain.name, megabytes(documents)))
  local heldout, others = split.divide(domain.name, documents, domain.heldout)
  return split.cap(heldout, HELDOUT), others
end

-- The documents to train on, up to the cap, without held-out text; and how many bytes were dropped.
local function train_on(documents, without, kind)
  local kept, size, dropped = {}, 0, 0
  for _, document in ipairs(documents) do
    local text = without(document.text, kind)
    if size + #text > TRAIN then break end
    dropped = dropped + #document.text - #text
    if text ~= "" then kept[#kept + 1], size = text, size + #text end
  end
  return kept, dropped
end

local function texts(documents)
  local list = {}
  for i, document in ipairs(documents) do list[i] = document.text end
  return list
end

local function file_of(domain, side) return string.format("%s.%s.txt", domain.name, side) end

local function make(directory, report)
  local store <close> = packages.open(directory, report)
  local heldout, others, all, made, dropped = {}, {}, {}, {}, {}
  for _, domain in ipairs(DOMAINS) do
    heldout[domain.name], others[domain.name] = clean(domain, store, report)
    table.move(heldout[domain.name], 1, #heldout[domain.name], #all + 1, all)
  end
  local without = split.without(all)
  for _, domain in ipairs(DOMAINS) do
    local name = domain.name
    report(string.format("comparing %s with what is held out", name))
    made[file_of(domain, "heldout")] = texts(heldout[name])
    made[file_of(domain, "train")], dropped[name] = train_on(others[name], without, domain.kind)
  end
  local facts = { packages = store.versions, dropped_bytes = dropped,
                  caps = { train = TRAIN, heldout = HELDOUT } }
  return { files = made, facts = facts }
end

---@class bam.DebianText
---@field directory string
---@field domains table<string, { train: string, heldout: string, bytes: table, documents: table }>
--- paths, and sizes of both: bytes.train, documents.heldout
---@field manifest table contents of manifest.json

local function files()
  local names = {}
  for _, domain in ipairs(DOMAINS) do
    for _, side in ipairs(SIDES) do names[#names + 1] = file_of(domain, side) end
  end
  return names
end

-- Summarize a domain for the report.
local function describe(domain, place, manifest)
  local entry = { bytes = {}, documents = {} }
  for _, side in ipairs(SIDES) do
    local name = file_of(domain, side)
    entry[side] = string.format("%s/%s", place, name)
    entry.bytes[side] = manifest.files[name].bytes
    entry.documents[side] = manifest.files[name].documents
  end
  return entry
end

--- Prepare the cleaned text below a cache directory. The first call creates it, later calls find it.
---@param directory string cache directory; created if it is missing
---@param report? fun(text: string) called with each line of progress
---@return bam.DebianText
function M.prepare(directory, report)
  check.value("corpus.debian: the cache directory", directory, "string")
  report = check.value("corpus.debian: report", report or function() end, "callable")
  local place = string.format("%s/debian-%d", directory, FORMAT)
  local manifest = cache.open(place, FORMAT, files(), report, function()
    core.make_directory(directory)
    return make(directory, report)
  end)
  local domains = {}
  for _, domain in ipairs(DOMAINS) do
    domains[domain.name] = describe(domain, place, manifest)
  end
  return { directory = place, domains = domains, manifest = manifest }
end

return M
