/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What lichen-guard's BPF programs and their loader (lichen_guard/sensor.py, lichen_guard/record.py) agree on.
 * Whoever changes a number or a struct here changes it there as well; tests/guard/test_record.py compares them.
 */
#ifndef LICHEN_GUARD_H
#define LICHEN_GUARD_H

/* Kinds of records. FORK and those after it tell the loader more about others, and become no events. */
enum guard_kind {
	GUARD_KIND_EXEC,
	GUARD_KIND_OPEN,
	GUARD_KIND_CREATE,
	GUARD_KIND_UNLINK,
	GUARD_KIND_RENAME,
	GUARD_KIND_LINK,
	GUARD_KIND_SYMLINK,
	GUARD_KIND_SETATTR,
	GUARD_KIND_CONNECT,
	GUARD_KIND_LISTEN,
	GUARD_KIND_PTRACE,
	GUARD_KIND_MOUNT,
	GUARD_KIND_SETUID,
	GUARD_KIND_MODULE,
	GUARD_KIND_BPF,
	GUARD_KIND_SETNS,
	GUARD_KIND_UNSHARE,
	GUARD_KIND_SIGNAL,
	GUARD_KIND_SETGID,
	GUARD_KIND_SETGROUPS,
	GUARD_KIND_CAPSET,
	GUARD_KIND_FORK,
	GUARD_KIND_SCRIPT,
	GUARD_KIND_RIGHTS,
	GUARD_KINDS,
};

/* watch.Interest */
#define INTEREST_READ 1
#define INTEREST_WRITE 2
#define INTEREST_CHANGE 4
#define INTEREST_REMOVE 8
#define INTEREST_ALL 15
/* Only in cached verdicts: some rule refuses opening this place; who and how is looked up each time. */
#define INTEREST_DENIABLE 16

/* What a place can be refused for: the order of guard_place.deny. */
enum guard_denial {
	GUARD_DENY_EXEC,
	GUARD_DENY_READ,
	GUARD_DENY_WRITE,
	GUARD_DENY_CHANGE,
	GUARD_DENY_UNLINK,
	GUARD_DENIALS,
};

/* Bits of guard_record.number[0] of exec and script. */
#define EXEC_IN_MEMORY 1
#define EXEC_SCRIPT 2
/* Bits of guard_record.number[0] of setattr. */
#define SETATTR_MODE 1
#define SETATTR_OWNER 2

#define PATH_SIZE 4096 /* a power of two */
#define PREFIX_SIZE 256 /* what an LPM trie can hold */
#define NAME_SIZE 64
#define ARGUMENTS_SIZE 16384
#define RECORD_SIZE 32768

/* Head of every record; strings follow, each with its length in two bytes, the lower first. */
struct guard_record {
	__u32 size;
	__u16 kind;
	__u16 lent; /* rights are another's for the moment, as the kernel does for overlays */
	__u64 time;
	__u64 started;
	__u64 parent_started;
	__u64 cgroup;
	__u64 denied; /* bit n: denial n refuses it */
	__u32 tgid;
	__u32 tid;
	__u32 parent;
	__u32 session;
	__u32 uid;
	__u32 gid;
	__u32 real_uid;
	__u32 login_uid;
	__u32 tty;
	__u32 number[5];
	char name[16];
};

/* The loader's orders; it replaces them as a whole. */
struct guard_settings {
	__u64 generation; /* of watches and denials: cached verdicts of others are void */
	__u64 deny_in_memory; /* bit n: denial n is of this kind; these know no places */
	__u64 deny_module;
	__u64 deny_ptrace;
	__u64 deny_bpf; /* of opening what is ours */
	__u32 agent; /* tgid whose own doings are not told */
	__u32 enforcing;
	__u32 deny_exec; /* some place refuses exec */
	__u32 slots; /* how many scratch buffers there are */
};

/* Key and value of the trie of path prefixes. Texts end with '/', so that only whole components fit. */
struct guard_prefix {
	__u32 bits;
	char text[PREFIX_SIZE];
};

struct guard_place {
	__u64 deny[GUARD_DENIALS]; /* bit n: denial n */
	__u32 interest;
	__u32 unused;
};

/* One of the sensor's own, and the command of bpf() that opens such a one. */
struct guard_object {
	__u32 command;
	__u32 id;
};

/* A program file that a denial lets through; the value is a mask of denials. */
struct guard_program {
	__u64 inode;
	__u32 device; /* major << 20 | minor */
	__u32 unused;
};

#endif
