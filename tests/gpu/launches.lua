--- Launches of kernels and products of a training step: per layer, besides the layers, and for a second micro-batch of
--- a model of two layers. tests/simt/counts.lua counts them over the shim and fails when there are more;
--- tests/gpu/model.lua says what they cost.
return {
  dense = { launch = { 12, 35, 46 }, product = { 12, 3, 27 } },
  btx = { launch = { 26, 42, 93 }, product = { 33, 3, 69 } },
  shared = { launch = { 31, 42, 103 }, product = { 36, 3, 75 } },
  own = { launch = { 31, 42, 103 }, product = { 36, 3, 75 } },
}
