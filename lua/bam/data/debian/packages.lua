-- Files from Debian packages. If a package is not installed, or some of its files are missing (slim images leave out
-- /usr/share/doc), apt-get downloads it and dpkg-deb unpacks it into a scratch directory. Nothing is installed.
local check = require "bam.util.check"
local core = require "bam.core"

local M = {}

local INSTALL = "apt-get update && apt-get install -y --no-install-recommends %s"

--- Quote a word for the shell.
---@param word string
---@return string
function M.quote(word) return string.format("'%s'", (word:gsub("'", "'\\''"))) end

local function quote_all(words)
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = M.quote(word) end
  return table.concat(quoted, " ")
end

-- Run a command. Returns its output and whether it succeeded.
local function run(format, ...)
  local pipe <close> = assert(io.popen(string.format(format, ...), "r"))
  local output = pipe:read "a"
  return output, pipe:close() == true
end

local function exists(path)
  local file <close> = io.open(path, "rb")
  return file ~= nil
end

local methods = {}
local Store = { __index = methods }
Store.__name = "bam.data.debian.packages"
function Store.__tostring(store) return string.format("packages below %q", store.cache) end

--- Open a store of package files. Closing it deletes what it has unpacked.
---@param cache string existing directory to unpack packages in
---@param report fun(text: string)
---@return table store with `find`, `versions` and a closing value
function M.open(cache, report)
  return setmetatable({ cache = cache, report = report, versions = {} }, Store)
end

function Store.__close(store)
  if store.scratch then os.execute("rm -rf -- " .. M.quote(store.scratch)) end
  store.scratch = nil
end

-- The lines of `listing` that match a pattern, sorted and without the leading "/".
local function matching(listing, pattern)
  local names = {}
  for line in listing:gmatch "[^\n]+" do
    local name = line:gsub("^%.?/", "")
    if name:find(pattern) then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local function note_versions(store, lines)
  for name, version in lines:gmatch "(%S+) (%S+)\n" do store.versions[name] = version end
end

-- The files of installed packages, if none of these files is missing.
local function installed(store, packages, pattern)
  local words = quote_all(packages)
  local listing, known = run("dpkg-query --listfiles %s 2>/dev/null", words)
  if not known then return nil end
  local names = matching(listing, pattern)
  for _, name in ipairs(names) do
    if not exists("/" .. name) then return nil end
  end
  note_versions(store, (run("dpkg-query --show -f '${Package} ${Version}\\n' %s", words)))
  return { root = "/", names = names }
end

local function fail(packages, output)
  local last = "apt-get and dpkg-deb are needed"
  for line in output:gmatch "[^\n]*%S[^\n]*" do last = line end
  local command = string.format(INSTALL, table.concat(packages, " "))
  check.fail("the text of the packages %s is not on this machine and could not be downloaded (%s); "
             .. "with a network, type as root: %s", table.concat(packages, ", "), last, command)
end

local function make_scratch(store)
  if store.scratch then return end
  local template = M.quote(store.cache .. "/packages.tmp-XXXXXX")
  store.scratch = run("mktemp -d -- %s", template):match "^[^\n]+"
  if not store.scratch then
    check.fail("no directory could be created in %s; use another cache", store.cache)
  end
end

-- The directory into which packages are unpacked; created on first use.
local function unpack_into(store, packages)
  make_scratch(store)
  local place = string.format("%s/%s", store.scratch, packages[1])
  if core.is_directory(place) then return place end
  store.report(string.format("downloading %s", table.concat(packages, ", ")))
  local output, fine = run("exec 2>&1; mkdir -- %s && cd -- %s && apt-get download -q %s && "
                           .. "for p in *.deb; do dpkg-deb -x \"$p\" root || exit; done",
                           M.quote(place), M.quote(place), quote_all(packages))
  if not fine then fail(packages, output) end
  note_versions(store, (run("cd -- %s && for p in *.deb; do dpkg-deb --show "
                            .. "--showformat='${Package} ${Version}\\n' \"$p\"; done",
                            M.quote(place))))
  return place
end

local function unpacked(store, packages, pattern)
  local root = unpack_into(store, packages) .. "/root/"
  local listing = run("cd -- %s && find . ! -type d", M.quote(root))
  return { root = root, names = matching(listing, pattern) }
end

--- Find the files of packages whose names ("usr/share/doc/...") match a Lua pattern.
---@param packages string[]
---@param pattern string
---@return { root: string, names: string[] } found names are sorted, and relative to `root`
function methods:find(packages, pattern)
  local found = installed(self, packages, pattern) or unpacked(self, packages, pattern)
  if not found.names[1] then
    check.fail("the packages %s hold no file like %s; is this Debian 12?",
               table.concat(packages, ", "), pattern)
  end
  return found
end

--- Read a file that was found, and decompress it if its name ends in ".gz".
---@param found { root: string }
---@param name string
---@return string
function methods:read(found, name)
  local path = found.root .. name
  if not name:find "%.gz$" then return core.read_file(path) end
  local reader, parts = core.text_open(path, { format = "text" }), {}
  for text in function() return (reader:next()) end do parts[#parts + 1] = text end
  reader:close()
  return table.concat(parts)
end

return M
