// SPDX-License-Identifier: GPL-2.0
/*
 * lichen-guard's sensor: tells what processes do, and refuses what rules forbid.
 *
 * Every program here is optional to the loader: a kernel without one of the hooks keeps the others.
 * No fetching atomics: not every architecture's JIT has them.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "lichen-guard.h"

char LICENSE[] SEC("license") = "GPL";

/* Macros of the kernel, which no vmlinux.h carries. */
#define EPERM 1
#define S_IFMT 0170000
#define S_IFDIR 0040000
#define O_WRONLY 01
#define O_TRUNC 01000
#define FMODE_READ 1
#define FMODE_WRITE 2
#define FMODE_EXEC 0x20
#define FMODE_BACKING (1u << 25)
#define PTRACE_MODE_ATTACH 2
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define ATTR_MODE_MASK 07777
#define CLONE_NEWTIME 0x00000080
#define CLONE_NEWNS 0x00020000
#define CLONE_NEWCGROUP 0x02000000
#define CLONE_NEWUTS 0x04000000
#define CLONE_NEWIPC 0x08000000
#define CLONE_NEWUSER 0x10000000
#define CLONE_NEWPID 0x20000000
#define CLONE_NEWNET 0x40000000
#define CLONE_NEW_ANY                                                                                             \
	(CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |            \
	 CLONE_NEWPID | CLONE_NEWNET)

#define MAX_DEPTH 4096
#define SLOTS_TRIED 8

/* Memory to make a record in, far too much for the stack. */
struct guard_scratch {
	struct guard_prefix key;
	struct guard_place place;
	u32 interest;
	u32 depth;
	u64 dentry;
	u64 mount;
	u32 start;
	u32 used;
	u32 cut;
	u32 finished;
	char names[2][NAME_SIZE];
	char path[PATH_SIZE + 256];
	char record[RECORD_SIZE] __attribute__((aligned(8)));
};

struct guard_slot {
	struct bpf_spin_lock lock;
	u32 busy;
};

/* The loader sets the sizes of these three. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct guard_scratch);
} scratches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct guard_slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GUARD_KINDS);
	__type(key, u32);
	__type(value, u64);
} lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct guard_prefix);
	__type(value, struct guard_place);
} places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, char[NAME_SIZE]);
	__type(value, u32);
} names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct guard_program);
	__type(value, u64);
} exempt SEC(".maps");

/* The sensor's own maps, programs and links, for those who open one by its number. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct guard_object);
	__type(value, u32);
} ours SEC(".maps");

/* Per inode one word: what is known of it in the lowest byte, above it a digest of what that depends on. */
struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} verdicts SEC(".maps");

struct guard_settings settings SEC(".data.settings");

/* Counts renames of folders and changes of mounts; together with the loader's generation it dates verdicts. */
u64 moves;

/* The reader that has not come so far in the ring was waked, and has not gone back to sleep since. */
u64 waked;

/* ---------- scratch, records ---------- */

static __always_inline bool own(void)
{
	return bpf_get_current_pid_tgid() >> 32 == settings.agent;
}

static __always_inline void lose(u32 kind)
{
	u64 *count = bpf_map_lookup_elem(&lost, &kind);

	if (count)
		*count += 1;
}

/* Per-CPU memory would not do: programs can be preempted, and the next task runs them on the same CPU. */
static __noinline u32 take(void)
{
	u32 first = bpf_get_smp_processor_id() * 2, total = settings.slots;

	for (u32 tried = 0; tried < SLOTS_TRIED; tried++) {
		u32 number = total ? (first + tried) % total : 0, busy;
		struct guard_slot *slot = bpf_map_lookup_elem(&slots, &number);

		if (!slot)
			break;
		bpf_spin_lock(&slot->lock);
		busy = slot->busy;
		slot->busy = 1;
		bpf_spin_unlock(&slot->lock);
		if (!busy)
			return number;
	}
	return ~0u;
}

static __noinline void give(u32 number)
{
	struct guard_slot *slot = bpf_map_lookup_elem(&slots, &number);

	if (slot) {
		bpf_spin_lock(&slot->lock);
		slot->busy = 0;
		bpf_spin_unlock(&slot->lock);
	}
}

static __always_inline struct guard_record *head(struct guard_scratch *s)
{
	return (struct guard_record *)s->record;
}

/* An empty record in a buffer of our own, or NULL (and counted) when all are in use. The number is for give(). */
static __always_inline struct guard_scratch *begin(u32 kind, u32 *number)
{
	struct guard_scratch *s;

	*number = take();
	s = bpf_map_lookup_elem(&scratches, number);
	if (!s) {
		lose(kind);
		return NULL;
	}
	__builtin_memset(s->record, 0, sizeof(struct guard_record));
	head(s)->kind = kind;
	s->used = sizeof(struct guard_record);
	return s;
}

