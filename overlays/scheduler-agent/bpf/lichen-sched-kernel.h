/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What sched_ext is in the kernel, as far as it is used here. The image's own kernel may have none, and its
 * vmlinux.h says nothing then, yet the same programs must be compiled: these types have names of their own behind
 * three underscores, which libbpf takes off, and their members are found by name in the running kernel (CO-RE). So
 * are functions, whose names changed: 6.12 has scx_bpf_dispatch..., 6.13 and later have scx_bpf_dsq_...; those that
 * a kernel lacks are weak.
 */
#pragma once

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sched_ext_entity___lichen {
	u32 flags;
	u32 weight;
	u64 slice;
	u64 dsq_vtime;
};

struct task_struct___lichen {
	struct sched_ext_entity___lichen scx;
};

struct scx_init_task_args___lichen {
	bool fork;
	struct cgroup *cgroup;
};

struct scx_cgroup_init_args___lichen {
	u32 weight;
};

enum scx_exit_kind___lichen {
	SCX_EXIT_NONE___lichen = 0,
};

struct scx_exit_info___lichen {
	enum scx_exit_kind___lichen kind;
	s64 exit_code;
	const char *reason;
	char *msg;
};

struct task_group___lichen {
	unsigned long shares;
};

#pragma clang attribute pop

/* The members that are set here; libbpf lays them out as the running kernel has them. */
struct sched_ext_ops___lichen {
	s32 (*select_cpu)(struct task_struct *, s32, u64);
	void (*enqueue)(struct task_struct *, u64);
	void (*dispatch)(s32, struct task_struct *);
	void (*runnable)(struct task_struct *, u64);
	void (*running)(struct task_struct *);
	void (*stopping)(struct task_struct *, bool);
	void (*quiescent)(struct task_struct *, u64);
	s32 (*init_task)(struct task_struct *, struct scx_init_task_args___lichen *);
	s32 (*cgroup_init)(struct cgroup *, struct scx_cgroup_init_args___lichen *);
	void (*cgroup_exit)(struct cgroup *);
	void (*cgroup_move)(struct task_struct *, struct cgroup *, struct cgroup *);
	void (*cgroup_set_weight)(struct cgroup *, u32);
	s32 (*init)(void);
	void (*exit)(struct scx_exit_info___lichen *);
	u32 timeout_ms;
	char name[128];
};

/* Constants that are the same in every kernel with sched_ext (include/linux/sched/ext.h and kernel/sched/ext*). */
#define QUEUED_FLAG 1u               /* SCX_TASK_QUEUED */
#define ENQUEUE_WOKEN 1ull           /* SCX_ENQ_WAKEUP */
#define DEQUEUE_SLEEPS 1ull          /* SCX_DEQ_SLEEP */
#define QUEUE_LOCAL (1ull << 63 | 2) /* SCX_DSQ_LOCAL */
#define FROM_LAST (1ull << 16)       /* SCX_DSQ_ITER_REV */
#define KICK_IDLE 1ull               /* SCX_KICK_IDLE */
#define KICK_PREEMPT 2ull            /* SCX_KICK_PREEMPT */

/* The kernel's struct bpf_iter_scx_dsq has this size since 6.12; the verifier refuses the program if it has not. */
struct bpf_iter_scx_dsq___lichen {
	u64 opaque[6];
} __attribute__((aligned(8)));

struct scx_bpf_dsq_insert_vtime_args___lichen {
	u64 dsq_id;
	u64 slice;
	u64 vtime;
	u64 enq_flags;
};

