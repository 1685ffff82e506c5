# SPDX-License-Identifier: GPL-2.0
# What the shell tools share; read with `. "$(dirname "$0")/lib.sh"`.
# shellcheck shell=sh

top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
[ "$(basename "$top")" != tools ] || top=$(dirname "$top")	# of a tool in tools/dev
cache=${XDG_CACHE_HOME:-${HOME:-}/.cache}/blockslab
me=$(basename -- "$0")

# What happens, on stderr: stdout belongs to results.
say()
{
	printf '%s: %s\n' "$me" "$*" >&2
}

die()
{
	say "$*"
	exit 1
}

# want_number OPTION VALUE LEAST MOST: ends the tool where that is no such number.
want_number()
{
	case $2 in
	'' | *[!0-9]* | 0?* | ???????????*) ;;
	*) [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ] || return 0 ;;
	esac
	die "$1 wants a number from $3 to $4, not $2; see tools/$me -h"
}

# usage FILE: the comment at the top of a tool is its help.
usage()
{
	sed -n '3,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$1"
}

# make_splits PATH: whether make or Kbuild would take it for something else than one path.
make_splits()
{
	case $1 in
	*[[:space:]:\;\#%\'\"\$\\\&\|\<\>\(\)\*\?]*) return 0 ;;
	esac
	return 1
}

# in_cache DIR: makes that directory of the cache.
in_cache()
{
	mkdir -p "$cache/$1" 2>/dev/null ||
		die "cannot make $cache/$1; XDG_CACHE_HOME=DIR names another place for what is fetched and built"
}

as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo "$@"
	else
		die "needs root to run: $*; run as root, or install sudo"
	fi
}

# apt_install PACKAGE...: after whoever installs others now.
apt_install()
{
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy -o DPkg::Lock::Timeout=300 \
		--no-install-recommends "$@"
}

# need PACKAGE...: installs the packages that are missing, by name.
need()
{
	missing=
	for package in "$@"; do
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null |
			grep -qx installed || missing="$missing $package"
	done
	[ -n "$missing" ] || return 0
	say "installing with apt:$missing"
	log=$(mktemp)
	# shellcheck disable=SC2086
	if { apt_install $missing || { as_root apt-get update -q && apt_install $missing; }; } >"$log" 2>&1; then
		rm -f "$log"
	else
		tail -n 5 "$log" >&2
		die "apt could not install:$missing (see $log)"
	fi
}

# with_progress WHAT COMMAND...: runs a command whose output goes to a log, with
# a line every few seconds: how long, and how many lines the log has, or how
# large the directory $growing is. The log's end is shown if the command fails.
# The command stays in the foreground, so that Ctrl-C reaches it.
with_progress()
{
	what=$1
	shift
	in_cache log
	log=$(mktemp "$cache/log/$me.XXXXXX")
	start=$(date +%s)
	say "$what ..."
	progress_lines &
	ticker=$!
	set +e
	(set -e; "$@") >"$log" 2>&1
	status=$?
	set -e
	kill "$ticker" 2>/dev/null || :
	wait "$ticker" 2>/dev/null || :
	growing=
	if [ "$status" = 0 ]; then
		say "$what: done in $(($(date +%s) - start)) s"
		rm -f "$log"
	else
		tail -n 25 "$log" >&2
		say "$what: failed with status $status; the whole log is $log"
	fi
	return "$status"
}

# The sleep outlives its ticker: it must hold no pipe or lock (9) of the caller's.
progress_lines()
{
	while sleep 5 >/dev/null 2>&1 9>&- && kill -0 $$ 2>/dev/null; do
		if [ -n "${growing:-}" ]; then
			far="$(du -sm "$growing" 2>/dev/null | cut -f1) MB"
		else
			far="$(wc -l <"$log") lines"
		fi
		say "$what: $(($(date +%s) - start)) s, $far so far"
	done
}

# fragments NAME[,NAME]...: what these sanitizers add to a kernel's configuration: the
# paths, a line each.
fragments()
{
	for name in $(echo "$1" | tr ',' ' '); do
		[ "$name" != guest ] && [ -r "$top/tools/dev/sanitize/$name.config" ] ||
			die "--sanitize wants kasan, lockdep, kcsan, kmsan, ubsan, kmemleak or rt, not $name"
		echo "$top/tools/dev/sanitize/$name.config"
	done
}

# sanitized_kernel VERSION NAME[,NAME]...: builds the kernel that a guest boots with these
# sanitizers, and prints its lines as tools/kernel does.
sanitized_kernel()
{
	found=$(fragments "$2")
	case $1:$2 in
	6.1:*rt*) die "rt with 6.12 or later: to 6.1 it is a patch of its own; --rt of tools/stress has it" ;;
	7.3:*kmsan*) die "kmsan with 6.1 or 6.12: 7.3 does not take the clang 14 of Debian 12" ;;
	*kmsan*) need clang-14 lld-14 llvm-14 ;;
	esac
	# shellcheck disable=SC2086
	"$top/tools/kernel" build "$1" x86_64 "$top/tools/dev/sanitize/guest.config" $found
}

# build_modules: builds the modules for the kernel that the lines of tools/kernel named
# ($release, $kdir, $arch), and says in $built where. Every checkout and every kernel has
# its own, and a kernel that clang built needs clang for them. $make_options is for make:
# CONFIG_KUNIT= leaves the suites out.
make_options=
build_modules()
{
	built=$cache/modules/$release-$arch-$(echo "$top $kdir" | cksum | cut -d ' ' -f 1)
	in_cache modules
	clang=$(sed -n 's/^CONFIG_CC_VERSION_TEXT=.*clang version \([0-9]*\)\..*/LLVM=-\1/p' \
		"$kdir/.config")
	# shellcheck disable=SC2086
	with_progress "building the modules for $release" flock "$built.lock" \
		make -j"$(nproc)" -C "$top" ARCH="$arch" KDIR="$kdir" BUILD="$built" $clang $make_options
}