/* Adds a string of the kernel (or with user of the process), without what is over limit. */
static __noinline void append(struct guard_scratch *s, const void *text, u32 length, bool user)
{
	u32 at = s->used;

	if (at > RECORD_SIZE - ARGUMENTS_SIZE - 2)
		return;
	if (length > ARGUMENTS_SIZE)
		length = ARGUMENTS_SIZE;
	barrier_var(length);
	if (length > ARGUMENTS_SIZE)
		return;
	if (user ? bpf_probe_read_user(s->record + at + 2, length, text) :
		   bpf_probe_read_kernel(s->record + at + 2, length, text))
		length = 0;
	/* By bytes: riscv64's verifier refuses unaligned words. */
	s->record[at] = length & 0xff;
	s->record[at + 1] = length >> 8;
	s->used = at + 2 + length;
}

static __always_inline void append_path(struct guard_scratch *s)
{
	u32 start = s->start;

	/* An ellipsis for the side that is missing: in UTF-8. */
	if (s->cut)
		__builtin_memcpy(s->path + PATH_SIZE, "/\xe2\x80\xa6", 4);
	if (start >= PATH_SIZE)
		append(s, "/", 1, false);
	else
		append(s, s->path + start, PATH_SIZE - start + (s->cut ? 4 : 0), false);
}

/* A string of the kernel that ends with a zero. */
static __noinline void append_text(struct guard_scratch *s, const char *text)
{
	u32 at = s->used;
	long length = 0;

	if (at > RECORD_SIZE - PATH_SIZE - 2)
		return;
	if (text)
		length = bpf_probe_read_kernel_str(s->record + at + 2, PATH_SIZE, text);
	length = length > 0 && length <= PATH_SIZE ? length - 1 : 0;
	s->record[at] = length & 0xff;
	s->record[at + 1] = length >> 8;
	s->used = at + 2 + length;
}

static __always_inline u64 cgroup_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
}

/* Who: everything of a record that is the same for all kinds. */
static __noinline void describe(struct guard_scratch *s, struct task_struct *task)
{
	struct guard_record *r = head(s);
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct tty_struct *tty = BPF_CORE_READ(signal, tty);
	const struct cred *cred = BPF_CORE_READ(task, cred);

	r->time = bpf_ktime_get_boot_ns();
	r->tgid = BPF_CORE_READ(task, tgid);
	r->tid = BPF_CORE_READ(task, pid);
	r->started = BPF_CORE_READ(leader, start_boottime);
	r->parent = BPF_CORE_READ(parent, tgid);
	r->parent_started = BPF_CORE_READ(parent, group_leader, start_boottime);
	r->cgroup = cgroup_of(task);
	r->session = BPF_CORE_READ(signal, pids[PIDTYPE_SID], numbers[0].nr);
	r->uid = BPF_CORE_READ(cred, euid.val);
	r->gid = BPF_CORE_READ(cred, egid.val);
	r->real_uid = BPF_CORE_READ(cred, uid.val);
	r->lent = cred != BPF_CORE_READ(task, real_cred);
	r->login_uid = 0xffffffff;
	if (bpf_core_field_exists(task->loginuid))
		r->login_uid = BPF_CORE_READ(task, loginuid.val);
	if (tty) {
		struct tty_driver *driver = BPF_CORE_READ(tty, driver);
		u32 minor = BPF_CORE_READ(driver, minor_start) + BPF_CORE_READ(tty, index);

		r->tty = (u32)BPF_CORE_READ(driver, major) << 20 | (minor & 0xfffff);
	}
	bpf_core_read(&r->name, sizeof(r->name), &task->comm);
}

/*
 * Nobody waits for what becomes no event: it is read with the next record. Left to itself the kernel wakes a reader that
 * waits for the very record that comes, and so none that such a record lies before.
 */
static __noinline void send(struct guard_scratch *s, struct task_struct *task)
{
	u64 flags = BPF_RB_NO_WAKEUP, place = 0;
	u32 size = s->used;

	describe(s, task);
	barrier_var(size);
	if (size > RECORD_SIZE)
		return;
	head(s)->size = size;
	if (head(s)->kind < GUARD_KIND_FORK) {
		place = bpf_ringbuf_query(&ring, BPF_RB_PROD_POS);
		/* Once is enough until it has read this record: it reads on to the end of the ring. */
		flags = bpf_ringbuf_query(&ring, BPF_RB_CONS_POS) >= waked ? BPF_RB_FORCE_WAKEUP : 0;
	}
	if (bpf_ringbuf_output(&ring, s->record, size, flags))
		lose(head(s)->kind);
	else if (flags == BPF_RB_FORCE_WAKEUP)
		waked = place + 1;
}

static __always_inline void tell(struct guard_scratch *s)
{
	send(s, bpf_get_current_task_btf());
}

/* A record of numbers alone. */
static __noinline void tell_numbers(u32 kind, u32 first, u32 second, u64 denied)
{
	u32 number;
	struct guard_scratch *s = begin(kind, &number);

	if (!s)
		return;
	head(s)->number[0] = first;
	head(s)->number[1] = second;
	head(s)->denied = denied;
	tell(s);
	give(number);
}

/* ---------- paths, interest, denials ---------- */

