-- The check of kernels' machine code (make sass) finds what is missing, in listings as cuobjdump prints them.
local expect = require "tests.lua.support.expect"
local sass = require "tests.gpu.sass"
local test = require "tests.lua.support.test"

local LISTING = [[
		Function : _Z6attendILi64EEv13bam_attention
	.headerflags	@"EF_CUDA_TEXMODE_UNIFIED"
        /*0000*/                   LDC R1, c[0x0][0x28] ;                    /* 0x00000a00ff017b82 */
                                                                             /* 0x000fe20000000800 */
        /*0490*/             @!P0 HGMMA.64x64x16.F32.BF16 R24, gdesc[UR8] ;  /* 0x01e00000081879f0 */
        /*0498*/                   HGMMA.64x64x16.F32.BF16 R24, gdesc[UR8], R24, gsb0 ;  /* 0x01e00000081879f0 */
        /*049a*/                   MUFU.EX2 R56, R56 ;                       /* 0x0000003800387308 */
        /*049c*/                   WARPGROUP.DEPBAR.LE gsb0, 0x0 ;           /* 0x00008000000079f4 */
        /*049e*/                   MUFU.EX2 R57, R57 ;                       /* 0x0000003800387308 */
        /*04a0*/              @P1 UTMALDG.4D [UR16], [UR4] ;                 /* 0x00000010040075b4 */
        /*04b0*/                   STG.E.128 desc[UR6][R22.64], R12 ;        /* 0x0000000c16007986 */
		Function : _Z11swiglu_rowsILi256ELi8EEvP12bf16_element
        /*0490*/                   LDG.E.128 R12, desc[UR6][R12.64] ;        /* 0x000000060c0c7981 */
        /*04f0*/             @!UP0 STG.E.U16 desc[UR6][R22.64], R12 ;        /* 0x0000000c16007986 */
        /*0510*/                   STL.64 [R1+0x8], R2 ;                     /* 0x0000080201007387 */
]]

test("instructions are counted, and faults named", function()
  local kernels = sass.kernels(LISTING:gmatch "[^\n]+")
  expect.equal(#kernels, 2)
  expect.equal(kernels[1].counts, { hgmma = 2, tma = 1, ["st 16"] = 1, ex2 = 1 })
  expect.equal(kernels[1].total, 8)
  expect.equal(kernels[2].counts, { ["ld 16"] = 1, ["st 2"] = 1, ["local"] = 1 })
  expect.equal(sass.faults("attention_hopper.o", kernels[1]), {})
  expect.equal(sass.faults("attention_mma.o", kernels[1]), { "no hmma", "no ldsm", "no async" })
  expect.equal(sass.faults("swiglu.bf16.o", kernels[2]), { "no st 16", "1 x st 2", "1 x local" })
  expect.equal(sass.faults("rope.bf16.o", kernels[1]), nil)
end)
