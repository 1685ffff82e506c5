#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The load that test/small.trace.gz is a recording of: mounts, files, processes, pipes, network
# namespaces and sockets are made; then half of it goes. For a busybox guest with 2 CPUs:
#   tools/record-trace -o small.trace.gz sh small-load.sh
for i in 1 2 3 4 5 6 7 8; do
	mkdir -p /tmp/m$i
	mount -t tmpfs none /tmp/m$i
	for j in 1 2 3 4 5 6 7 8 9 10 11 12; do
		echo data | (cd /tmp/m$i && tee a$j b$j c$j d$j e$j f$j g$j h$j i$j j$j >k$j)
	done
done
ls -R /sys/kernel/mm /sys/module/kernel /sys/block >/dev/null
for i in 1 2 3 4; do
	unshare -n sh -c 'ip link set lo up; nc -l -p 80 >/dev/null & sleep 1; echo hello | nc 127.0.0.1 80; sleep 5' &
done
unshare -m sleep 5 &
sleep 6 | sleep 6 | sleep 6 &
sleep 4
for i in 1 3 5 7; do
	rm -r /tmp/m$i/*
	umount /tmp/m$i
done
wait
ls -R /proc/sys/kernel >/dev/null
sleep 2
