-- Small corpora for tests: a directory of their own, files in it, what the corpus reports
-- meanwhile, and rows of batches as text.
local core = require "bam.core"
local paths = require "bam.data.paths"

local M = { base = os.tmpname(), reports = {} }

os.remove(M.base)
core.make_directory(M.base)
M.cache = M.base .. "/cache"

function paths.report(format, ...) M.reports[#M.reports + 1] = format:format(...) end

--- The path of a name in the directory.
function M.path(name) return string.format("%s/%s", M.base, name) end

--- Write a file; gives its path.
function M.write(name, contents)
  core.make_directory(M.path(name):match "^(.*)/")
  core.write_file(M.path(name), contents)
  return M.path(name)
end

--- Write documents, which end with the end of a line, as a plain text file.
function M.write_documents(name, documents)
  return M.write(name, table.concat(documents, "<|endoftext|>\n"))
end

local WORDS = { "court", "held", "that", "the", "sum", "of", "angles", "is", "equal", "return",
                "value", "if", "then", "all", "appeal", "dismissed" }

--- `count` documents of a line each, all different; others for another key.
function M.documents(key, count)
  local list = {}
  for i = 1, count do
    local words = { string.format("%s %d:", key, i) }
    for j = 1, 5 + (i * 7) % 23 do
      words[j + 1] = WORDS[core.hash64(string.format("%s %d %d", key, i, j)) % #WORDS + 1]
    end
    list[i] = string.format("%s\n", table.concat(words, " "))
  end
  return list
end

--- Run a command of the shell, which must succeed.
function M.shell(command, ...) assert(os.execute(command:format(...))) end

--- Is there a program of this name?
function M.has(program)
  return os.execute(string.format("command -v %s >/dev/null 2>&1", program)) == true
end

--- A row of a batch as text, all four tensors of it: equal rows give equal texts.
function M.row_text(batch, i)
  local parts = { batch.domains[i] }
  for _, name in ipairs { "ids", "targets", "documents", "positions" } do
    parts[#parts + 1] = table.concat(batch[name][i]:totable(), " ")
  end
  return table.concat(parts, "\n")
end

--- Delete everything.
function M.clean() M.shell("rm -rf '%s'", M.base) end

return M
