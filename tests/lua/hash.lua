-- Hashes: known values of XXH3 with 128 bits, strings and files alike, lengths around the borders
-- of the algorithm and of the pieces that a file is read in.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

test("known values of XXH3", function()
  local path = os.tmpname()

  expect.equal(core.hash "", "99aa06d3014798d86001c324468d497f") -- as xxhsum -H2 says
  expect.equal(core.hash64 "", 0x6001c324468d497f)

  local function file_hash(text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
    return core.hash_file(path)
  end

  local seen = {}
  local function check(text)
    local digits = core.hash(text)
    expect.equal(#digits, 32, digits)
    expect.no(digits:find "[^0-9a-f]", digits)
    expect.no(seen[digits], "two texts have the same hash")
    seen[digits] = true
    expect.equal(core.hash64(text), tonumber("0x" .. digits:sub(17)))
    expect.equal(file_hash(text), digits, #text)
  end

  for _, size in ipairs { 0, 1, 3, 4, 8, 9, 16, 17, 128, 129, 240, 241, 1024, 65535, 65536, 65537,
                          200000 } do
    check(("\0a"):rep(size):sub(1, size))
  end
  check "\0\0"
  check "b"

  expect.raises("hash: expected a string, got 12", core.hash, 12)
  expect.raises("hash64: expected a string, got nothing", core.hash64)
  expect.raises("hash_file: expected the path of a file, got nothing", core.hash_file)
  expect.raises('hash_file: cannot read "' .. path .. '-no": No such file', core.hash_file, path .. "-no")
  expect.raises('hash_file: cannot read "/tmp": it is a directory; name a file in it', core.hash_file, "/tmp")
  expect.raises("it is a pipe or device", core.hash_file, "/dev/zero")
  os.remove(path)
end)
