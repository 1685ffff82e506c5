#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What tools/test does in a guest with a stock kernel: loads the modules of /modules and uses them. Each
# step prints `ok NAME`, `ok NAME # SKIP REASON` or `not ok NAME`; what it printed and what the log
# has of blockslab is shown if it went wrong, and then what it left is cleaned up, so that the next is
# judged by itself.
#
#   boot.sh [all | again | suites | nodebugfs | left | faults | suspend | asleep | others | counted | quiet | isolated] [SECONDS of each stress]
mode=${1:-all}
seconds=${2:-10}
blockslab=/sys/kernel/debug/blockslab
failed=0
SKIPPED=77

# step NAME COMMAND...: a step's function runs with set -e, in a shell of its own.
step()
{
	name=$1
	shift
	loaded=$(is_loaded blockslab && echo yes)
	# in no list or condition: there set -e would have no effect
	(set -ex; "$@") >/tmp/step 2>&1
	case $? in
	0) echo "ok $name" ;;
	"$SKIPPED") echo "ok $name # SKIP $(cat /tmp/skipped)"
		  clean_up ;;
	*) failed=1
	   sed 's/^/  | /' /tmp/step
	   dmesg | grep 'blockslab\|FAILED' | tail -n 40 | sed 's/^/  > /'
	   echo "not ok $name"
	   clean_up ;;
	esac
}

# skip REASON: ends a step for which there is not all it takes.
skip()
{
	echo "$*" >/tmp/skipped
	exit "$SKIPPED"
}

# What a step that did not come to its end may have left: attributes that let requests fail, CPUs and
# memory that are offline, clients, and blockslab loaded where it was not, or the other way round.
clean_up()
{
	cd /
	for attribute in $blockslab/fail_*/probability; do
		[ ! -e "$attribute" ] || echo 0 >"$attribute"
	done
	for state in /sys/devices/system/cpu/cpu[1-9]*/online; do
		echo 1 >"$state"
	done
	for state in /sys/devices/system/memory/memory*/state; do
		[ "$(cat "$state")" != offline ] || echo online >"$state"
	done
	within $((4 * seconds + 60)) no_client_is_left
	case $loaded in
	yes) is_loaded blockslab || load blockslab ;;
	*) ! is_loaded blockslab || rmmod blockslab ;;
	esac
} >>/tmp/step 2>&1

# A stress that still runs cannot be unloaded yet.
no_client_is_left()
{
	left=0
	while read -r module _; do
		[ "$module" = blockslab ] || [ ! -e "/modules/$module.ko" ] || rmmod "$module" || left=1
	done </proc/modules
	return $left
}

# within SECONDS COMMAND...: waits for it to succeed.
within()
{
	deadline=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -lt $deadline ] || return 1
		usleep 100000
	done
}

# ask VALUE FILE: the kernel may be busy, and is asked again then.
ask()
{
	within 20 sh -c "echo $1 >$2" || skip "the kernel refuses $1 to $2"
}

is_loaded()
{
	grep -q "^$1 " /proc/modules
}

# needs MODULE: one that an earlier step has loaded, if it did not fail.
needs()
{
	is_loaded "$1" || load "$1"
}

load()
{
	module=$1
	shift
	insmod "/modules/$module.ko" "$@"
}

# cell FILE KEY COLUMN: a number in a table of debugfs; the first column is the key.
cell()
{
	awk -v key="$2" -v column="$3" '
		NR == 2 { for (i = 2; i <= NF; i++) if ($i == column) at = i - 1 }
		NR > 2 && $1 == key { print $at }' "$blockslab/$1"
}

refused()
{
	! "$@"
}

# --- steps ------------------------------------------------------------------

module_loads()
{
	! is_loaded blockslab || skip 'it could not be unloaded before'
	load blockslab
	is_loaded blockslab
}

debugfs_is_there()
{
	[ "$(head -n 1 $blockslab/heaps)" = '# blockslab version 2' ]
	[ "$(cell heaps shared limit)" = 0 ]
	[ "$(stat -c %a $blockslab/heaps)" = 400 ]
}

sample_client_allocates()
{
	load blockslab_sample
	[ "$(cell heaps sample slots)" -gt 0 ]
	[ "$(cell heaps sample held)" -le "$(cell heaps sample limit)" ]
}

