# The manifest of files inside a guest: what obuild/context/manifests.py makes of the build
# context, from Bash and coreutils alone.
#
#   bash --norc -p manifest.bash [--attributes] SRC_DIR SEPARATOR \
#       EXCLUDE_COUNT EXCLUDE... SOURCE_COUNT SOURCE...
#
# Prints one s-expression a source, each on a line of its own, in the machine form:
# (File(PATH DIGEST)), (Symlink(PATH TARGET)) or (Dir(PATH(ITEM...))). With --attributes a third
# element follows, (MODE UID GID), the mode in four octal digits. Sources are paths below SRC_DIR,
# with slashes between their parts; SEPARATOR stands between the parts of the paths printed.
#
# Status 0: all is printed. Status 1: a source cannot be copied; standard error has the message
# for the user, without a newline, and nothing else. Any other status: a fault of this guest's
# tools, or a wrong call.
#
# Needs Bash 4.2, sha256sum, readlink where there are links, stat for --attributes or a file that
# cannot be read, and cygpath on Cygwin. It writes nothing, so it works without a /tmp. Names may
# have any bytes.
#
# There is no "#!" line, as there is no one place for Bash: the shell that is told to execute this
# file goes on with it by itself.

set +efuxC
LC_ALL=C
unset IFS CDPATH GLOBIGNORE GLOBSORT POSIXLY_CORRECT
own=$(cd -P -- "${BASH_SOURCE[0]%/*}/" 2>/dev/null && pwd -P)
# Beside this file are the tools of guests that have none of their own.
PATH=${own:+$own:}/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH
shopt -s dotglob nullglob extglob
shopt -u failglob nocaseglob nocasematch
shopt -u patsub_replacement 2>/dev/null # new in Bash 5.2

# A name with another byte than these may need quotes; "|" does only beside "#".
odd='*[^]!#-'\''*-:<-[^-{}~]*'
# In quotes, all but these stand as an escape.
special='[^]!#-[^-~ ]'
newline=$'\n'

# Limits of one call of a tool: a system may take no more than 128 KiB of arguments.
most_bytes=100000
most_paths=2000
# From so many files on, a call of sha256sum is worth it.
enough=500
# A longer path, in bytes, is not named as a whole: PATH_MAX may be 4096.
longest=3800
# Files of one folder are taken up together as long as their names have no more bytes.
stretch=8000
# Files from this size on, in bytes, are read after the others, as manifests.py does.
large=1048576

fault() {
    stop_hashing
    printf 'manifest.bash: %s\n' "$1" >&2
    exit 2
}

refuse() {
    stop_hashing
    printf '%s' "$1" >&2
    exit 1
}

# What sha256sum still reads is not needed any more.
hashing=
stop_hashing() {
    [[ -z $hashing ]] || kill "$hashing" 2>/dev/null
}

require() {
    type -P "$1" >/dev/null || fault "this guest has no $1"
}

# --- Atoms ---------------------------------------------------------------------------------------

# Sets $escaped to what stands for the text $1 between quotes, as OCaml's %S writes it.
escape() {
    local rest=$1 head byte
    escaped=
    while [[ $rest == *$special* ]]; do
        head=${rest%%$special*}
        byte=${rest:${#head}:1}
        rest=${rest:${#head}+1}
        case $byte in
            '"') byte='\"' ;;
            \\) byte='\\' ;;
            $'\n') byte='\n' ;;
            $'\t') byte='\t' ;;
            $'\r') byte='\r' ;;
            $'\b') byte='\b' ;;
            *)
                printf -v byte %d "'$byte"
                printf -v byte '\\%03d' "$((byte & 255))"
                ;;
        esac
        escaped+=$head$byte
    done
    escaped+=$rest
}

quote() {
    escape "$1"
    quoted="\"$escaped\""
}

