-- bamlua docs DIRECTORY: writes the reference, as `make docs` does.
local arguments = require "bam.util.arguments"
local core = require "bam.core"

-- The files of the reference, by name.
local function files()
  require "bam"
  local pages = require("bam.doc.model").pages()
  local list = require("bam.doc.markdown").files(pages)
  list["bam.d.lua"] = require("bam.doc.luacats").text(pages)
  return list
end

-- Whether a file has this text.
local function is_current(path, text)
  return core.file_info(path) ~= nil and core.read_file(path) == text
end

-- Files in the directory that are not part of the reference any more.
local function strays(directory, known)
  local found = {}
  for _, name in ipairs(core.list_directory(directory)) do
    if not known[name] and (name:find "%.md$" or name:find "%.lua$") then found[#found + 1] = name end
  end
  return found
end

local function run(words, flags)
  if #words ~= 1 then
    arguments.fail("docs: expected the directory to write to, got %d arguments: bamlua docs docs/api", #words)
  end
  local stale, list = false, files()
  core.make_directory(words[1])
  for _, name in ipairs(strays(words[1], list)) do
    stale = true
    print(string.format("%s/%s is not part of the reference; delete it", words[1], name))
  end
  for name, text in pairs(list) do
    local path = string.format("%s/%s", words[1], name)
    if not is_current(path, text) then
      stale = true
      print(string.format(flags.check and "%s is out of date; type: make docs" or "%s", path))
      if not flags.check then core.write_file(path, text) end
    end
  end
  return not (flags.check and stale)
end

return {
  usage = "[--check] DIRECTORY",
  text = "Write the reference of bam's functions and classes to DIRECTORY: a Markdown page per topic, and\n"
    .. "bam.d.lua for editors. Prints the names of files that changed.",
  flags = { { "check", "", "write nothing; the exit code is 1 if a file is out of date" } },
  run = run,
}
