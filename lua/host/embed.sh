#!/bin/sh
# Embeds Lua modules into the binary: sh lua/host/embed.sh OUT.S DIR lua/bam/init.lua lua/bam/nn/linear.lua ...
# DIR has their bytecode, which precompile wrote. Run it, and assemble OUT.S, in the root of the tree. The output is one
# table for embed.c, sorted by module: the module's name, its path below lua/, and where its text and its bytecode start
# and end. They are stored as distances from the table, so that nothing has to be relocated when the program starts.
set -eu

out=$1
bytecode=$2
shift 2
# "bam.nn.linear lua/bam/nn/linear.lua" for each file.
modules=$(printf '%s\n' "$@" | sed -e 's|^lua/\(.*\)\.lua$|\1 &|' -e 's|/init lua/| lua/|' \
    -e ':dots' -e 's|^\([^ /]*\)/\([^ ]* \)|\1.\2|' -e 't dots' | LC_ALL=C sort)

rows() {
    n=0
    while read -r module file; do
        cat <<EOF
.Lmodule$n: .asciz "$module"
.Lpath$n: .asciz "${file#lua/}"
.Lstart$n: .incbin "$file"
.Lend$n: .byte 0
.Lcode$n: .incbin "$bytecode/$module.luac"
.Lcode_end$n: .byte 0
EOF
        n=$((n + 1))
    done
}

distances() {
    for n in $(seq 0 $(($# - 1))); do
        for part in module path start end code code_end; do echo "    .long .L$part$n - bam_embedded_sources"; done
    done
}

{
    echo '    .section .rodata'
    echo "$modules" | rows
    echo '    .balign 8'
    echo '    .global bam_embedded_count'
    echo 'bam_embedded_count:'
    echo "    .quad $#"
    echo '    .global bam_embedded_sources'
    echo 'bam_embedded_sources:'
    distances "$@"
    echo '    .section .note.GNU-stack,"",%progbits'
} > "$out.new"
mv "$out.new" "$out"
