# What obuild lets run in a container of a snapshot, to copy files out of it.
#
#   bash --norc -p -c "$(cat serve.bash)" serve.bash MANIFEST_BASH ROOT SCRATCH
#
# It reads requests on standard input and answers them on standard output, until the input ends or
# a tool has failed.
# A request is a word and its arguments, each with a NUL behind it. An answer is what the request
# asks for, then NUL, the status in decimal, NUL, the words of the tools that failed, NUL.
#
#   manifest COUNT ARGUMENT...   the output of MANIFEST_BASH with these arguments
#   list NAME BYTES CONTENT      keeps a list of files, BYTES long, in the folder SCRATCH
#   sizes                        of each file in the list "files": bytes, tab, name, NUL
#   tar                          the archive of all that is in the list "all"; see below
#
# First it answers, without a request: status 0, or 127 where a tool is missing.
#
# The archive is GNU tar's, in blocks of 64 KiB, hard links as files. Needs Bash 4.2, coreutils
# and GNU tar 1.23 in the guest.

manifest=$1 root=$2 scratch=$3
unset TAR_OPTIONS DU_BLOCK_SIZE BLOCK_SIZE BLOCKSIZE POSIXLY_CORRECT BASH_ENV ENV IFS
LC_ALL=C
export LC_ALL
exec 3>&1

answer() {
    printf '\0%s\0%s\0' "$1" "$2" >&3
}

# Who expects more than came, of a tool that failed, must see that this is the end.
answer_or_end() {
    answer "$1" "$2"
    [[ $1 == 0 ]] || exit "$1"
}

check_tools() {
    local tool
    for tool in bash cp sha256sum readlink stat head du tar; do
        type -P "$tool" >/dev/null || { answer 127 "no $tool" && exit; }
    done
    [[ $(tar --version 2>&1) == *'GNU tar'* ]] || { answer 127 'no GNU tar' && exit; }
    [[ $(du --version 2>&1) == *'GNU coreutils'* ]] || { answer 127 'no GNU coreutils' && exit; }
    # It looks for tools beside itself, and who knows what else is in the volume.
    cp "$manifest" "$scratch/manifest.bash" || { answer 127 'no manifest.bash' && exit; }
    answer 0
}

make_manifest() {
    local count argument words arguments=()
    IFS= read -r -d '' count
    while ((count-- > 0)) && IFS= read -r -d '' argument; do
        arguments+=("$argument")
    done
    words=$(bash --norc -p "$scratch/manifest.bash" "${arguments[@]}" 2>&1 >&3 3>&- </dev/null)
    answer $? "$words"
}

keep_list() {
    local name bytes words
    IFS= read -r -d '' name
    IFS= read -r -d '' bytes
    words=$(head -c "$bytes" 2>&1 >"$scratch/$name")
    answer $? "$words"
}

tell_sizes() {
    local words
    words=$(cd "$root" &&
        du -b -l -0 --files0-from="$scratch/files" 2>&1 >&3 3>&- </dev/null)
    answer_or_end $? "$words"
}

send_files() {
    local words
    words=$(tar --create --file=- --format=gnu --blocking-factor=128 --numeric-owner \
        --hard-dereference --directory="$root" --no-recursion --null \
        --files-from="$scratch/all" 2>&1 >&3 3>&- </dev/null)
    answer_or_end $? "$words"
}

check_tools
while IFS= read -r -d '' request; do
    case $request in
        manifest) make_manifest ;;
        list) keep_list ;;
        sizes) tell_sizes ;;
        tar) send_files ;;
        *) exit 2 ;;
    esac
done