# every table, of every heap: its version, and sums that agree
tables_agree()
{
	needs blockslab_sample
	for file in $blockslab/heaps $blockslab/heap/*/classes $blockslab/heap/*/blocks \
		    $blockslab/heap/*/callers $blockslab/heap/*/sparse; do
		[ "$(head -n 1 "$file")" = '# blockslab version 2' ]
	done
	for file in $blockslab/heap/*/classes; do
		awk 'NR == 2 { for (i = 2; i <= NF; i++) at[$i] = i - 1 }
		     NR > 2 && $at["allocs"] - $at["frees"] != $at["allocated"] {
			print FILENAME ": " $0; bad = 1
		     }
		     END { exit bad }' "$file"
	done
	awk 'NR > 2 { split($4, used, "/"); map = $5; all = length(map)
		      if (gsub("#", "", map) != used[1] || all != used[2]) { print; bad = 1 } }
	     END { exit bad }' $blockslab/heap/sample/blocks
}

control_files_act()
{
	needs blockslab_sample
	cd $blockslab/heap/sample
	echo 2000000 >limit
	[ "$(cat limit)" = 2000000 ]
	echo 1 >validate
	[ "$(cat validate)" = 0 ]
	echo 1 >shrink
	[ "$(cat shrink)" -ge 0 ]
}

rubbish_is_refused()
{
	needs blockslab_sample
	cd $blockslab/heap/sample
	echo 2000000 >limit
	for file in limit shrink validate track; do
		for text in rubbish -1 '1 2' '' '1                            '; do
			refused sh -c "echo '$text' >$file"
		done
	done
	# below a page; below what is held; past 64 bits, where it would be none
	for text in 1 4096 18446744073709551616 16E; do
		refused sh -c "echo $text >limit"
	done
	[ "$(cat limit)" = 2000000 ]
	for text in 0 2; do
		refused sh -c "echo $text >shrink"
		refused sh -c "echo $text >validate"
	done
	[ "$(cat forget)" = 0 ]
	for text in rubbish 4K9 2G '' 18446744073709551617 16E; do
		refused sh -c "echo '$text' >/sys/module/blockslab/parameters/track"
	done
	[ "$(cat /sys/module/blockslab/parameters/track)" = 0 ]
	echo 0 >limit		# none
	[ "$(cat limit)" = 0 ]
}

refused_without_debugfs()
{
	needs blockslab_sample
	refused rmmod blockslab
}

unloads_without_debugfs()
{
	needs blockslab_sample
	rmmod blockslab_sample
}

# what is tracked: nothing, all, a sample; files of the replayed load
callers()
{
	awk -v column="$1" 'NR == 2 { for (i = 2; i <= NF; i++) if ($i == column) at = i - 1 }
		NR > 2 { sum += $at }
		END { print sum + 0 }' $blockslab/heap/replay/callers
}

tracking_finds_every_caller()
{
	load blockslab_replay
	cd /sys/kernel/debug/blockslab_replay
	cat /small.trace >trace
	echo start all blockslab >control
	[ "$(callers slots)" = 0 ]
	echo 1 >$blockslab/heap/replay/track
	echo run 10000 >control
	[ "$(callers slots)" = "$(cell heaps replay slots)" ]
	head -n 4 $blockslab/heap/replay/callers
	grep -q '^[0-9]* [0-9]* [0-9]* [0-9]* [0-9,-]* [^;]*+0x[^;]*\[blockslab_replay\];' \
		$blockslab/heap/replay/callers
	echo 2048 >$blockslab/heap/replay/track
	echo run end >control
	slots=$(cell heaps replay slots)
	[ "$(callers slots)" -gt $((slots / 2)) ]
	[ "$(callers slots)" -lt $((slots * 2)) ]
	echo 0 >$blockslab/heap/replay/track
	echo free >control
	[ "$(callers slots)" = 0 ]
	echo 1 >$blockslab/heap/replay/validate
	[ "$(cat $blockslab/heap/replay/validate)" = 0 ]
	echo stop >control
	cd /
	rmmod blockslab_replay
}

rmmod_is_refused_to_a_client()
{
	needs blockslab_sample
	refused rmmod blockslab
	is_loaded blockslab
	[ "$(cell heaps sample slots)" -gt 0 ]
}

client_unloads()
{
	needs blockslab_sample
	rmmod blockslab_sample
	[ ! -e $blockslab/heap/sample ]
}

# What a client may leave behind, and what becomes of that.
left_heap_is_reported_once()
{
	dmesg -c >/dev/null
	load blockslab_lives do=left
	[ "$(cell heaps lives module)" = blockslab_lives ]
	[ "$(cell heaps lives state)" = live ]
	rmmod blockslab_lives
	# others get its addresses, and go too
	load blockslab_sample
	grep 'lives_get[^;]*\[blockslab_lives\].*lives_init[^;]*\[blockslab_lives\]' \
		$blockslab/heap/lives/callers
	rmmod blockslab_sample
	[ "$(dmesg | grep -c 'module .* was unloaded and left heap')" = 1 ]
	dmesg | grep 'module blockslab_lives was unloaded and left heap lives behind'
	refused rmmod blockslab
}

a_heap_is_let_go_of()
{
	echo 1 >$blockslab/heap/lives/forget
	[ "$(cell heaps lives state)" = forgotten ]
	echo 1 >$blockslab/heap/lives/forget	# which it is already
	rmmod blockslab
	load blockslab
}

# Of the shared heap, which goes on; unless it has nothing.
shared_slots_are_let_go_of()
{
	refused sh -c "echo 1 >$blockslab/heap/shared/forget"
	load blockslab_lives do=lost
	rmmod blockslab_lives
	refused rmmod blockslab
	dmesg -c >/dev/null
	echo 1 >$blockslab/heap/shared/forget
	echo 1 >$blockslab/heap/shared/forget
	[ "$(cell heaps shared slots)" = 1 ]
	load blockslab_sample
	rmmod blockslab_sample
	rmmod blockslab
	[ "$(dmesg | grep -c 'heap shared was let go of: the 1 pages')" = 1 ]
	dmesg | tail -n 5 | grep ' 1 pages of heaps that were let go of are lost'
	load blockslab
}

referenced_block_is_let_go_of()
{
	dmesg -c >/dev/null
	load blockslab_lives do=refer
	dmesg | grep 'heap lives was destroyed without live slots; 1 of its blocks'
	refused sh -c 'dmesg | grep "with live slots"'
	rmmod blockslab_lives
	refused rmmod blockslab
	echo 1 >$blockslab/heap/lives/forget
	rmmod blockslab
	dmesg | tail -n 5 | grep '[1-9] pages of heaps that were let go of are lost'
	load blockslab
}

destroyed_heap_is_listed()
{
	load blockslab_lives do=drain
	[ "$(cell heaps lives state)" = destroyed ]
	[ "$(cell heaps lives slots)" = 1 ]
	refused sh -c "echo 1M >$blockslab/heap/lives/limit"
	[ "$(cat $blockslab/heap/lives/validate)" = 0 ]
	rmmod blockslab_lives
	[ -z "$(cell heaps lives state)" ]
}

callers_name_init_functions()
{
	load blockslab_lives do=callers
	grep 'lives_init.*\[blockslab_lives\]' $blockslab/heap/lives/callers
	load blockslab_sample
	grep 'lives_init.*\[blockslab_lives\]' $blockslab/heap/lives/callers
	rmmod blockslab_sample
	rmmod blockslab_lives
}

rmmod_follows_a_deferred_free()
{
	load blockslab_lives do=rcu
	rmmod blockslab_lives
	rmmod blockslab
	load blockslab
}

# What the shared heap keeps from reuse holds nobody when its client has gone.
tracked_slots_are_watched()
{
	load blockslab track=4K
	[ "$(cat $blockslab/heap/shared/track)" = 4096 ]
	echo 1 >$blockslab/heap/shared/track
	load blockslab_lives do=written
	dmesg -c >/dev/null
	rmmod blockslab_lives
	dmesg >/tmp/told
	grep 'fault: write after free: slot' /tmp/told
	grep 'fault: write past the slot: slot .* by lives_exit.*\[blockslab_lives\]' /tmp/told
	grep 'from byte 0 of the slot on: 6a 6b .* where 0x6b was expected' /tmp/told
	grep 'from byte 100 of the slot on: cd cc .* where 0xcc was expected' /tmp/told
	[ "$(grep -c 'asked for: 100 bytes, on CPU [0-9]*, [0-9]* ms ago' /tmp/told)" = 2 ]
	[ "$(grep -c 'lives_get.*\[blockslab_lives\]' /tmp/told)" = 2 ]
	[ "$(grep -A 1 'last freed by:' /tmp/told | grep -c 'lives_exit.*\[blockslab_lives\]')" = 2 ]
	rmmod blockslab
}

killed()
{
	dmesg | grep -q "Out of memory: Killed process $1 "
}

# The kernel is asked to kill one, as if there was none left.
run_out_of_memory()
{
	sleep 1000 &
	echo 1000 >/proc/$!/oom_score_adj
	echo f >/proc/sysrq-trigger
	within 60 killed $!
}

# The second time is too soon.
largest_heaps_are_told()
{
	needs blockslab_sample
	load blockslab_lives do=large
	run_out_of_memory
	run_out_of_memory
	rmmod blockslab_lives
	dmesg >/tmp/log
	[ "$(grep -c 'blockslab: [0-9]* heaps hold [0-9]* KiB; the largest:' /tmp/log)" = 1 ]
	grep 'blockslab:   sample: [0-9]* KiB, slots of [0-9]* bytes are [0-9]* KiB of it; made by blockslab_sample' /tmp/log
	grep 'blockslab:   lives: [0-9]* KiB, whole pages are [0-9]* KiB of it; made by blockslab_lives' /tmp/log
	grep 'blockslab:   aside: [0-9]* KiB; made by blockslab_lives' /tmp/log
}

replay_is_undamaged()
{
	load blockslab_replay
	cd /sys/kernel/debug/blockslab_replay
	cat /small.trace >trace
	echo start k blockslab >control
	echo run end >control
	[ "$(cell heaps replay slots)" -gt 0 ]
	echo free >control
	[ "$(awk 'END { print $NF }' control)" = 0 ]
	[ "$(cell heaps replay slots)" = 0 ]
	echo 1 >$blockslab/heap/replay/validate
	[ "$(cat $blockslab/heap/replay/validate)" = 0 ]
	echo stop >control
	cd /
	rmmod blockslab_replay
}

suite_passes()
{
	insmod "/modules/$1_kunit.ko"
	cp "/sys/kernel/debug/kunit/blockslab_$1/results" /tmp/results
	rmmod "$1_kunit"
	grep 'ok .*blockslab_' /tmp/results
	refused grep -B 20 'not ok' /tmp/results
	grep '^ *ok ' /tmp/results | grep -qv 'blockslab_\|# SKIP' ||
		skip "$(sed -n 's/.*# SKIP *//p' /tmp/results | grep -m 1 .)"
}