/* One step up; components are laid before those that are there already. */
static long climb(u32 step, void *context)
{
	struct guard_scratch *s = *(struct guard_scratch **)context;
	struct dentry *dentry = (struct dentry *)s->dentry, *parent = BPF_CORE_READ(dentry, d_parent);
	struct mount *mount = (struct mount *)s->mount;
	const unsigned char *text;
	u32 length, start = s->start, depth = s->depth;

	if (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
		struct mount *above = BPF_CORE_READ(mount, mnt_parent);

		if (above == mount || !above) {
			s->finished = 1;
			return 1;
		}
		s->dentry = (u64)BPF_CORE_READ(mount, mnt_mountpoint);
		s->mount = (u64)above;
		return 0;
	}
	length = BPF_CORE_READ(dentry, d_name.len);
	text = BPF_CORE_READ(dentry, d_name.name);
	if (length > 255)
		length = 255;
	/* Too long: the side of the root is what prefixes are compared with, so the leaf's side goes. */
	if (start < length + 1 || start > PATH_SIZE) {
		start = PATH_SIZE;
		s->cut = 1;
	}
	start -= length + 1;
	start &= PATH_SIZE - 1;
	s->path[start] = '/';
	barrier_var(length);
	if (length > 255)
		return 1;
	bpf_probe_read_kernel(&s->path[start + 1], length, text);
	if (depth < 2) {
		length &= 255;
		if (length < NAME_SIZE)
			bpf_probe_read_kernel(s->names[depth & 1], length, text);
	}
	s->depth = depth + 1;
	s->start = start;
	/* A file that never had a folder, a memfd: it is its own parent, under no root. */
	if (parent == dentry) {
		s->finished = 1;
		return 1;
	}
	s->dentry = (u64)parent;
	return 0;
}

/*
 * Path from the root of the mount namespace into s->path, from s->start to PATH_SIZE.
 *
 * bpf_d_path() answers relative to the caller's root: whoever calls chroot() would choose what rules see.
 */
static __noinline void find_path(struct guard_scratch *s, struct dentry *dentry, struct vfsmount *mnt)
{
	__builtin_memset(s->names, 0, sizeof(s->names));
	s->dentry = (u64)dentry;
	s->mount = (u64)container_of(mnt, struct mount, mnt);
	s->start = PATH_SIZE;
	s->depth = s->cut = s->finished = 0;
	bpf_loop(MAX_DEPTH, climb, &s, 0);
}

/* Interest in s->interest and denials in s->place of the path that find_path() left. */
static __noinline void judge(struct guard_scratch *s)
{
	u32 start = s->start, length;
	struct guard_place *place;
	u32 *interest;

	start = start > PATH_SIZE ? PATH_SIZE : start;
	length = PATH_SIZE - start;
	if (length > PREFIX_SIZE - 1)
		length = PREFIX_SIZE - 1;
	barrier_var(length);
	if (length > PREFIX_SIZE - 1)
		return;
	bpf_probe_read_kernel(s->key.text, length, s->path + (start & (PATH_SIZE - 1)));
	s->key.text[length] = '/';
	s->key.bits = (length + 1) * 8;
	place = bpf_map_lookup_elem(&places, &s->key);
	if (place)
		s->place = *place;
	else
		__builtin_memset(&s->place, 0, sizeof(s->place));
	s->interest = s->place.interest;
	interest = bpf_map_lookup_elem(&names, s->names[0]);
	if (interest)
		s->interest |= *interest;
	interest = bpf_map_lookup_elem(&names, s->names[1]);
	if (interest)
		s->interest |= *interest;
	/* Too many folders to have come to the root: nobody hides like that. */
	if (!s->finished)
		s->interest = INTEREST_ALL;
}

/* Of these denials those that hold for the current program. */
static __noinline u64 refused_by(u64 denials)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct guard_program program = {};
	struct inode *inode;
	u64 *mask;

	if (!denials || !settings.enforcing)
		return 0;
	inode = BPF_CORE_READ(task, mm, exe_file, f_inode);
	if (!inode)
		return denials;
	program.inode = BPF_CORE_READ(inode, i_ino);
	program.device = BPF_CORE_READ(inode, i_sb, s_dev);
	mask = bpf_map_lookup_elem(&exempt, &program);
	return mask ? denials & ~*mask : denials;
}

static __always_inline bool in_memory(struct inode *inode)
{
	return BPF_CORE_READ(inode, i_nlink) == 0;
}

/* What a verdict depends on, besides the inode: where it hangs, by which name, and everything that moved since. */
static __always_inline u64 digest(struct dentry *dentry, struct vfsmount *mnt)
{
	struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	u64 sum;

	sum = ((u64)parent ^ BPF_CORE_READ(parent, d_inode, i_ino)) * 0x9e3779b97f4a7c15;
	/* Never used twice, unlike a mount's address. */
	sum = ((sum ^ sum >> 32) + BPF_CORE_READ(container_of(mnt, struct mount, mnt), mnt_id_unique)) *
	      0xbf58476d1ce4e5b9;
	sum = ((sum ^ sum >> 29) + dentry->d_name.hash_len) * 0x94d049bb133111eb;
	sum = ((sum ^ sum >> 32) + (settings.generation << 32) + moves) * 0x9e3779b97f4a7c15;
	return (sum ^ sum >> 31) & ~0xffull;
}

