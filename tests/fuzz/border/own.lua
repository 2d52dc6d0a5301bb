-- bam.core as it was when the round began: rounds may replace functions of the modules themselves.
local own = {}
for name, value in next, (require "bam.core") do own[name] = value end
return own