# By the parameter, but for heaps that can be tracked whole or not at all.
new_heaps_are_sampled()
{
	echo 4096 >/sys/module/blockslab/parameters/track
	suite_passes flags
	echo 0 >/sys/module/blockslab/parameters/track
}

stress_finds_nothing()
{
	load blockslab_stress seconds="$seconds" seed="${seed:-0}"
	dmesg | grep blockslab_stress: | tail -n 2 >/tmp/figures
	rmmod blockslab_stress
}

# Its heaps are made then.
stress_runs()
{
	grep -qs '^stress/' /proc/[0-9]*/comm || ! kill -0 "$stress"
}

# Requests fail by the kernel's own means, where it has them.
failures_by_attributes_are_survived()
{
	load blockslab_stress seconds="$seconds" fail=1 &
	stress=$!
	within 300 stress_runs
	for attribute in $blockslab/fail_*; do
		echo 0 >"$attribute/verbose"
		echo 1000000 >"$attribute/times"
		echo 10 >"$attribute/probability"
	done
	survived=0
	wait $stress || survived=$?
	for attribute in $blockslab/fail_*; do
		echo 0 >"$attribute/probability"
	done
	[ $survived = 0 ]
	for attribute in $blockslab/fail_*; do
		[ "$(cat "$attribute/times")" -lt 1000000 ]
	done
	rmmod blockslab_stress
}

