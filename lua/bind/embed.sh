#!/bin/sh
# Embeds Lua sources into the binary: sh lua/bind/embed.sh OUT.S lua/bam/init.lua lua/bam/nn/linear.lua ...
# Run it, and assemble OUT.S, in the root of the tree. The output is one table for embed.c:
# {module name, path below lua/, first byte, end} per file, and the number of its rows.
set -eu

out=$1
shift
files=$(printf '%s\n' "$@" | LC_ALL=C sort)

rows() {
    n=0
    for file in $files; do
        path=${file#lua/}
        module=$(printf '%s' "${path%.lua}" | sed 's|/init$||; s|/|.|g')
        cat <<EOF
.Lmodule$n: .asciz "$module"
.Lpath$n: .asciz "$path"
.Lstart$n: .incbin "$file"
.Lend$n: .byte 0
EOF
        n=$((n + 1))
    done
}

pointers() {
    n=0
    for file in $files; do
        echo "    .quad .Lmodule$n, .Lpath$n, .Lstart$n, .Lend$n"
        n=$((n + 1))
    done
}

{
    echo '    .section .rodata'
    rows
    echo '    .balign 8'
    echo '    .global bam_embedded_count'
    echo 'bam_embedded_count:'
    echo "    .quad $#"
    echo '    .section .data.rel.ro,"aw"'
    echo '    .balign 8'
    echo '    .global bam_embedded_sources'
    echo 'bam_embedded_sources:'
    pointers
    echo '    .section .note.GNU-stack,"",%progbits'
} > "$out.new"
mv "$out.new" "$out"