/* ---------- processes ---------- */

SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct guard_scratch *s;
	u64 started;
	u32 number;

	if (child->pid != child->tgid || own())
		return 0;
	s = begin(GUARD_KIND_FORK, &number);
	if (!s)
		return 0;
	/* With CLONE_PARENT its parent is not who made it, and it runs its maker's program. */
	started = BPF_CORE_READ(parent, group_leader, start_boottime);
	head(s)->number[0] = parent->tgid;
	head(s)->number[1] = started;
	head(s)->number[2] = started >> 32;
	send(s, child);
	give(number);
	return 0;
}

static __always_inline void append_program(struct guard_scratch *s, struct linux_binprm *bprm)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = bprm->file;
	struct fs_struct *fs = task->fs;

	find_path(s, BPF_CORE_READ(file, f_path.dentry), BPF_CORE_READ(file, f_path.mnt));
	append_path(s);
	append_text(s, bprm->filename);
	find_path(s, BPF_CORE_READ(fs, pwd.dentry), BPF_CORE_READ(fs, pwd.mnt));
	append_path(s);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(sched_process_exec, struct task_struct *task, pid_t old, struct linux_binprm *bprm)
{
	struct guard_scratch *s;
	u32 number;
	u64 begins, ends;

	if (own())
		return 0;
	s = begin(GUARD_KIND_EXEC, &number);
	if (!s)
		return 0;
	if (in_memory(BPF_CORE_READ(bprm, file, f_inode)))
		head(s)->number[0] |= EXEC_IN_MEMORY;
	if (bprm->interp != bprm->filename)
		head(s)->number[0] |= EXEC_SCRIPT;
	append_program(s, bprm);
	begins = BPF_CORE_READ(task, mm, arg_start);
	ends = BPF_CORE_READ(task, mm, arg_end);
	append(s, (void *)begins, ends > begins ? ends - begins : 0, true);
	tell(s);
	give(number);
	return 0;
}

SEC("lsm/bprm_check_security")
int BPF_PROG(bprm_check_security, struct linux_binprm *bprm)
{
	struct inode *inode = BPF_CORE_READ(bprm, file, f_inode);
	bool script = bprm->buf[0] == '#' && bprm->buf[1] == '!', memory = in_memory(inode);
	u64 denied = 0;
	struct guard_scratch *s;
	u32 number;

	if (!script && !(settings.enforcing && (settings.deny_exec || (memory && settings.deny_in_memory))))
		return 0;
	s = begin(GUARD_KIND_SCRIPT, &number);
	if (!s)
		return 0;
	find_path(s, BPF_CORE_READ(bprm, file, f_path.dentry), BPF_CORE_READ(bprm, file, f_path.mnt));
	if (settings.enforcing) {
		judge(s);
		denied = refused_by(s->place.deny[GUARD_DENY_EXEC] | (memory ? settings.deny_in_memory : 0));
	}
	head(s)->number[0] = (memory ? EXEC_IN_MEMORY : 0) | (script ? EXEC_SCRIPT : 0);
	if (denied) {
		head(s)->kind = GUARD_KIND_EXEC;
		head(s)->denied = denied;
		append_program(s, bprm);
		append(s, "", 0, false);
		tell(s);
	} else if (script) {
		append_path(s);
		tell(s);
	}
	give(number);
	return denied ? -EPERM : 0;
}

/* ---------- credentials ---------- */

/*
 * A file's setuid and setgid bits and capabilities, before the exec takes them over; what is told of the exec comes
 * after it. Capabilities within a user namespace that somebody made count for nothing outside.
 */
SEC("lsm/bprm_committing_creds")
int BPF_PROG(bprm_committing_creds, struct linux_binprm *bprm)
{
	const struct cred *new = bprm->cred, *old = BPF_CORE_READ(bpf_get_current_task_btf(), cred);
	u32 before = BPF_CORE_READ(old, euid.val), group = BPF_CORE_READ(old, egid.val), after, number;
	u64 gained = 0;
	struct guard_scratch *s;

	after = BPF_CORE_READ(new, euid.val);
	if (!BPF_CORE_READ(new, user_ns, level))
		gained = BPF_CORE_READ(new, cap_permitted.val) & ~BPF_CORE_READ(old, cap_permitted.val);
	if (own() || (before == after && group == BPF_CORE_READ(new, egid.val) && !gained))
		return 0;
	s = begin(GUARD_KIND_RIGHTS, &number);
	if (!s)
		return 0;
	head(s)->number[0] = before;
	head(s)->number[1] = after;
	head(s)->number[2] = group;
	head(s)->number[3] = gained;
	head(s)->number[4] = gained >> 32;
	tell(s);
	give(number);
	return 0;
}

