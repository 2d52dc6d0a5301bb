-- Prints a module as a tree of its parts, with shapes and numbers of parameters.
local check = require "bam.util.check"
local module = require "bam.nn.module"

local function title(m)
  local total, trainable = module.Module.count(m) -- a model's own count() returns other figures
  local trained = trainable < total
    and string.format(", %s trained", check.thousands(trainable)) or ""
  return string.format("%s: %s%s", getmetatable(m).__name, check.thousands(total), trained)
end

-- `name` relative to `parent`, which has a name and a depth, indented.
local function label(name, parent)
  local own = parent.name == "" and name or name:sub(#parent.name + 2)
  return string.format("%s%s", string.rep("  ", parent.depth + 1), own)
end

--- Format a module: its name and number of parameters, then its tensors and the modules inside.
---@return string
function module.Module:describe()
  local contents, lines, place, first = module.contents(self), {}, {}, {}
  for _, m in ipairs(contents.modules) do
    local parent = place[m.parent]
    place[m.module] = { name = m.name, depth = parent and parent.depth + 1 or 0 }
    lines[#lines + 1] = parent and string.format("%s %s", label(m.name, parent), title(m.module))
      or title(m.module)
    for _, t in ipairs(contents.tensors) do
      if t.module == m.module then
        local same = first[t.tensor] and string.format(" = %s", first[t.tensor]) or ""
        lines[#lines + 1] = string.format("%s %s %s%s", label(t.name, place[m.module]),
                                          t.tensor.dtype, check.shape(t.tensor.shape), same)
        first[t.tensor] = first[t.tensor] or t.name
      end
    end
  end
  return table.concat(lines, "\n")
end