# each_request_fails COMMAND...: with the first request to the kernel's slab allocator failing that
# the command makes, for whatever purpose, then with the second, until it makes no more: until
# twenty in a row did not fail, as not each that does says so. $then is done after each.
each_request_fails()
{
	set +x
	echo 1 >/sys/kernel/debug/failslab/verbose
	echo N >/sys/kernel/debug/failslab/ignore-gfp-wait
	nth=0
	refusals=0
	quiet=0
	while [ $quiet -lt 20 ]; do
		nth=$((nth + 1))
		quiet=$((quiet + 1))
		dmesg -c >/dev/null
		# shellcheck disable=SC2016
		sh -c 'echo $0 >/proc/self/fail-nth && exec "$@"' $nth "$@" >/dev/null 2>&1 ||
			refusals=$((refusals + 1))
		! dmesg | grep -q 'forcing a failure' || quiet=0
		eval "${then:-}"
	done
	echo "$((nth - quiet)) requests, $refusals refusals: $*"
	[ $((nth - quiet)) -gt 10 ]
}

each_request_of_a_load_fails()
{
	then='! is_loaded blockslab || rmmod blockslab'
	each_request_fails insmod /modules/blockslab.ko
	load blockslab
	rmmod blockslab
}

each_request_of_a_client_fails()
{
	then='! is_loaded blockslab_sample || rmmod blockslab_sample'
	each_request_fails insmod /modules/blockslab_sample.ko
	[ ! -e $blockslab/heap/sample ]
}

each_request_of_a_reader_fails()
{
	load blockslab_sample
	then=
	each_request_fails sh -c "echo 1 >$blockslab/heap/sample/track"
	load blockslab_replay
	cd /sys/kernel/debug/blockslab_replay
	cat /small.trace >trace
	echo start k blockslab >control
	echo 1 >$blockslab/heap/replay/track
	echo run 10000 >control
	for file in heaps heap/replay/callers heap/replay/sparse heap/replay/blocks heap/replay/classes; do
		each_request_fails cat $blockslab/$file
	done
	[ "$(callers slots)" = "$(cell heaps replay slots)" ]
	echo 1 >$blockslab/heap/replay/validate
	[ "$(cat $blockslab/heap/replay/validate)" = 0 ]
	echo stop >control
	cd /
	rmmod blockslab_replay
	rmmod blockslab_sample
}

# Two scans: an object that changed since the last one is not reported.
kmemleak_scans()
{
	for scan in 1 2; do
		sleep 6
		echo scan >/sys/kernel/debug/kmemleak
	done
}

kmemleak_sees_what_is_lost()
{
	kmemleak_scans &
	load kmemleak_kunit wait=30
	wait
	grep 'ok .*blockslab_kmemleak' /sys/kernel/debug/kunit/blockslab_kmemleak/results
	refused grep -B 20 'not ok\|SKIP' /sys/kernel/debug/kunit/blockslab_kmemleak/results
	rmmod kmemleak_kunit
}

kmemleak_sees_no_more()
{
	kmemleak_scans
	cat /sys/kernel/debug/kmemleak
	[ -z "$(cat /sys/kernel/debug/kmemleak)" ]
}

cpus()
{
	for online in /sys/devices/system/cpu/cpu[1-9]*/online; do
		ask "$1" "$online"
	done
}

cpus_come_and_go_under_load()
{
	load blockslab_stress seconds="$seconds" &
	stress=$!
	within 300 stress_runs
	rounds=0
	while kill -0 $stress 2>/dev/null; do
		cpus 0
		sleep 1
		echo 2 >/proc/sys/vm/drop_caches	# asks every shrinker
		cpus 1
		rounds=$((rounds + 1))
	done
	wait $stress
	[ $rounds -gt 0 ]
	rmmod blockslab_stress
	[ "$(cat /sys/devices/system/cpu/online)" = "$(cat /sys/devices/system/cpu/present)" ]
}

# pages of a destroyed heap, until memory is short
quarantine_keeps_pages()
{
	parameters=/sys/module/blockslab/parameters
	[ "$(cat $parameters/quarantined)" = 0 ]
	echo 64 >$parameters/quarantine_kib
	load blockslab_sample
	rmmod blockslab_sample
	[ "$(cat $parameters/quarantined)" -gt 0 ]
	[ "$(cat $parameters/quarantined)" -le 16 ]
	kept=$(cat $parameters/quarantined)
	echo 4 >$parameters/quarantine_kib
	[ "$(cat $parameters/quarantined)" -lt "$kept" ]
	echo 2 >/proc/sys/vm/drop_caches
	[ "$(cat $parameters/quarantined)" = 0 ]
	echo 0 >$parameters/quarantine_kib
}

memory_can_go_offline()
{
	grep -qs '^Movable' /sys/devices/system/memory/memory*/valid_zones
}