SEC("lsm/task_fix_setuid")
int BPF_PROG(task_fix_setuid, struct cred *new, const struct cred *old)
{
	u32 before = old->euid.val, after = new->euid.val;

	if (before != after && !own())
		tell_numbers(GUARD_KIND_SETUID, before, after, 0);
	return 0;
}

SEC("lsm/task_fix_setgid")
int BPF_PROG(task_fix_setgid, struct cred *new, const struct cred *old)
{
	u32 before = old->egid.val, after = new->egid.val;

	if (before != after && !own())
		tell_numbers(GUARD_KIND_SETGID, before, after, 0);
	return 0;
}

SEC("lsm/task_fix_setgroups")
int BPF_PROG(task_fix_setgroups, struct cred *new, const struct cred *old)
{
	if (!own())
		tell_numbers(GUARD_KIND_SETGROUPS, BPF_CORE_READ(new, group_info, ngroups), 0, 0);
	return 0;
}

/* Giving capabilities up is what careful programs do all day. */
SEC("lsm/capset")
int BPF_PROG(capset, struct cred *new, const struct cred *old)
{
	u64 gained = BPF_CORE_READ(new, cap_effective.val) & ~BPF_CORE_READ(old, cap_effective.val);

	if (gained && !BPF_CORE_READ(new, user_ns, level) && !own())
		tell_numbers(GUARD_KIND_CAPSET, gained, gained >> 32, 0);
	return 0;
}

/* ---------- what reaches into others, and into us ---------- */

