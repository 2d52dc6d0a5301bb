-- Path conventions: what a recipe's paths are relative to, where prepared text is cached, and where messages go. Also
-- the lock under which one process prepares a text while others wait.
local check = require "bam.util.check"
local core = require "bam.core"
local flags = require "bam.util.flags"

local M = {}

--- `path` itself if it is absolute, otherwise `path` below `directory`.
---@param directory string
---@param path string
---@return string
function M.below(directory, path)
  if path:sub(1, 1) == "/" or directory == "." then return path end
  return string.format("%s/%s", directory, path)
end

--- The directory of the running script, which the paths of a recipe are relative to; "." without a script.
---@return string
function M.recipe()
  local arguments = rawget(_G, "arg")
  local is_script = type(arguments) == "table" and arguments[-1] ~= nil
  local script = is_script and arguments[0]
  return type(script) == "string" and script:match "^(.*)/[^/]*$" or "."
end

local function variable(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

--- The directory for prepared text: --cache, else `option`, else $BAMLUA_CACHE, else bamlua in the user's cache
--- directory. It need not exist.
---@param option? string relative to the recipe
---@return string
function M.cache(option)
  local flag = flags.get().cache
  if flag then return core.absolute(flag) end
  if option then return core.absolute(M.below(M.recipe(), option)) end
  local own, shared, home = variable "BAMLUA_CACHE", variable "XDG_CACHE_HOME", variable "HOME"
  local path = own or shared and string.format("%s/bamlua", shared)
    or home and string.format("%s/.cache/bamlua", home)
  if not path then
    check.fail("corpus: there is no cache directory: HOME is not set; set BAMLUA_CACHE or give option "
               .. "cache")
  end
  return core.absolute(path)
end

--- Report progress to the user as one line on stderr. May be replaced.
---@param format string as in string.format
---@param ... any
function M.report(format, ...)
  io.stderr:write("text: ", string.format(format, ...), "\n")
end

--- Call f() under an exclusive lock at `path`. Waits while another process holds it.
---@param path string of the lock file
---@param f function
---@return any result of f
function M.locked(path, f)
  local told
  local lock, holder = core.lock(path)
  while not lock do
    if not told then
      M.report("waiting for %s, which is preparing the same text", holder)
    end
    told = true
    core.sleep(0.2)
    lock, holder = core.lock(path)
  end
  local ok, result = pcall(f)
  lock:release()
  if not ok then error(result, 0) end
  return result
end

return M