# What was given out before is still told from what was not. Each block of memory may have a page that
# somebody holds for a while, and the kernel refuses.
memory_goes_offline()
{
	needs blockslab_sample
	within 60 some_memory_goes_offline || skip 'the kernel refuses every block of movable memory'
	echo 1 >$blockslab/heap/sample/validate
	[ "$(cat $blockslab/heap/sample/validate)" = 0 ]
	dmesg -c >/dev/null
	client_unloads
	refused sh -c 'dmesg | grep "fault:\|live slots"'
}

some_memory_goes_offline()
{
	gone=
	echo 3 >/proc/sys/vm/drop_caches
	echo 1 >/proc/sys/vm/compact_memory
	for memory in /sys/devices/system/memory/memory*; do
		grep -q '^Movable' "$memory/valid_zones" || continue
		! echo offline >"$memory/state" || gone=$memory
	done
	[ "$gone" ] && [ "$(cat "$gone/state")" = offline ]
}

# Suspended to memory by itself; tools/vm wakes who sleeps. A wakeup before that ends an attempt.
suspends()
{
	echo mem >/sys/power/state
}

guest_suspends_and_resumes()
{
	needs blockslab_sample
	slots=$(cell heaps sample slots)
	echo deep >/sys/power/mem_sleep
	within 60 suspends || skip 'something wakes the guest at once'
	dmesg | grep 'ACPI: PM: Waking up from system sleep state S3'
	[ "$(cat /sys/devices/system/cpu/online)" = "$(cat /sys/devices/system/cpu/present)" ]
	[ "$(cell heaps sample slots)" = "$slots" ]
	echo 1 >$blockslab/heap/sample/validate
	[ "$(cat $blockslab/heap/sample/validate)" = 0 ]
}

memory_is_given_back()
{
	echo 3 >/proc/sys/vm/drop_caches
	echo 1 >$blockslab/heap/shared/shrink
	[ "$(cell heaps shared blocks)" = 0 ]
}

client_leaves_slots()
{
	load blockslab_faults
	echo leave >/sys/kernel/debug/blockslab_faults/run
	rmmod blockslab_faults
}

what_was_left_is_seen()
{
	[ -d $blockslab/heap/left ] || client_leaves_slots
	[ "$(cell heaps left slots)" = 256 ]
	echo 1 >$blockslab/heap/left/validate
	[ "$(cat $blockslab/heap/left/validate)" = 0 ]
	echo 1 >$blockslab/heap/left/shrink
	[ "$(cell heaps left slots)" = 256 ]
}

rmmod_is_granted()
{
	rmmod blockslab
	[ ! -e $blockslab ]
}

# tools/faults says what comes of each; here all happen in one kernel, which goes on.
fault_is_survived()
{
	echo "$*" >/sys/kernel/debug/blockslab_faults/run
	echo 1 >$blockslab/heap/shared/validate
	[ "$(cat $blockslab/heap/shared/validate)" = 0 ]
}

faults()
{
	load blockslab_faults
	for way in default debug; do
		while read -r row _; do
			# leaves a task that is no more behind
			[ "$row" = client-oopses ] ||
				step "$row, $way" fault_is_survived "$row" blockslab "$way"
		done </sys/kernel/debug/blockslab_faults/rows
	done
}

question_is_answered()
{
	load blockslab_ask ask="$1"
	rmmod blockslab_ask
	echo 1 >$blockslab/heap/shared/validate
	[ "$(cat $blockslab/heap/shared/validate)" = 0 ]
}

# The question brings a reference in the midst of the kernel's split_page().
cut_pages_are_nobody_else_s()
{
	grep -q ' register_kretprobe$' /proc/kallsyms || skip 'this kernel has no kretprobes'
	question_is_answered cut
}

# Under the options that look for it: each call, though it found a slot at hand.
waits_under_a_lock_are_told()
{
	dmesg -c >/dev/null
	load blockslab_ask ask=wait
	rmmod blockslab_ask
	dmesg >/tmp/told
	calls=$(sed -n 's/.*blockslab_ask: \([0-9]*\) calls that may wait.*/\1/p' /tmp/told)
	[ "$(grep -c 'BUG: sleeping function called from invalid context' /tmp/told)" = "$calls" ]
}

# kib NAME: of /proc/meminfo
kib()
{
	awk -v name="$1:" '$1 == name { print $2 }' /proc/meminfo
}

# slots_are_summed_up ASK NAME: 32 MiB of slots are in that sum, and again not in it; CPUs tell the sum
# what has changed some pages at a time
slots_are_summed_up()
{
	before=$(kib "$2")
	load blockslab_ask ask="$1"
	with=$(kib "$2")
	rmmod blockslab_ask
	after=$(kib "$2")
	echo "$before $with $after"
	[ $((with - before)) -gt 28000 ]
	[ $((with - before)) -lt 40000 ]
	[ $((with - after)) -gt 28000 ]
}

the_waiting_is_told()
{
	dmesg | grep 'heap nofail: .* may not fail, and waits until there is room for 2097152 bytes'
}

is_held()
{
	[ "$(cell heaps "$1" slots)" = 1 ]
}

# A limit holds for who may not fail, until it is raised.
who_may_not_fail_waits_and_is_told()
{
	load blockslab_ask ask=nofail
	within 20 the_waiting_is_told
	[ "$(cell heaps nofail held)" -le 1048576 ]
	echo 4M >$blockslab/heap/nofail/limit
	within 20 is_held nofail
	rmmod blockslab_ask
}

