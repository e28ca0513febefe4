/* SPDX-License-Identifier: GPL-2.0-only */
/* What is known of each task and of the machine, and the maps that the agent reads and writes. */
#pragma once

enum lichen_state {
	LICHEN_UNKNOWN = 0, /* nothing has been seen of it, or not in this epoch */
	LICHEN_WAITING,     /* runnable, for a processor */
	LICHEN_RUNNING,
	LICHEN_BLOCKED,
};

struct lichen_task {
	u64 epoch;
	u64 since;      /* when the state began */
	u64 burst;      /* what it ran since it was woken */
	u64 waited;     /* not yet added to its owner's share, as the next four */
	u64 ran;
	u64 longest;
	u64 error;
	s64 bias;
	u64 predicted_ns;
	u64 identity;
	u64 generation;
	u32 state;
	u32 partial;    /* the burst's beginning was not seen */
	u32 sequence;   /* finished bursts */
	u32 untold;     /* of those, not yet added to its owner's share */
	u32 sampled;    /* this burst goes into the ring */
	u32 children;
	u32 wakes;
	u32 place;      /* where it ran the last time, a processor's number and one; 0: nowhere yet */
	s32 predicted;
	s32 last, before_last, ewma, deviation, sleep_ewma, preempted, waker;
	s32 features[16];
	/* Only of the active mode. */
	u64 vtime;
	u64 deadline;
	u64 charged;    /* until when what it ran was added to vtime */
	u64 cgroup;     /* whose weight counts; 0: none */
	u64 counted_in; /* where the next two were added */
	u32 counted;
	u32 counted_effective;
	u32 counted_queue;
	u32 queue;      /* whose virtual time vtime is of */
	u32 queued;     /* came out of that queue, not straight to a processor */
	u32 fresh;      /* forked and not yet woken */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct lichen_task);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct lichen_control);
} control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LICHEN_SLOTS * LICHEN_TREES);
	__type(key, u32);
	__type(value, struct lichen_tree);
} trees SEC(".maps");

/* The loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct lichen_recorded);
	__type(value, u64);
} oracle SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, u64);
} roots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LICHEN_BUCKETS);
	__type(key, u32);
	__type(value, u64);
} delays SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LICHEN_COUNTERS);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

/* Which task ran last on a processor. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} lately SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct lichen_owner);
	__type(value, struct lichen_share);
} shares SEC(".maps");

const volatile struct lichen_machine machine SEC(".rodata.machine");
u64 epoch SEC(".data.epoch") = 1;

static __always_inline void count(u32 counter)
{
	u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		*value += 1;
}

static __always_inline struct lichen_control *controls(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

/* A task's state; NULL when there is no memory for one, and then the task goes unmeasured. */
static __always_inline struct lichen_task *state_of(struct task_struct *p)
{
	struct lichen_task *task = bpf_task_storage_get(&tasks, p, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!task) {
		count(LICHEN_UNMEASURED);
		return NULL;
	}
	if (task->epoch != epoch) {
		task->epoch = epoch;
		task->state = LICHEN_UNKNOWN;
	}
	return task;
}
