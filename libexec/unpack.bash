# Unpacks the tar stream on standard input into a Windows guest, with Cygwin's Bash and tar.
#
#   bash --norc -p unpack.bash ROOT
#
# ROOT is the drive, as Cygwin writes it (/cygdrive/c); names in the stream count from there. Before
# the stream stand KIND and DESTINATION, a NUL behind each: as arguments Cygwin might take them for
# patterns. DESTINATION is a path below ROOT, empty for ROOT itself; KIND is "file" if it becomes a file (or
# a link), else "folder". If it is a folder already its permissions stay what they are: unpacking
# a member for it would set others, with which not even ContainerAdministrator can write into it.
# icacls keeps and restores them.
#
# Status 0: all is unpacked. Else standard error says why not.

LC_ALL=C
unset IFS CDPATH TAR_OPTIONS POSIXLY_CORRECT
own=$(cd -P -- "${BASH_SOURCE[0]%/*}/" 2>/dev/null && pwd -P)
PATH=${own:+$own:}/usr/local/bin:/usr/bin:/bin
# Links as Windows has them, not Cygwin's own files that stand for links.
CYGWIN=winsymlinks:native
export LC_ALL PATH CYGWIN

root=$1
IFS= read -r -d '' kind && IFS= read -r -d '' folder || exit 2
folder=${folder%/}
icacls=$root/Windows/System32/icacls.exe
saved=obuild-acl-$$

fault() {
    printf 'unpack.bash: %s\n' "$1" >&2
    exit 2
}

# icacls names what it saved by its place below the folder that it is told to restore in.
keep() {
    [[ -n $folder && -d $root/$folder ]] || return 1
    [[ -x $icacls ]] || fault 'the guest has no icacls, which keeps the permissions of a folder'
    name=${folder##*/}
    above=$root
    [[ $folder == */* ]] && above=$root/${folder%/*}
    cd -- "$above" || fault "cannot enter $above"
    "$icacls" "$name" /save "$saved" /q >/dev/null || fault "icacls cannot save those of $folder"
}

put_back() {
    cd -- "$above" || fault "cannot enter $above"
    "$icacls" . /restore "$saved" /q >/dev/null || fault "icacls cannot restore those of $folder"
    rm -f -- "$saved" || fault "cannot remove $saved"
}

if [[ $kind == file && -d $root/$folder && ! -L $root/$folder ]]; then
    fault "$folder: Is a directory"
fi
kept=
keep && kept=yes
tar -xpf - -C "$root"
status=$?
[[ -z $kept ]] || put_back
exit "$status"