# One writes what is granted, others what must be refused: none of them undoes what it wrote.
limits_are_not_undone()
{
	load blockslab_ask ask=unreclaimable
	cd $blockslab/heap/unreclaimable
	for writer in 1 2; do
		while [ ! -e /tmp/written ]; do
			! echo 1M >limit || touch /tmp/lost
		done 2>/dev/null &
	done
	for round in $(seq 100 400); do
		echo "${round}M" >limit
		[ "$(cat limit)" = $((round * 1048576)) ] || touch /tmp/lost
	done
	touch /tmp/written
	wait
	rm /tmp/written
	cd /
	rmmod blockslab_ask
	[ ! -e /tmp/lost ]
}

# The kernel refuses what could change it, and gives what is only read.
a_locked_kernel_is_looked_at()
{
	mount -t securityfs none /sys/kernel/security 2>/dev/null || :
	[ -e /sys/kernel/security/lockdown ] || skip 'this kernel cannot be locked down'
	load blockslab_sample
	echo integrity >/sys/kernel/security/lockdown
	for file in heaps heap/sample/classes heap/sample/blocks heap/sample/sparse heap/sample/callers; do
		[ "$(head -n 1 "$blockslab/$file")" = '# blockslab version 2' ]
	done
	refused sh -c "echo 1 >$blockslab/heap/sample/shrink"
	rmmod blockslab_sample
}

# forgotten_heap_is_told LATE: once, at its module's going; the stranger is never blamed.
forgotten_heap_is_told()
{
	dmesg -c >/dev/null
	load blockslab_forgets late="$1"
	rmmod blockslab_forgets
	load blockslab_stranger
	rmmod blockslab_stranger
	dmesg >/tmp/told
	[ "$(grep -c 'blockslab: .*blockslab_forgets' /tmp/told)" = 1 ]
	refused grep 'blockslab: .*stranger' /tmp/told
}

# Of one CPU, how often others called it.
calls()
{
	awk -v cpu="$1" '$1 == "CAL:" { print $(cpu + 2) }' /proc/interrupts
}

hog_came_round()
{
	[ "$(cell heap/hog/classes 64 allocs)" -gt "$far" ]
}

# the bytes that the heaps of a question hold
asked_heaps_hold()
{
	awk '$1 ~ /^ask-/ { held += $4 } END { print held + 0 }' $blockslab/heaps
}

# at once, before they would by themselves
equal_heaps_are_shrunk()
{
	load blockslab_ask ask=equals
	[ "$(asked_heaps_hold)" -gt 0 ]
	echo 2 >/proc/sys/vm/drop_caches
	held=$(asked_heaps_hold)
	rmmod blockslab_ask
	[ "$held" = 0 ]
}

# CPU 3 is isolated; a heap is used on CPU 0, and trimmed while that rests, five times in each try. The
# kernel may have reasons of its own to call CPU 3, but not every time.
others_are_left_alone()
{
	clear_the_isolated
	load blockslab_ask ask=hog
	for try in 1 2 3; do
		before=$(calls 3)
		far=$(($(cell heap/hog/classes 64 allocs) + 320))
		within 120 hog_came_round
		called=$(($(calls 3) - before))
		echo "calls of CPU 3, try $try: $called"
		[ $called != 0 ] || break
	done
	rmmod blockslab_ask
	[ $called = 0 ]
}

# A kernel that counts branches has the figures here, also of a module that is gone.
take_counts()
{
	find /sys/kernel/debug/gcov -name blockslab.gcda -exec cat {} + >/tmp/blockslab.gcda
}