extern s32 scx_bpf_create_dsq(u64 queue, s32 node) __weak __ksym;
extern s32 scx_bpf_dsq_nr_queued(u64 queue) __weak __ksym;
extern s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 cpu, u64 flags, bool *idle) __weak __ksym;
extern s32 scx_bpf_pick_idle_cpu(const cpumask_t *allowed, u64 flags) __weak __ksym;
extern bool scx_bpf_test_and_clear_cpu_idle(s32 cpu) __weak __ksym;
extern void scx_bpf_kick_cpu(s32 cpu, u64 flags) __weak __ksym;
extern s32 scx_bpf_task_cpu(const struct task_struct *p) __weak __ksym;
extern bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *mask) __weak __ksym;
extern int bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq___lichen *it, u64 queue, u64 flags) __weak __ksym;
extern struct task_struct *bpf_iter_scx_dsq_next(struct bpf_iter_scx_dsq___lichen *it) __weak __ksym;
extern void bpf_iter_scx_dsq_destroy(struct bpf_iter_scx_dsq___lichen *it) __weak __ksym;

/* 6.13 and later */
extern void scx_bpf_dsq_insert(struct task_struct *p, u64 queue, u64 slice, u64 flags) __weak __ksym;
extern void scx_bpf_dsq_insert_vtime(struct task_struct *p, u64 queue, u64 slice, u64 vtime, u64 flags) __weak __ksym;
extern bool scx_bpf_dsq_move_to_local(u64 queue) __weak __ksym;
extern bool scx_bpf_dsq_move(struct bpf_iter_scx_dsq___lichen *it, struct task_struct *p, u64 queue, u64 flags)
	__weak __ksym;
/* 6.19 and later; the one above may go */
extern bool __scx_bpf_dsq_insert_vtime(struct task_struct *p, struct scx_bpf_dsq_insert_vtime_args___lichen *args)
	__weak __ksym;
extern bool scx_bpf_task_set_slice(struct task_struct *p, u64 slice) __weak __ksym;
/* 6.12 */
extern void scx_bpf_dispatch(struct task_struct *p, u64 queue, u64 slice, u64 flags) __weak __ksym;
extern void scx_bpf_dispatch_vtime(struct task_struct *p, u64 queue, u64 slice, u64 vtime, u64 flags) __weak __ksym;
extern bool scx_bpf_consume(u64 queue) __weak __ksym;
extern bool scx_bpf_dispatch_from_dsq(struct bpf_iter_scx_dsq___lichen *it, struct task_struct *p, u64 queue,
				      u64 flags)
	__weak __ksym;

static __always_inline struct sched_ext_entity___lichen *entity(struct task_struct *p)
{
	return &((struct task_struct___lichen *)p)->scx;
}

static __always_inline void insert_local(struct task_struct *p, u64 slice)
{
	if (bpf_ksym_exists(scx_bpf_dsq_insert))
		scx_bpf_dsq_insert(p, QUEUE_LOCAL, slice, 0);
	else
		scx_bpf_dispatch(p, QUEUE_LOCAL, slice, 0);
}

static __always_inline void insert_ordered(struct task_struct *p, u64 queue, u64 slice, u64 key, u64 flags)
{
	struct scx_bpf_dsq_insert_vtime_args___lichen args = {queue, slice, key, flags};

	if (bpf_ksym_exists(__scx_bpf_dsq_insert_vtime))
		__scx_bpf_dsq_insert_vtime(p, &args);
	else if (bpf_ksym_exists(scx_bpf_dsq_insert_vtime))
		scx_bpf_dsq_insert_vtime(p, queue, slice, key, flags);
	else
		scx_bpf_dispatch_vtime(p, queue, slice, key, flags);
}

static __always_inline bool take_first(u64 queue)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move_to_local))
		return scx_bpf_dsq_move_to_local(queue);
	return scx_bpf_consume(queue);
}

static __always_inline bool take_this(struct bpf_iter_scx_dsq___lichen *it, struct task_struct *p)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move))
		return scx_bpf_dsq_move(it, p, QUEUE_LOCAL, 0);
	return scx_bpf_dispatch_from_dsq(it, p, QUEUE_LOCAL, 0);
}

/* Of a task that goes on where it runs. */
static __always_inline void set_slice(struct task_struct *p, u64 slice)
{
	if (bpf_ksym_exists(scx_bpf_task_set_slice))
		scx_bpf_task_set_slice(p, slice);
	else
		entity(p)->slice = slice;
}