static __noinline int traced(u32 target)
{
	u64 denied = refused_by(settings.deny_ptrace);

	tell_numbers(GUARD_KIND_PTRACE, target, 0, denied);
	return denied ? -EPERM : 0;
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(ptrace_access_check, struct task_struct *child, unsigned int mode)
{
	if (!(mode & PTRACE_MODE_ATTACH) || own())
		return 0;
	return traced(child->tgid);
}

SEC("lsm/ptrace_traceme")
int BPF_PROG(ptrace_traceme, struct task_struct *parent)
{
	/* The caller is who gets traced. */
	return traced(bpf_get_current_pid_tgid() >> 32);
}

SEC("lsm/task_kill")
int BPF_PROG(task_kill, struct task_struct *target, struct kernel_siginfo *info, int signal)
{
	if (target->tgid == settings.agent && signal && !own())
		tell_numbers(GUARD_KIND_SIGNAL, signal, 0, 0);
	return 0;
}

/*
 * Whoever has one of our maps can blind us, by a single number in the settings; whoever has a program can replace parts
 * of it. Both are had by their number only: nothing of ours is pinned. To read a map does no harm.
 */
static __always_inline bool opens_ours(u32 command, union bpf_attr *attr)
{
	struct guard_object object = { .command = command, .id = BPF_CORE_READ(attr, map_id) };

	if (command == BPF_MAP_GET_FD_BY_ID && BPF_CORE_READ(attr, open_flags) & BPF_F_RDONLY)
		return false;
	return bpf_map_lookup_elem(&ours, &object);
}

SEC("lsm/bpf")
int BPF_PROG(bpf_command, int command, union bpf_attr *attr)
{
	u64 denied = 0;

	if (own())
		return 0;
	switch (command) {
	case BPF_PROG_LOAD:
	case BPF_PROG_ATTACH:
	case BPF_RAW_TRACEPOINT_OPEN:
	case BPF_LINK_CREATE:
	case BPF_LINK_UPDATE:
		break;
	case BPF_PROG_GET_FD_BY_ID:
	case BPF_MAP_GET_FD_BY_ID:
	case BPF_LINK_GET_FD_BY_ID:
		if (!opens_ours(command, attr))
			return 0;
		denied = refused_by(settings.deny_bpf);
		break;
	default:
		return 0;
	}
	tell_numbers(GUARD_KIND_BPF, command, 0, denied);
	return denied ? -EPERM : 0;
}

/* ---------- files ---------- */

/* Judges and tells an open that no cached verdict settles. */
static __noinline int open_watched(struct dentry *dentry, struct vfsmount *mnt, u32 wanted, u32 flags, u8 *known)
{
	u64 denied = 0;
	u32 number;
	struct guard_scratch *s = begin(GUARD_KIND_OPEN, &number);

	if (!s) {
		*known = 0xff;
		return 0;
	}
	find_path(s, dentry, mnt);
	judge(s);
	*known = s->interest & INTEREST_ALL;
	if (s->place.deny[GUARD_DENY_READ] | s->place.deny[GUARD_DENY_WRITE]) {
		*known |= INTEREST_DENIABLE;
		if (wanted & INTEREST_READ)
			denied |= s->place.deny[GUARD_DENY_READ];
		if (wanted & INTEREST_WRITE)
			denied |= s->place.deny[GUARD_DENY_WRITE];
		denied = refused_by(denied);
	}
	if (denied || s->interest & wanted) {
		head(s)->number[0] = flags;
		head(s)->denied = denied;
		append_path(s);
		tell(s);
	}
	give(number);
	return denied ? -EPERM : 0;
}

SEC("lsm/file_open")
int BPF_PROG(file_open, struct file *file)
{
	u32 mode = (u32)(u64)file->f_mode, flags = file->f_flags, wanted = mode & (FMODE_READ | FMODE_WRITE);
	struct dentry *dentry = file->f_path.dentry;
	struct vfsmount *mnt = file->f_path.mnt;
	struct inode *inode = file->f_inode;
	u64 *verdict, sum;
	u8 known;
	int result;

	/* Programs are told when they are executed; what lies under an overlay was told as the overlay's file. */
	if (flags & FMODE_EXEC || mode & FMODE_BACKING || own())
		return 0;
	if (flags & O_TRUNC)
		wanted |= INTEREST_WRITE;
	sum = digest(dentry, mnt);
	verdict = bpf_inode_storage_get(&verdicts, inode, NULL, 0);
	if (verdict && (*verdict & ~0xffull) == sum) {
		known = *verdict & 0xff;
		if (!(known & wanted) && !(known & INTEREST_DENIABLE && settings.enforcing))
			return 0;
	}
	result = open_watched(dentry, mnt, wanted, flags, &known);
	if (known != 0xff) {
		if (!verdict)
			verdict = bpf_inode_storage_get(&verdicts, inode, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (verdict)
			*verdict = sum | known;
	}
	return result;
}

SEC("lsm/path_truncate")
int BPF_PROG(path_truncate, const struct path *path)
{
	u8 known;

	if (own())
		return 0;
	return open_watched(path->dentry, path->mnt, INTEREST_WRITE, O_WRONLY | O_TRUNC, &known);
}

/* What happens to one path, with one number or a text of the kernel. */
static __noinline int changed(u32 kind, struct dentry *dentry, struct vfsmount *mnt, u32 first, const char *text)
{
	u32 wanted = kind == GUARD_KIND_UNLINK ? INTEREST_REMOVE : INTEREST_CHANGE;
	u64 denied;
	u32 number;
	struct guard_scratch *s;

	if (own())
		return 0;
	s = begin(kind, &number);
	if (!s)
		return 0;
	find_path(s, dentry, mnt);
	judge(s);
	denied = refused_by(s->place.deny[kind == GUARD_KIND_UNLINK ? GUARD_DENY_UNLINK : GUARD_DENY_CHANGE]);
	if (denied || s->interest & wanted) {
		head(s)->number[0] = first;
		head(s)->denied = denied;
		append_path(s);
		if (text)
			append_text(s, text);
		tell(s);
	}
	give(number);
	return denied ? -EPERM : 0;
}

/* What happens to two paths; interest in one is enough. */
static __noinline int changed_both(u32 kind, struct dentry *from, struct vfsmount *from_mnt, struct dentry *to,
				   struct vfsmount *to_mnt)
{
	u64 denied;
	u32 number, interest;
	struct guard_scratch *s;

	if (own())
		return 0;
	s = begin(kind, &number);
	if (!s)
		return 0;
	find_path(s, from, from_mnt);
	judge(s);
	append_path(s);
	interest = s->interest;
	denied = s->place.deny[GUARD_DENY_CHANGE];
	find_path(s, to, to_mnt);
	judge(s);
	append_path(s);
	denied = refused_by(denied | s->place.deny[GUARD_DENY_CHANGE]);
	if (denied || (interest | s->interest) & INTEREST_CHANGE) {
		head(s)->denied = denied;
		tell(s);
	}
	give(number);
	return denied ? -EPERM : 0;
}

SEC("lsm/path_mknod")
int BPF_PROG(path_mknod, const struct path *dir, struct dentry *dentry, umode_t mode)
{
	return changed(GUARD_KIND_CREATE, dentry, dir->mnt, mode, NULL);
}

SEC("lsm/path_mkdir")
int BPF_PROG(path_mkdir, const struct path *dir, struct dentry *dentry, umode_t mode)
{
	return changed(GUARD_KIND_CREATE, dentry, dir->mnt, (mode & ~S_IFMT) | S_IFDIR, NULL);
}

SEC("lsm/path_unlink")
int BPF_PROG(path_unlink, const struct path *dir, struct dentry *dentry)
{
	return changed(GUARD_KIND_UNLINK, dentry, dir->mnt, 0, NULL);
}

SEC("lsm/path_rmdir")
int BPF_PROG(path_rmdir, const struct path *dir, struct dentry *dentry)
{
	return changed(GUARD_KIND_UNLINK, dentry, dir->mnt, 0, NULL);
}

SEC("lsm/path_symlink")
int BPF_PROG(path_symlink, const struct path *dir, struct dentry *dentry, const char *target)
{
	return changed(GUARD_KIND_SYMLINK, dentry, dir->mnt, 0, target);
}

SEC("lsm/path_link")
int BPF_PROG(path_link, struct dentry *old, const struct path *dir, struct dentry *new)
{
	return changed_both(GUARD_KIND_LINK, old, dir->mnt, new, dir->mnt);
}

static __always_inline bool is_folder(struct dentry *dentry)
{
	return (BPF_CORE_READ(dentry, d_inode, i_mode) & S_IFMT) == S_IFDIR;
}

SEC("lsm/path_rename")
int BPF_PROG(path_rename, const struct path *from_dir, struct dentry *from, const struct path *to_dir,
	     struct dentry *to)
{
	return changed_both(GUARD_KIND_RENAME, from, from_dir->mnt, to, to_dir->mnt);
}

/* After the rename, so that no verdict from before it counts; a file's own name is in the digest. */
SEC("fexit/d_move")
int BPF_PROG(d_move, struct dentry *dentry)
{
	if (is_folder(dentry))
		__sync_fetch_and_add(&moves, 1);
	return 0;
}

SEC("fexit/d_exchange")
int BPF_PROG(d_exchange, struct dentry *one, struct dentry *other)
{
	if (is_folder(one) || is_folder(other))
		__sync_fetch_and_add(&moves, 1);
	return 0;
}

/* owner: the user's number, above it the group's; BPF functions take five arguments. */
static __noinline int attribute(struct dentry *dentry, struct vfsmount *mnt, u32 what, u32 mode, u64 owner)
{
	u64 denied;
	u32 number;
	struct guard_scratch *s;

	if (own())
		return 0;
	s = begin(GUARD_KIND_SETATTR, &number);
	if (!s)
		return 0;
	find_path(s, dentry, mnt);
	judge(s);
	denied = refused_by(s->place.deny[GUARD_DENY_CHANGE]);
	if (denied || s->interest & INTEREST_CHANGE) {
		head(s)->number[0] = what;
		head(s)->number[1] = mode;
		head(s)->number[2] = owner;
		head(s)->number[3] = owner >> 32;
		head(s)->denied = denied;
		append_path(s);
		tell(s);
	}
	give(number);
	return denied ? -EPERM : 0;
}

SEC("lsm/path_chmod")
int BPF_PROG(path_chmod, const struct path *path, umode_t mode)
{
	return attribute(path->dentry, path->mnt, SETATTR_MODE, mode & ATTR_MODE_MASK, 0);
}

/* kuid_t and kgid_t are structs of one number, which arrive as the number. */
SEC("lsm/path_chown")
int BPF_PROG(path_chown, const struct path *path, u32 uid, u32 gid)
{
	return attribute(path->dentry, path->mnt, SETATTR_OWNER, 0, (u64)gid << 32 | uid);
}

/* ---------- mounts ---------- */

static __noinline int mounted(struct dentry *dentry, struct vfsmount *mnt, const char *source, const char *type,
			      u64 flags)
{
	struct guard_scratch *s;
	u32 number;

	__sync_fetch_and_add(&moves, 1);
	if (own())
		return 0;
	s = begin(GUARD_KIND_MOUNT, &number);
	if (!s)
		return 0;
	head(s)->number[0] = flags;
	find_path(s, dentry, mnt);
	append_path(s);
	append_text(s, source);
	append_text(s, type);
	tell(s);
	give(number);
	return 0;
}

SEC("lsm/sb_mount")
int BPF_PROG(sb_mount, const char *source, const struct path *path, const char *type, unsigned long flags)
{
	return mounted(path->dentry, path->mnt, source, type, flags);
}

/* mount(8) of util-linux 2.39 and later comes this way. */
SEC("lsm/move_mount")
int BPF_PROG(move_mount, const struct path *from, const struct path *to)
{
	struct super_block *sb = BPF_CORE_READ(from, mnt, mnt_sb);

	return mounted(to->dentry, to->mnt, sb->s_id, BPF_CORE_READ(sb, s_type, name), 0);
}

SEC("lsm/sb_pivotroot")
int BPF_PROG(sb_pivotroot, const struct path *old, const struct path *new)
{
	__sync_fetch_and_add(&moves, 1);
	return 0;
}

SEC("lsm/sb_umount")
int BPF_PROG(sb_umount, struct vfsmount *mnt, int flags)
{
	__sync_fetch_and_add(&moves, 1);
	return 0;
}

/* ---------- kernel code ---------- */

static __noinline int module(struct dentry *dentry, struct vfsmount *mnt)
{
	u64 denied = refused_by(settings.deny_module);
	struct guard_scratch *s;
	u32 number;

	if (!denied && own())
		return 0;
	s = begin(GUARD_KIND_MODULE, &number);
	if (!s)
		return denied ? -EPERM : 0;
	head(s)->denied = denied;
	if (dentry) {
		find_path(s, dentry, mnt);
		append_path(s);
	} else {
		append(s, "", 0, false);
	}
	tell(s);
	give(number);
	return denied ? -EPERM : 0;
}

SEC("lsm/kernel_read_file")
int BPF_PROG(kernel_read_file, struct file *file, enum kernel_read_file_id id)
{
	if (id != bpf_core_enum_value(enum kernel_read_file_id, READING_MODULE))
		return 0;
	return module(BPF_CORE_READ(file, f_path.dentry), BPF_CORE_READ(file, f_path.mnt));
}

SEC("lsm/kernel_load_data")
int BPF_PROG(kernel_load_data, enum kernel_load_data_id id)
{
	if (id != bpf_core_enum_value(enum kernel_load_data_id, LOADING_MODULE))
		return 0;
	return module(NULL, NULL);
}

/* ---------- network ---------- */

#define WHERE(family, port) ((u32)(family) << 16 | (port))

/* number: family, protocol, port, local port; the string is the address. */
static __noinline int endpoint(u32 kind, struct sock *sk, u32 where, const void *address, u32 length)
{
	u32 family = where >> 16, port = where & 0xffff;
	struct guard_scratch *s;
	u32 number;

	s = begin(kind, &number);
	if (!s)
		return 0;
	head(s)->number[0] = family;
	head(s)->number[1] = BPF_CORE_READ(sk, sk_protocol);
	head(s)->number[2] = port;
	if (family != AF_UNIX)
		head(s)->number[3] = BPF_CORE_READ(sk, __sk_common.skc_num);
	append(s, address, length, false);
	tell(s);
	give(number);
	return 0;
}

SEC("lsm/socket_connect")
int BPF_PROG(socket_connect, struct socket *socket, void *address, int length)
{
	struct sock *sk = BPF_CORE_READ(socket, sk);
	u16 family, port = 0;

	if (own() || length < 2)
		return 0;
	bpf_probe_read_kernel(&family, sizeof(family), address);
	switch (family) {
	case AF_INET:
	case AF_INET6:
		/* Port and address stand alike in sockaddr_in and sockaddr_in6, but for the flow in between. */
		bpf_probe_read_kernel(&port, sizeof(port), address + 2);
		if (family == AF_INET)
			return endpoint(GUARD_KIND_CONNECT, sk, WHERE(family, bpf_ntohs(port)), address + 4, 4);
		return endpoint(GUARD_KIND_CONNECT, sk, WHERE(family, bpf_ntohs(port)), address + 8, 16);
	case AF_UNIX:
		length -= 2;
		return endpoint(GUARD_KIND_CONNECT, sk, WHERE(family, 0), address + 2, length > 108 ? 108 : length);
	}
	return 0;
}

SEC("lsm/socket_listen")
int BPF_PROG(socket_listen, struct socket *socket)
{
	struct sock *sk = BPF_CORE_READ(socket, sk);
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family), port = BPF_CORE_READ(sk, __sk_common.skc_num);

	if (own())
		return 0;
	switch (family) {
	case AF_INET:
		return endpoint(GUARD_KIND_LISTEN, sk, WHERE(family, port), &sk->__sk_common.skc_rcv_saddr, 4);
	case AF_INET6:
		return endpoint(GUARD_KIND_LISTEN, sk, WHERE(family, port), &sk->__sk_common.skc_v6_rcv_saddr, 16);
	case AF_UNIX: {
		struct unix_address *bound = BPF_CORE_READ((struct unix_sock *)sk, addr);
		int length = bound ? BPF_CORE_READ(bound, len) - 2 : 0;

		length = length < 0 ? 0 : length > 108 ? 108 : length;
		return endpoint(GUARD_KIND_LISTEN, sk, WHERE(family, 0), bound ? &bound->name->sun_path : NULL, length);
	}
	}
	return 0;
}

/* ---------- namespaces ---------- */

/* There is no LSM hook for these; the functions are called through pointers or from other files, never inlined. */
#define JOINED(function, flag)                                                                                    \
	SEC("fexit/" #function)                                                                                   \
	int BPF_PROG(function, struct nsset *set, struct ns_common *ns, int result)                               \
	{                                                                                                         \
		if (!result && !own())                                                                            \
			tell_numbers(GUARD_KIND_SETNS, flag, 0, 0);                                                     \
		return 0;                                                                                         \
	}

JOINED(mntns_install, CLONE_NEWNS)
JOINED(netns_install, CLONE_NEWNET)
JOINED(pidns_install, CLONE_NEWPID)
JOINED(userns_install, CLONE_NEWUSER)
JOINED(utsns_install, CLONE_NEWUTS)
JOINED(ipcns_install, CLONE_NEWIPC)
JOINED(cgroupns_install, CLONE_NEWCGROUP)
JOINED(timens_install, CLONE_NEWTIME)

SEC("fexit/unshare_nsproxy_namespaces")
int BPF_PROG(unshare_nsproxy_namespaces, u64 flags, struct nsproxy **made, struct cred *cred, struct fs_struct *fs,
	     int result)
{
	if (!result && flags & CLONE_NEW_ANY && !own())
		tell_numbers(GUARD_KIND_UNSHARE, flags & CLONE_NEW_ANY, 0, 0);
	return 0;
}

/* clone() with flags for namespaces. */
SEC("fexit/copy_namespaces")
int BPF_PROG(copy_namespaces, u64 flags, struct task_struct *child, int result)
{
	if (!result && flags & CLONE_NEW_ANY && !own())
		tell_numbers(GUARD_KIND_UNSHARE, flags & CLONE_NEW_ANY, 0, 0);
	return 0;
}