suites()
{
	for suite in /modules/*_kunit.ko; do
		[ -d /sys/module/kunit ] || break
		suite=$(basename "$suite" _kunit.ko)
		step "suite blockslab_$suite" suite_passes "$suite"
	done
}

stress()
{
	step "$seconds seconds of everything on all CPUs" stress_finds_nothing
	cat /tmp/figures
}

# interruptions [CPU]: how often that CPU was interrupted to call a function so far, or all together were
interruptions()
{
	awk -v cpu="${1:-all}" '$1 == "CAL:" {
		for (i = 2; i <= 5; i++)
			if (cpu == "all" || cpu == i - 2)
				sum += $i
		print sum
	}' /proc/interrupts
}

cached()
{
	awk 'NR == 2 { for (i = 2; i <= NF; i++) if ($i == "cached") at = i - 1 }
	     NR > 2 { sum += $at }
	     END { print sum + 0 }' $blockslab/heap/errand/classes
}

cached_is_less_than()
{
	[ "$(cached)" -lt "$1" ]
}

# As who isolates CPU 3 does: threads of the kernel that might run there run on the other three. It places its
# kcompactd of that node where it likes, and a CPU is called each time it wakes, twice a second.
clear_the_isolated()
{
	for process in /proc/[0-9]*; do
		taskset -p 7 "${process#/proc/}" || :	# some are bound, and others gone
	done >/dev/null 2>&1
}

# A trim takes what CPU 1 caches, and leaves what CPU 3 does: that one is isolated.
trims_spare_the_isolated()
{
	[ "$(cat /sys/devices/system/cpu/isolated)" = 3 ] || skip 'this kernel isolates no CPU'
	clear_the_isolated
	load blockslab_errand
	run=/sys/module/blockslab_errand/parameters/run
	echo cpu 3 >$run
	isolated=$(cached)
	[ "$isolated" -gt 0 ]
	echo cpu 1 >$run
	both=$(cached)
	[ "$both" -gt "$isolated" ]
	before=$(interruptions 3)
	within 20 cached_is_less_than "$both"
	for round in 1 2 3 4 5 6 7 8 9 10; do
		echo 1 >$blockslab/heap/errand/shrink
	done
	[ "$(cached)" = "$isolated" ]
	[ $(($(interruptions 3) - before)) -lt 10 ]	# the kernel has reasons of its own
	rmmod blockslab_errand
}

# A request that may not fail has what an isolated CPU caches, if there is nothing else.
the_isolated_give_what_must_be_had()
{
	load blockslab_errand
	echo surely 3 >/sys/module/blockslab_errand/parameters/run & errand=$!
	within 30 refused kill -0 $errand 2>/dev/null
	wait $errand
	rmmod blockslab_errand
}

# CPU 3's node has none.
nodes_without_memory_have_slots()
{
	[ "$(cat /sys/devices/system/node/has_memory)" = 0 ]
	load blockslab_errand
	echo nolock 3 >/sys/module/blockslab_errand/parameters/run
	rmmod blockslab_errand
}

# What a CPU defers on its way out is freed, and all that others defer afterwards.
dying_cpus_defer()
{
	load blockslab_errand
	echo dying 1 >/sys/module/blockslab_errand/parameters/run
	rmmod blockslab_errand
}

# A CPU has what it caches of another node, where its own has nothing.
slots_of_other_nodes_serve()
{
	[ -d /sys/devices/system/node/node1 ] || skip 'there is one node'
	load blockslab_errand
	echo elsewhere 0 >/sys/module/blockslab_errand/parameters/run
	rmmod blockslab_errand
}

heaps_shown()
{
	ls $blockslab/heap | grep -c '^errand-'
}

# Who looks first has not the memory for what all see from then on.
poor_readers_hide_no_heap()
{
	mkdir -p /cgroup
	mount -t cgroup2 none /cgroup && echo +memory >/cgroup/cgroup.subtree_control ||
		skip 'this kernel has no memory cgroups'
	mkdir /cgroup/poor
	echo 1500K >/cgroup/poor/memory.max
	load blockslab_errand
	echo keep 300 >/sys/module/blockslab_errand/parameters/run
	sh -c "echo \$\$ >/cgroup/poor/cgroup.procs; ls $blockslab/heap" >/dev/null || :
	[ "$(heaps_shown)" = 300 ]
	[ "$(ls -d $blockslab/heap/errand-*/forget | wc -l)" = 300 ]
	rmmod blockslab_errand
	rmdir /cgroup/poor
	umount /cgroup
}

some_is_cached()
{
	echo cpu 0 >/sys/module/blockslab_errand/parameters/run
	[ "$(cached)" -gt 0 ]
}

# What every CPU has of a class comes with use.
classes_cost_little()
{
	cpus=$(sed 's/.*-//' /sys/devices/system/cpu/possible)
	[ "$cpus" -ge 100 ] || skip "this kernel believes in $((cpus + 1)) possible CPUs"
	load blockslab_errand
	echo classes 10 >/sys/module/blockslab_errand/parameters/run
	[ "$(cached)" = 0 ]
	within 20 some_is_cached
	rmmod blockslab_errand
}

heaps_end_without_interrupts()
{
	load blockslab_errand
	before=$(interruptions)
	echo heaps 300 >/sys/module/blockslab_errand/parameters/run
	[ $(($(interruptions) - before)) -lt 300 ]
	before=$(interruptions)
	echo everywhere 300 >/sys/module/blockslab_errand/parameters/run
	[ "$(grep -c '^errand-' $blockslab/heaps)" = 0 ]
	rmmod blockslab_errand
	[ $(($(interruptions) - before)) -lt 300 ]
}

# --- which ------------------------------------------------------------------

[ ! -d /sys/kernel/debug/gcov ] || trap take_counts EXIT

step 'the module loads' module_loads
case $mode in
nodebugfs)
	step 'without debugfs a client allocates' load blockslab_sample
	step 'without debugfs nothing is listed' refused test -e $blockslab
	step 'without debugfs rmmod is refused to a client' refused_without_debugfs
	step 'without debugfs the client unloads' unloads_without_debugfs
	step 'without debugfs the module unloads' rmmod blockslab
	exit $failed
	;;
again)
	# what all does with the kernel's own idea of init_on_alloc and the like, for another
	suites
	stress
	! memory_can_go_offline || {
		step 'memory goes offline, and what was allocated is freed' memory_goes_offline
		stress
	}
	step 'memory is given back' memory_is_given_back
	step 'the module unloads' rmmod blockslab
	exit $failed
	;;
suites)
	suites
	step 'the module unloads' rmmod blockslab
	exit $failed
	;;
left)
	step 'classes cost little where CPUs are many' classes_cost_little
	step 'a client unloads and leaves its slots' client_leaves_slots
	step 'what it left is seen, and whole' what_was_left_is_seen
	step 'rmmod is refused to it for ever' refused rmmod blockslab
	step 'another client goes on' sample_client_allocates
	step 'and unloads' client_unloads
	exit $failed
	;;
