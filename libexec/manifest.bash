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
# Stands in the text of a manifest where something is put in at the end; all else prints.
hole=$'\002'

# Limits of one call of a tool: a system may take no more than 128 KiB of arguments.
most_bytes=100000
most_paths=2000
# From so many files on, a call of sha256sum is worth it.
enough=900
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
    reason=$(cd -L -- "./$1" 2>&1)
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
        cd -L -- "./$part" 2>/dev/null || trouble "$1" ''
    done
}

# Go back to the folder that is looked at.
return_to_folder() {
    local name
    go_near "${prefix}."
}

# Adds the lines of the text $1 to $answers, if there are $2 of them.
split() {
    local IFS=$newline
    local -i before=${#answers[@]}
    set -f
    answers+=($1)
    set +f
    (( ${#answers[@]} == before + $2 )) || ! answers=("${answers[@]:0:before}")
}

# Asks the command in $tool about all paths that follow, from the folder $from. Adds its answers,
# one line for each path, to $answers; for a path that it has no answer to an empty one.
ask() {
    local all="$*" text
    local -i half=$#/2
    if (( $# < 2 || ($# <= most_paths && ${#all} + 8 * $# < most_bytes) )); then
        if [[ $tool != readlink ]]; then
            text=$(cd -P -- "$from" && exec "${tool[@]}" -- "$@" 2>/dev/null) || text=
        else
            # The slash keeps newlines at the end, which are the target's.
            text=$(cd -P -- "$from" && readlink -- "$@" 2>/dev/null && printf /)
            [[ $text != *"$newline$newline"* && $text != "$newline"* ]] || text=
            text=${text%/}
        fi
        ! split "$text" $# || return 0
    fi
    # A slice of a list takes as long as a copy of all of it: halves are best.
    if (( $# > 1 )); then
        ask "${@:1:half}"
        ask "${@:half + 1}"
    else
        answers+=('')
        incomplete=1
    fi
}

# --- Files ---------------------------------------------------------------------------------------
# Few commands are spent on a file: each takes as long as hashing a kilobyte. The manifest is made
# as a format for printf, which puts in the attributes, if they are asked for, and then the digests.
# And sha256sum runs beside the look at the tree. So there are, in order: $out, the text that is
# done; $hashed_format with the files $hashed, which are read now; $format with the files $wanted.

# Adds the text $1 to the manifest.
add() {
    if [[ $1 == *[\\%]* ]]; then
        protect "$1"
        format+=$protected
    else
        format+=$1
    fi
}

# Sets $protected to what printf makes the text $1 of, once or, for attributes too, twice.
protect() {
    protected=${1//\\/\\\\}
    protected=${protected//[%]/%%}
    if (( attributes )); then
        protected=${protected//\\/\\\\}
        protected=${protected//[%]/%%}
    fi
}

# Hash what is wanted, as soon as what is hashed now is done.
hash_wanted() {
    local all="${wanted[*]}"
    (( ${#wanted[@]} )) || return 0
    take_digests
    if (( ${#all} + 8 * ${#wanted[@]} < most_bytes )) && [[ $all != *"$newline"* ]]; then
        exec {pipe}< <(cd -P -- "$start" && exec sha256sum -- "${wanted[@]}" 2>/dev/null)
        hashing=$!
        put_attributes
        hashed=("${wanted[@]}") hashed_format=$format
        wanted=() format=
    else
        hash_at "$start" "${wanted[@]}"
    fi
}

# Wait for the digests of $hashed.
take_digests() {
    local text from=$start
    local -a tool=(sha256sum) answers=()
    (( ${#hashed[@]} )) || return 0
    text=$(<"/dev/fd/$pipe")
    exec {pipe}<&-
    hashing=
    if ! split "$text" ${#hashed[@]}; then
        ask "${hashed[@]}"
        text=\\
    fi
    put_digests
}

# Hash what is wanted, which is in the folder $1 under the names that follow, and wait for it.
hash_at() {
    local from=$1 text=\\
    local -a tool=(sha256sum) answers=()
    shift
    ask "$@"
    put_attributes
    hashed=("${wanted[@]}") hashed_format=$format
    wanted=() format=
    put_digests
}

put_attributes() {
    local from=$start
    local -a answers=() tool=("${owner_tool[@]}")
    local -i incomplete=0
    if (( attributes )); then
        ask "${wanted[@]}"
        (( ! incomplete )) || find_owners "${wanted[@]}"
        printf -v format -- "$format" "${answers[@]}"
    fi
}

# Puts $answers, the lines of sha256sum, into the text. $text has a backslash if a line may have
# one.
put_digests() {
    local filled
    (( ! incomplete )) || find_digests
    # A line begins with a backslash if there are escapes in the name, which is never of two lines.
    # (That a tool writes it as it is, is found out by the count.)
    [[ $text != *\\* ]] || answers=("${answers[@]#\\}")
    [[ ${answers[0]} =~ ^[0-9a-f]{64}\  ]] || fault "sha256sum does not work: ${answers[0]}"
    printf -v filled -- "$hashed_format" "${answers[@]}"
    out+=("$filled")
    hashed=()
}

# Find out why some of $hashed have no digest in $answers. It is not said before the whole tree was
# looked at.
find_digests() {
    local path name text size
    local -i index=-1
    incomplete=0
    for path in "${hashed[@]}"; do
        index+=1
        [[ -z ${answers[index]} ]] || continue
        go_near "$path"
        text=$({ sha256sum <"$name"; } 2>&1)
        if [[ ! $text =~ ^[0-9a-f]{64}\  ]]; then
            reason=$({ : <"$name"; } 2>&1)
            reason=${reason:-${text#sha256sum: }}
            [[ $reason != "$text" ]] || fault "sha256sum does not work: $text"
            reason=${reason##*: }
            if ! size=$(stat -c %s -- "$name" 2>/dev/null) || (( size < large )); then
                unread=${unread:-$path} unread_reason=${unread_reason:-$reason}
            else
                unread_large=${unread_large:-$path}
                unread_large_reason=${unread_large_reason:-$reason}
            fi
            printf -v text '%064d ' 0
        fi
        answers[index]=$text
    done
    return_to_folder
}

# --- Attributes ----------------------------------------------------------------------------------

# Prints how a node ends: with its attributes, and all that is left to close.
owner_tool=(stat -c '(%04a %u %g)))')

# Sets $answers to that of the nodes which follow.
own() {
    local from=$start
    local -a tool=("${owner_tool[@]}")
    local -i incomplete=0
    answers=()
    ask "$@"
    (( ! incomplete )) || find_owners "$@"
}

# Asks one by one for what is missing in $answers: a path may be too long, or gone.
find_owners() {
    local path name
    local -i index=0
    for path; do
        if [[ -z ${answers[index]} ]]; then
            go_near "$path"
            [[ -e $name || -L $name ]] || trouble "$path" ''
            answers[index]=$("${owner_tool[@]}" -- "$name" 2>/dev/null) ||
                fault "stat does not work"
        fi
        index+=1
    done
    return_to_folder
}

# --- Looking at a tree ---------------------------------------------------------------------------
# A tree is looked at in the order of the manifest; what is wrong with links and files is said only
# when all of it was seen. What is read of links and folders is put into the holes of the text at
# the end: $holes has the kind of each, $links and $folders their paths. No link is followed, so
# "cd -L" goes where "cd -P" does; far down it takes a third of the time.

# Goes on in the folder $1 of the current one: its entries stand in $queue from $next to $end.
open_folder() {
    local -a names
    local name
    nexts[depth]=$next ends[depth]=$end prefixes[depth]=$prefix writtens[depth]=$written
    marks[depth]=$mark
    depth+=1
    if ! cd -L -- "./$1" 2>/dev/null; then
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
    [[ $1 == . ]] || step_into "$1"
    next=${#queue[@]}
    fill_queue
    end=${#queue[@]}
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
# are, together, with a slash before each; anything else by itself. What is nothing but a few such
# files is added at once.
fill_queue() {
    local -a others=() run=()
    local -i at=0
    local IFS=/ name other
    if [[ ${names[*]} == $odd ]]; then
        for name in "${names[@]}"; do
            [[ $name != $odd && -f $name && ! -L $name ]] || others+=("$name")
        done
    else
        for name in "${names[@]}"; do
            [[ -f $name && ! -L $name ]] || others+=("$name")
        done
    fi
    if (( ${#others[@]} == 0 )); then
        if (( ${#names[@]} > enough )); then
            queue_files "${names[*]}"
        elif (( ${#names[@]} )); then
            run=("${names[@]}")
            add_run
        fi
        return
    fi
    other=${others[0]}
    for name in "${names[@]}"; do
        if [[ $name == "$other" ]]; then
            queue_files "${run[*]}"
            queue+=("$name")
            run=()
            at+=1
            other=${others[at]}
        else
            run+=("$name")
        fi
    done
    queue_files "${run[*]}"
}

# Puts files, $1 with slashes between them, into $queue.
queue_files() {
    local rest=/$1 piece
    local -i at=0
    [[ $1 ]] || return
    while (( ${#rest} - at > stretch )); do
        piece=${rest:at:stretch}
        piece=${piece%/*}
        queue+=("$piece")
        at+=${#piece}
    done
    queue+=("${rest:at}")
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
}

close_folder() {
    local path=${prefix%/} attributes_here
    if (( attributes && ${#path} > longest )); then
        attributes_here=$("${owner_tool[@]}" . 2>/dev/null) || fault "stat does not work"
    fi
    depth+=-1
    cd -L .. 2>/dev/null || trouble "$path" ''
    next=${nexts[depth]} end=${ends[depth]} prefix=${prefixes[depth]} written=${writtens[depth]}
    mark=${marks[depth]}
    if [[ $attributes_here ]]; then
        format+=")$attributes_here"
    elif (( attributes )); then
        format+=")$hole"
        holes+=(folder)
        folders+=("$path")
    else
        format+=")))"
    fi
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
    local IFS=/
    local -a run
    set -f
    run=($1)
    set +f
    add_run
}

# Adds the files in $run.
add_run() {
    local IFS= name end=${mark:- }$ending protected="(File($mark$written"
    local -a texts
    begin_files
    [[ $protected != *[\\%]* ]] || protect "$protected"
    if [[ $prefix == $odd ]]; then
        for name in "${run[@]}"; do
            wanted+=("$prefix$name")
            texts+=("$protected$name")
        done
    else
        wanted+=("${run[@]/#/$prefix}")
        texts=("${run[@]/#/$protected}")
    fi
    if [[ ${run[*]} == *%* ]]; then
        texts=()
        for name in "${run[@]}"; do
            protect "(File($mark$written$name"
            texts+=("$protected")
        done
    fi
    format+="${texts[*]/%/$end}"
    unset -v IFS
    if (( ${#prefix} > longest )); then
        hash_at . "${run[@]/#/./}"
    elif (( ${#wanted[@]} >= enough )); then
        hash_wanted
    fi
}

# Before files are added: what is far down is read from its own folder, and in its turn.
begin_files() {
    if (( ${#prefix} > longest )); then
        hash_wanted
        take_digests
    fi
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
        add "(Symlink($atom"
        format+=$hole
        holes+=(link)
        links+=("$prefix$1")
    elif [[ -f $1 ]]; then
        begin_files
        add "(File($atom"
        [[ $quote ]] || format+=' '
        format+=$ending
        wanted+=("$prefix$1")
        (( ${#prefix} <= longest )) || hash_at . "./$1"
        (( ${#wanted[@]} < enough )) || hash_wanted
    elif [[ -d $1 ]]; then
        [[ $1 != . ]] || atom='""' # the start itself: its path is empty
        add "(Dir($atom("
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
            if ! cd -L -- "./$top" 2>/dev/null; then
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
    local -a out=() wanted=() hashed=() holes=() links=() folders=()
    local -i next=0 end=1 depth=0 incomplete=0
    local prefix written mark top pipe format= hashed_format
    local unread= unread_reason= unread_large= unread_large_reason=
    find_source "$1"
    queue=("$top")
    survey
    hash_wanted
    take_digests
    finish_text
    [[ -z $unread ]] || trouble "$unread" "$unread_reason"
    [[ -z $unread_large ]] || trouble "$unread_large" "$unread_large_reason"
    (( ${#holes[@]} == 0 )) || fill_holes
    printf '%s' "${out[@]}" && printf '\n' || fault "cannot write the manifest"
}

# The text behind the last file.
finish_text() {
    local text
    printf -v text -- "$format"
    (( ! attributes )) || printf -v text -- "$text"
    out+=("$text")
}

# Puts what is read of links and folders into the holes of $out.
fill_holes() {
    local -a ends_of_links=() ends_of_folders=()
    local -i index=0 link=0 folder=0
    local kind IFS=
    local text="${out[*]}"
    IFS=$hole
    set -f
    out=($text)
    set +f
    unset -v IFS
    (( ${#links[@]} == 0 )) || read_links
    (( ${#folders[@]} == 0 )) || read_folders
    for kind in "${holes[@]}"; do
        if [[ $kind == folder ]]; then
            out[index]+=${ends_of_folders[folder]}
            folder+=1
        else
            # A blank stands between two atoms without quotes.
            [[ ${out[index]} == *'"' || ${ends_of_links[link]} == '"'* ]] || out[index]+=' '
            out[index]+=${ends_of_links[link]}
            link+=1
        fi
        index+=1
    done
}

read_folders() {
    local -a answers=()
    own "${folders[@]}"
    ends_of_folders=("${answers[@]}")
}

read_links() {
    local -a answers=() owned tool=(readlink)
    local -i index=0
    local from=$start path target name
    require readlink
    (( ! attributes )) || own "${links[@]}"
    owned=("${answers[@]}") answers=()
    ask "${links[@]}"
    incomplete=0
    for path in "${links[@]}"; do
        target=${answers[index]}
        [[ $target ]] || read_target "$path"
        [[ $OSTYPE != @(cygwin|msys)* ]] || mix_target
        if [[ -z $target ]] || { [[ $target == $odd ]] && needs_quotes "$target"; }; then
            quote "$target"
            target=$quoted
        fi
        ends_of_links+=("$target${owned[index]:-))}")
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
ending='%.64s))'
if [[ $1 == --attributes ]]; then
    attributes=1 ending='%%.64s%s'
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
