--- Launches of kernels and products of a training step: per layer, besides the layers, and for a second micro-batch of
--- a model of two layers. tests/simt/counts.lua counts them over the shim and fails when there are more;
--- tests/gpu/model.lua says what they cost.
return {
  dense = { launch = { 11, 35, 44 }, product = { 12, 3, 27 } },
  btx = { launch = { 25, 42, 91 }, product = { 33, 3, 69 } },
  shared = { launch = { 30, 42, 101 }, product = { 36, 3, 75 } },
  own = { launch = { 30, 42, 101 }, product = { 36, 3, 75 } },
}