isolated)
	step 'a trim leaves an isolated CPU alone' trims_spare_the_isolated
	step 'but a request that may not fail does not' the_isolated_give_what_must_be_had
	step 'heaps end without an interrupt each' heaps_end_without_interrupts
	step 'a CPU whose node has no memory has slots cached' nodes_without_memory_have_slots
	exit $failed
	;;
faults)
	faults
	step 'another client goes on' sample_client_allocates
	step 'and unloads' client_unloads
	exit $failed
	;;
asleep)
	step 'a call that may wait is told under a lock, though it need not' waits_under_a_lock_are_told
	exit $failed
	;;
others)
	step 'what realloc() adds is zero' question_is_answered rezero
	step 'no slot is in zone Movable' question_is_answered zone
	step 'no slot is sent without a copy' question_is_answered sendpage
	step 'references to pages come and go' question_is_answered pages
	step 'a page that is held is nobody else'"'"'s' question_is_answered held
	step 'nor one that is held as pages are cut to size' cut_pages_are_nobody_else_s
	step 'kfree() of a slot harms nothing else' question_is_answered kfree
	step 'a forgotten heap is told, made by code that is gone' forgotten_heap_is_told 0
	step 'a forgotten heap is told, made by code that stays' forgotten_heap_is_told 1
	step 'all of a slot may be used' question_is_answered usable
	step '1024 classes are first used in atomic context' question_is_answered atomic
	step 'slots are of the node asked for' question_is_answered thisnode
	step 'heaps that keep as much as each other are shrunk' equal_heaps_are_shrunk
	step 'what is allocated in any context is zeroed' question_is_answered nolock
	step 'slots are in SUnreclaim' slots_are_summed_up unreclaimable SUnreclaim
	step 'those of a reclaimable heap are in KReclaimable' slots_are_summed_up reclaimable KReclaimable
	step 'who may not fail waits at a limit, and is told' who_may_not_fail_waits_and_is_told
	step 'a limit is not undone by others who write it' limits_are_not_undone
	step 'a kernel that is locked down is looked at' a_locked_kernel_is_looked_at
	exit $failed
	;;
counted)
	step 'a refusal costs what the kernel'"'"'s do' question_is_answered refusal
	step 'a pair costs the same above a hole' question_is_answered pair
	exit $failed
	;;
quiet)
	step 'a CPU with nothing of a heap is left alone' others_are_left_alone
	step 'the module unloads' rmmod blockslab
	exit $failed
	;;
suspend)
	grep -q deep /sys/power/mem_sleep 2>/dev/null || exit $failed
	step 'the sample client allocates' load blockslab_sample
	step 'the guest suspends and resumes' guest_suspends_and_resumes
	step 'and goes on, under stress' stress_finds_nothing
	step 'the client unloads' client_unloads
	exit $failed
	;;
esac
step 'debugfs lists the shared heap' debugfs_is_there
step 'the sample client allocates' sample_client_allocates
step 'all tables agree with themselves' tables_agree
step 'files written to act do' control_files_act
step 'rubbish is refused' rubbish_is_refused
step 'the largest heaps are told where memory runs out' largest_heaps_are_told
step 'rmmod is refused while a client holds a heap' rmmod_is_refused_to_a_client
step 'the client unloads' client_unloads
step 'a heap left behind is reported once, whoever has its address' left_heap_is_reported_once
step 'and can be let go of' a_heap_is_let_go_of
step 'so can one whose page somebody has a reference on' referenced_block_is_let_go_of
step 'a heap destroyed with live slots is listed until they are freed' destroyed_heap_is_listed
step 'callers name functions whose memory went' callers_name_init_functions
step 'rmmod is granted right after a deferred free' rmmod_follows_a_deferred_free
step 'a recorded load is replayed undamaged' replay_is_undamaged
step 'tracking finds every caller' tracking_finds_every_caller
suites
[ ! -d /sys/module/kunit ] || step 'new heaps are sampled if asked' new_heaps_are_sampled
stress
[ ! -d $blockslab/fail_pages ] ||
	step 'failures by fault attributes are survived' failures_by_attributes_are_survived
step 'CPUs go offline and come back under load' cpus_come_and_go_under_load
[ ! -e /sys/devices/system/cpu/cpu1/online ] ||
	step 'what a CPU defers on its way out is freed' dying_cpus_defer
step 'what a CPU caches of another node serves it' slots_of_other_nodes_serve
step 'who looks with little memory hides no heap' poor_readers_hide_no_heap
step 'pages of a destroyed heap are kept from reuse if asked' quarantine_keeps_pages
[ ! -e /sys/kernel/debug/kmemleak ] || {
	step 'kmemleak sees what is lost' kmemleak_sees_what_is_lost
	step 'kmemleak sees nothing else' kmemleak_sees_no_more
}
step 'memory is given back' memory_is_given_back
step 'rmmod is granted when no client is left' rmmod_is_granted
step 'the module loads again' module_loads
step 'and unloads again' rmmod_is_granted
step 'tracked slots are watched from the load on' tracked_slots_are_watched
[ ! -e /proc/self/fail-nth ] || [ ! -d /sys/kernel/debug/failslab ] || {
	step 'each request of a load fails, and it is undone' each_request_of_a_load_fails
	load blockslab
	step 'each request of a client fails, and it is undone' each_request_of_a_client_fails
	step 'each request of a reader fails, and no more' each_request_of_a_reader_fails
	step 'and all unloads' rmmod blockslab
}
exit $failed