# Whether the text $1, which is $odd, cannot stand without quotes.
needs_quotes() {
    [[ $1 == *[^]!#-\'*-:\<-[^-~]* || $1 == *'#|'* || $1 == *'|#'* ]]
}

# --- What goes wrong -----------------------------------------------------------------------------

# Sets $shown to the path $1, which starts with "./", as messages have it: quoted.
show() {
    local path=${1#./}
    quote "${path//\//$separator}"
    shown=$quoted
}

# Why the entry $1 of the current folder cannot be seen: sets $reason to the system's words.
find_reason() {
    reason=$(cd -P -- "./$1" 2>&1)
    reason=${reason##*: }
}

# Something that was just there, at the path $1, cannot be looked at, for the reason $2.
trouble() {
    show "$1"
    case $2 in
        '' | 'No such file or directory') refuse "File $shown not found in source directory" ;;
        'Not a directory' | 'Too many levels of symbolic links' | 'Invalid argument')
            refuse "$shown changed while it was read"
            ;;
        *) refuse "Cannot read $shown: $2" ;;
    esac
}

# --- Asking tools about many paths ---------------------------------------------------------------

# Go to the folder of the path $1, which is from the start folder and may be longer than the system
# takes. Sets $name to the rest of the path.
go_near() {
    local rest=${1%/*} part
    name=./${1##*/}
    cd -P -- "$start" || fault "cannot go back to $start"
    while [[ $rest ]]; do
        part=$rest
        if (( ${#part} > longest )); then
            part=${rest:0:longest}
            part=${part%/*}
        fi
        rest=${rest:${#part}+1}
        cd -P -- "./$part" 2>/dev/null || trouble "$1" ''
    done
}

# Sets $lines to the lines of the text $1.
split() {
    local IFS=$newline
    set -f
    lines=($1)
    set +f
}

# Asks the command in $tool about all paths that follow, from the folder $from. Adds its answers,
# one line for each path, to $answers; for a path that it has no answer to, nothing: an empty one.
ask() {
    local all="$*" text
    local -i half=$#/2
    if (( $# < 2 || ($# <= most_paths && ${#all} + 8 * $# < most_bytes) )); then
        # The slash keeps newlines at the end, and tells that the tool has no complaints.
        text=$(cd -P -- "$from" && "${tool[@]}" -- "$@" 2>/dev/null && printf /)
        if [[ $text == *$newline/ && $text != *"$newline$newline"* && $text != "$newline"* ]]; then
            split "${text%/}"
            if (( ${#lines[@]} == $# )); then
                answers+=("${lines[@]}")
                return
            fi
        fi
    fi
    # A slice of a list takes as long as a copy of all of it: halves are best.
    if (( $# > 1 )); then
        ask "${@:1:half}"
        ask "${@:half + 1}"
    else
        answers+=('')
    fi
}

# --- Digests -------------------------------------------------------------------------------------
# While the tree is looked at, sha256sum runs beside it. $digests has a line for each file so far,
# and then come those of $hashed, which is read now, and of $wanted.

# Hash what is wanted, after what is being hashed.
hash_wanted() {
    local all="${wanted[*]}"
    (( ${#wanted[@]} )) || return
    take_digests
    if (( ${#all} + 8 * ${#wanted[@]} < most_bytes )) && [[ $all != *"$newline"* ]]; then
        exec {pipe}< <(cd -P -- "$start" && exec sha256sum -- "${wanted[@]}" 2>/dev/null)
        hashing=$!
        hashed=("${wanted[@]}")
        own "${wanted[@]}"
    else
        hash_at "$start" "${wanted[@]}"
    fi
    wanted=()
}

# Hash the files that follow, from the folder $1, and wait for it.
hash_at() {
    local from=$1
    local -a tool=(sha256sum) answers=()
    shift
    own_at "$from" "$@"
    ask "$@"
    add_digests "${answers[@]}"
}

# Wait for the digests of $hashed.
take_digests() {
    local text
    (( ${#hashed[@]} )) || return
    text=$(<"/dev/fd/$pipe")
    exec {pipe}<&-
    hashing=
    split "$text"
    if (( ${#lines[@]} == ${#hashed[@]} )); then
        add_digests "${lines[@]}"
    else
        local from=$start
        local -a tool=(sha256sum) answers=()
        ask "${hashed[@]}"
        add_digests "${answers[@]}"
    fi
    hashed=()
}

# A line begins with a backslash if the name has one, or has a newline; then it has the name with
# escapes. So each file has one line. (That a tool does without is found out by the count.)
add_digests() {
    local IFS=
    [[ -z $1 || $1 =~ ^\\?[0-9a-f]{64}\  ]] || fault "sha256sum does not work: $1"
    if [[ "$*" == *\\* ]]; then
        digests+=("${@#\\}")
    else
        digests+=("$@")
    fi
}

# Say why the files without a digest, if there are any, cannot be read.
check_digests() {
    local late= late_reason name text size
    local -a paths=("${files[@]}")
    local -i index
    for ((index = 0; index < ${#digests[@]}; index++)); do
        [[ -z ${digests[index]} ]] || continue
        go_near "${paths[index]}"
        text=$({ sha256sum <"$name"; } 2>&1)
        if [[ ! $text =~ ^[0-9a-f]{64}\  ]]; then
            reason=$({ : <"$name"; } 2>&1)
            reason=${reason:-${text#sha256sum: }}
            [[ $reason != "$text" ]] || fault "sha256sum does not work: $text"
            reason=${reason##*: }
            if ! size=$(stat -c %s -- "$name" 2>/dev/null) || (( size < large )); then
                trouble "${paths[index]}" "$reason"
            elif [[ -z $late ]]; then
                late=${paths[index]} late_reason=$reason
            fi
        fi
        digests[index]=$text
    done
    [[ -z $late ]] || trouble "$late" "$late_reason"
}

# --- Owners --------------------------------------------------------------------------------------

# Adds to $owned how the nodes that follow end, if that is asked for.
own() {
    own_at "$start" "$@"
}

# The same with paths from the folder $1.
own_at() {
    local from=$1
    local -a tool=(stat -c '(%04a %u %g)))') answers=()
    shift
    if (( attributes && $# )); then
        ask "$@"
        owned+=("${answers[@]}")
    fi
}

# Sees to it that the paths which follow are all in $owned.
check_owners() {
    local path name
    local -i index=0
    (( attributes )) && has_gap "${owned[@]}" || return
    for path; do
        if [[ -z ${owned[index]} ]]; then
            go_near "$path"
            [[ -e $name || -L $name ]] || trouble "$path" ''
            owned[index]=$(stat -c '(%04a %u %g)))' -- "$name" 2>/dev/null) ||
                fault "stat does not work"
        fi
        index+=1
    done
}

# --- Looking at a tree ---------------------------------------------------------------------------
# A tree is looked at in the order of the manifest; what is wrong with links and files is said only
# when all of it was seen. $out has the text of the manifest in pieces. What is read belongs at the
# end of some of them: $files and $links have the paths of files and links, at the index of their
# piece in $out, and $folders those of folders. Few commands are spent on a file: each takes as long
# as hashing a kilobyte.

# Goes on in the folder $1 of the current one: its entries stand in $queue from $next to $end.
open_folder() {
    local -a names
    local name
    nexts[depth]=$next ends[depth]=$end prefixes[depth]=$prefix writtens[depth]=$written
    marks[depth]=$mark
    depth+=1
    if ! cd -P -- "./$1" 2>/dev/null; then
        find_reason "$1"
        trouble "$prefix$1" "$reason"
    fi
    names=(*)
    if (( ${#names[@]} == 0 )) && ! reason=$({ : <.; } 2>&1); then
        trouble "$prefix$1" "${reason##*: }"
    fi
    for name in "${excludes[@]}"; do
        if [[ $name != */* && ( -e $name || -L $name ) ]]; then
            leave_out
            break
        fi
    done
    next=${#queue[@]}
    fill_queue
    end=${#queue[@]}
    [[ $1 == . ]] || step_into "$1"
}

# Takes the excluded ones out of $names.
leave_out() {
    local -a kept=()
    local name
    for name in "${names[@]}"; do
        [[ ${excluded[x$name]} ]] || kept+=("$name")
    done
    names=("${kept[@]}")
}

# Puts $names into $queue: files that follow one another, and whose names stand in atoms as they
# are, together, with a slash before each; anything else by itself.
fill_queue() {
    local -a run=()
    local IFS=/ name
    if [[ ${names[*]} == $odd ]]; then
        for name in "${names[@]}"; do
            if [[ $name != $odd && -f $name && ! -L $name ]]; then
                run+=("$name")
            else
                end_run
                queue+=("$name")
            fi
        done
    else
        # The same in less time.
        for name in "${names[@]}"; do
            if [[ -f $name && ! -L $name ]]; then
                run+=("$name")
            else
                end_run
                queue+=("$name")
            fi
        done
    fi
    end_run
}

# Puts the files of $run into $queue.
end_run() {
    local all piece
    local -i at=0
    (( ${#run[@]} )) || return
    all=/${run[*]}
    while (( ${#all} - at > stretch )); do
        piece=${all:at:stretch}
        piece=${piece%/*}
        queue+=("$piece")
        at+=${#piece}
    done
    queue+=("${all:at}")
    run=()
}

# $prefix is the path of the folder that is looked at, from the start and with a slash at its end,
# $written the same as it stands in atoms, $mark a quote if they need quotes.
step_into() {
    prefix+=$1/
    if [[ $1 == $odd ]]; then
        escape "$1"
        written+=$escaped$written_separator
        ! needs_quotes "$1" || mark='"'
    else
        written+=$1$written_separator
    fi
    mark=${mark:-$separator_mark}
    (( ${#prefix} <= longest )) || deep=1
}

close_folder() {
    local path=${prefix%/}
    depth+=-1
    cd -P .. 2>/dev/null || trouble "$path" ''
    next=${nexts[depth]} end=${ends[depth]} prefix=${prefixes[depth]} written=${writtens[depth]}
    mark=${marks[depth]}
    folders[${#out[@]}]=$path
    out+=(")$closing")
}

# Puts the entries of $queue from $next to $end, and all that is in them, to the end of $out.
survey() {
    local name
    while :; do
        while (( next < end )); do
            name=${queue[next]}
            next+=1
            if [[ $name == /* ]]; then
                add_files "${name:1}"
            else
                add_entry "$name"
            fi
        done
        (( depth > 0 )) || return 0
        close_folder
    done
}

# Adds files of the current folder, $1 with slashes between them.
add_files() {
    local IFS=/ name gap=${mark:- } opening="(File($mark$written"
    local -i at=${#out[@]}
    local -a texts paths
    set -f
    set -- $1
    set +f
    if [[ $prefix == $odd ]]; then
        for name; do
            out+=("$opening$name$gap")
            paths+=("$prefix$name")
        done
    else
        texts=("${@/#/$opening}")
        out+=("${texts[@]/%/$gap}")
        paths=("${@/#/$prefix}")
    fi
    unset -v IFS
    files[at]=${paths[0]}
    files+=("${paths[@]:1}") # each at the index after the last one
    if (( ${#prefix} > longest )); then
        hash_wanted
        take_digests
        hash_at . "${@/#/./}"
        return
    fi
    wanted+=("${paths[@]}")
    (( ${#wanted[@]} < enough )) || hash_wanted
}

# Adds the entry $1 of the current folder, whatever it is.
add_entry() {
    local atom=$1 quote=$mark
    if [[ $1 == $odd ]]; then
        escape "$1"
        atom=$escaped
        ! needs_quotes "$1" || quote='"'
    fi
    atom=$quote$written$atom$quote
    if [[ -L $1 ]]; then
        links[${#out[@]}]=$prefix$1
        out+=("(Symlink($atom")
    elif [[ -f $1 ]]; then
        files[${#out[@]}]=$prefix$1
        [[ $quote ]] || atom+=' '
        out+=("(File($atom")
        if (( ${#prefix} > longest )); then
            hash_wanted
            take_digests
            hash_at . "./$1"
        else
            wanted+=("$prefix$1")
        fi
    elif [[ -d $1 ]]; then
        [[ $1 != . ]] || atom='""' # the start itself: its path is empty
        out+=("(Dir($atom(")
        open_folder "$1"
    elif [[ -e $1 ]]; then
        show "$prefix$1"
        refuse "Unsupported file type for $shown"
    else
        find_reason "$1"
        trouble "$prefix$1" "$reason"
    fi
}

# --- Sources -------------------------------------------------------------------------------------

# Finds the source $1: goes to the folder it is in, sets $top to its name there.
find_source() {
    local rest=$1 part reversed kind=folder
    local -i more=1
    prefix=./ written= mark= top=.
    quote "$1"
    cd -P -- "$start" || fault "cannot go back to $start"
    while (( more )); do
        part=${rest%%/*}
        [[ $rest == */* ]] || more=0
        rest=${rest#*/}
        case $part in
            '' | .) continue ;;
            ..) refuse "Can't use .. in source paths! (in $quoted)" ;;
        esac
        if [[ $separator != / && $part == *"$separator"* ]]; then
            refuse "Can't use platform directory separator in path component: $part (in $quoted)"
        fi
        if [[ $top != . ]]; then
            if ! cd -P -- "./$top" 2>/dev/null; then
                find_reason "$top"
                trouble "$prefix$top/$part" "$reason"
            fi
            step_into "$top"
        fi
        top=$part
        reversed=$part${reversed:+$separator$reversed}
        if [[ -L $part ]]; then
            kind=link
        elif [[ -d $part ]]; then
            continue
        elif [[ -f $part ]]; then
            kind=file
        elif [[ -e $part ]]; then
            kind=other
        else
            find_reason "$part"
            [[ $reason != 'No such file or directory' ]] || refuse "Source path $quoted not found"
            trouble "$prefix$part" "$reason"
        fi
        [[ $more != 0 || $kind == other ]] || return
        [[ $kind != file ]] || refuse "Not a directory: $reversed (in $quoted)"
        refuse "Not a regular file: $reversed (in $quoted)"
    done
}

print_manifest() {
    local -a queue=() nexts=() ends=() prefixes=() writtens=() marks=()
    local -a out=() files=() links=() folders=()
    local -a wanted=() hashed=() digests=() owned=() lines=()
    local -i next=0 end=1 depth=0
    local prefix written mark top pipe
    find_source "$1"
    queue=("$top")
    survey
    (( ${#files[@]} == 0 )) || finish_files
    (( ${#links[@]} == 0 )) || finish_links
    (( attributes == 0 || ${#folders[@]} == 0 )) || finish_folders
    printf '%s' "${out[@]}" && printf '\n' || fault "cannot write the manifest"
}

finish_files() {
    local -a at=("${!files[@]}")
    local -i index=0
    local digest
    hash_wanted
    take_digests
    check_owners "${files[@]}"
    ! has_gap "${digests[@]}" || check_digests
    for digest in "${digests[@]}"; do
        out[at[index]]+=${digest:0:64}${owned[index]}$closing
        index+=1
    done
}

# Whether an argument is empty; none has a slash.
has_gap() {
    local IFS=/
    [[ "/$*/" == *//* ]]
}

finish_links() {
    local -a owned=() answers=() tool=(readlink) paths=("${links[@]}")
    local -i at index=0
    local from=$start target name
    require readlink
    own "${links[@]}"
    check_owners "${links[@]}"
    ask "${links[@]}"
    for at in "${!links[@]}"; do
        target=${answers[index]}
        [[ $target ]] || read_target "${paths[index]}"
        [[ $OSTYPE != @(cygwin|msys)* ]] || mix_target
        if [[ -z $target ]] || { [[ $target == $odd ]] && needs_quotes "$target"; }; then
            quote "$target"
            target=$quoted
        elif [[ ${out[at]} != *'"' ]]; then
            target=" $target"
        fi
        out[at]+=$target${owned[index]}$closing
        index+=1
    done
}

# Sets $target to the target of the link $1: it has a newline, or readlink takes one name only.
read_target() {
    go_near "$1"
    target=$(readlink -n -- "$name" 2>/dev/null && printf /)
    if [[ -z $target ]]; then
        [[ ! -L $name ]] || fault "readlink does not work"
        [[ ! -e $name ]] || trouble "$1" 'Invalid argument'
        trouble "$1" ''
    fi
    target=${target%/}
}

# Cygwin's readlink gives paths of Cygwin's own; the guest knows their mixed form, C:/folder.
mix_target() {
    target=$(cygpath -m -- "$target" 2>/dev/null && printf /) || fault "cygpath does not work"
    target=${target%$newline/}
}

finish_folders() {
    local -a owned=() at=("${!folders[@]}")
    local -i index=0
    local ending
    own "${folders[@]}"
    check_owners "${folders[@]}"
    for ending in "${owned[@]}"; do
        out[at[index]]+=$ending
        index+=1
    done
}

# --- Arguments -----------------------------------------------------------------------------------

usage='arguments: [--attributes] SRC_DIR SEPARATOR EXCLUDE_COUNT EXCLUDE... SOURCE_COUNT SOURCE...'

# Sets $list to as many arguments as the first one says.
take_list() {
    [[ $1 && $1 != *[!0-9]* ]] || fault "$usage"
    local -i count=10#$1
    (( count < $# )) || fault "$usage"
    list=("${@:2:count}")
}

declare -A excluded
declare -i attributes=0
closing='))'
if [[ $1 == --attributes ]]; then
    attributes=1 closing=
    shift
fi
(( $# >= 4 )) && [[ $1 && $2 ]] || fault "$usage"
require sha256sum
(( attributes == 0 )) || require stat
start=$1 separator=$2
shift 2
take_list "$@"
excludes=("${list[@]}")
shift $((${#list[@]} + 1))
take_list "$@"
(( $# == ${#list[@]} + 1 )) || fault "$usage"

for name in "${excludes[@]}"; do
    excluded[x$name]=1
done
escape "$separator"
written_separator=$escaped separator_mark=
[[ $separator != $odd ]] || ! needs_quotes "$separator" || separator_mark='"'
# "-" is a name here, and not the folder before.
[[ $start != -* ]] || start=./$start
cd -P -- "$start" 2>/dev/null || fault "cannot go to $start"
start=$PWD
for source in "${list[@]}"; do
    print_manifest "$source"
done
exit 0
