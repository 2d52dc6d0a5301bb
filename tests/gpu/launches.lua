--- Launches of kernels and products of a training step: per layer, besides the layers, and for a second micro-batch of
--- a model of two layers. tests/simt/counts.lua counts them over the shim and fails when there are more;
--- tests/gpu/model.lua says what they cost.
return {
  dense = { launch = { 13, 36, 48 }, product = { 12, 3, 27 } },
  btx = { launch = { 27, 43, 95 }, product = { 33, 3, 69 } },
  shared = { launch = { 32, 43, 105 }, product = { 36, 3, 75 } },
  own = { launch = { 32, 43, 105 }, product = { 36, 3, 75 } },
}
